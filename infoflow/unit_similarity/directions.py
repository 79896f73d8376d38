"""Random directions for probes, spread evenly: of D features at T places, every direction of an
orthogonal basis at every place comes once before any comes again."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

_DENSE = 1024  # features up to which a rotation is drawn; beyond, signs by Hadamard's matrix


class Directions:
    """Directions v with E v vᵀ = 1, each at one place and zero at all others.

    Any one is random: a column of a random rotation (or of a Hadamard matrix with random signs),
    at a random place, so that a mean over any of them is unbiased. Those of a *set*, as many as
    there are features times places, add up to a multiple of the identity. So what is alike in many
    samples is found without noise, where independent directions leave a relative error of
    √(rank / number) (orthogonal random features: Yu et al. 2016).

    Args:
        features: Length of a direction, D.
        places: How many places there are, T.
        seed: What makes these directions differ from others: several numbers.

    Examples:
        >>> v, place = Directions(3, 2, (0,))(torch.arange(6))
        >>> torch.allclose(v[place == 0].T @ v[place == 0], 6 * torch.eye(3).double())
        True
    """

    def __init__(self, features: int, places: int, seed: tuple[int, ...]) -> None:
        self.features, self.places, self.seed = features, places, seed
        dense = features <= _DENSE
        self._block = features if dense else 2 ** (features - 1).bit_length()

    @property
    def count(self) -> int:
        """Number of directions in a set."""
        return self._block * self.places

    def __call__(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """`(directions, features)` float64 and the place of each `(directions,)`, of those numbers
        in the sequence: they do not depend on which others are asked for."""
        found = torch.empty(len(numbers), self.features, dtype=torch.float64)
        place = torch.empty(len(numbers), dtype=torch.long)
        sets, within = numbers // self.count, numbers % self.count
        for which in sets.unique().tolist():
            own = sets == which
            block, column = within[own] // self._block, within[own] % self._block
            basis, order = _drawn(self.features, self._block, self.places, (*self.seed, which))
            found[own] = basis[column] if len(basis) > 1 else _signs(column, self.features) * basis
            place[own] = order[(column + block) % self.places]
        return found * self.places**0.5, place


@lru_cache(maxsize=8)
def _drawn(features: int, block: int, places: int, seed: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Of one set: its basis `(block, features)`, or the signs `(1, features)` of a Hadamard matrix,
    and an order of the places."""
    random = np.random.default_rng(seed)
    order = torch.from_numpy(random.permutation(places))
    signs = torch.from_numpy(random.choice([-1.0, 1.0], features))
    if block > _DENSE or features == 1:
        return signs[None], order
    rotation, _ = np.linalg.qr(random.standard_normal((features, features)))
    return torch.from_numpy(rotation.T * features**0.5) * signs[:, None], order


def _signs(columns: Tensor, features: int) -> Tensor:
    """Rows of Sylvester's Hadamard matrix, cut to so many entries: 1 where an even number of binary
    digits is 1 in both row and column, else -1."""
    both = columns[:, None] & torch.arange(features)
    for shift in (32, 16, 8, 4, 2, 1):
        both = both ^ (both >> shift)
    return 1.0 - 2.0 * (both & 1)


def laid_out(values: Tensor, dim: int) -> Tensor:
    """`(batch, ...)` as `(batch, places, features)`, the features being along `dim`."""
    values = values[:, None] if values.ndim == 1 else values
    return values.movedim(dim, -1).reshape(len(values), -1, values.shape[dim])


def placed(v: Tensor, place: Tensor, like: Tensor, dim: int) -> Tensor:
    """Directions `(batch, features)` at one place of each sample, shaped as `like`; else zero."""
    shape = like[:, None].shape if like.ndim == 1 else like.movedim(dim, -1).shape
    found = like.new_zeros(len(v), max(like[0].numel() // v.shape[1], 1), v.shape[1])
    found[torch.arange(len(v), device=like.device), place.to(like.device)] = v.to(found)
    return found.reshape(shape).movedim(-1, dim).reshape(like.shape)
