"""Random directions for probes: of D features at T places, each at one place, spread evenly."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

_DENSE = 1024  # features up to which a rotation is drawn; beyond, signs by Hadamard's matrix


class Directions:
    """Directions v with E v vᵀ = 1, each at one place and zero at all others.

    Any one is random: a column of a random rotation (or of a Hadamard matrix with random signs) at
    a random place, weighted by how rarely that place comes, so that a mean over any of them is
    unbiased. Those that follow each other are orthogonal, and at places in proportion to `shares`:
    what is alike in many samples is found without noise, where independent directions leave a
    relative error of √(rank / number) (orthogonal random features: Yu et al. 2016).

    Args:
        features: Length of a direction, D.
        places: How many places there are, T.
        seed: What makes these directions differ from others: several numbers.
        shares: `(T,)` how often each place comes; best in proportion to what it contributes. None:
            all alike, and every direction at every place once before any comes again.

    Examples:
        >>> v, place = Directions(3, 2, (0,))(torch.arange(6))
        >>> torch.allclose(v[place == 0].T @ v[place == 0], 6 * torch.eye(3).double())
        True
    """

    def __init__(
        self, features: int, places: int, seed: tuple[int, ...], shares: Tensor | None = None
    ) -> None:
        self.features, self.places, self.seed = features, places, seed
        self.shares = None if shares is None or places == 1 else shares.double().cpu()
        dense = features <= _DENSE
        self._block = features if dense else 2 ** (features - 1).bit_length()

    @property
    def count(self) -> int:
        """Number of directions times places."""
        return self._block * self.places

    def __call__(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """`(directions, features)` float64 and the place of each `(directions,)`, of those numbers
        in the sequence: they do not depend on which others are asked for."""
        found = torch.empty(len(numbers), self.features, dtype=torch.float64)
        place = torch.empty(len(numbers), dtype=torch.long)
        rounds, size = self._rounds
        for which in (numbers // (rounds * size)).unique().tolist():
            own = numbers // (rounds * size) == which
            within = numbers[own] % (rounds * size)
            basis, order, turn = _drawn(
                (self.features, self._block, self.places), self._rounds, (*self.seed, which)
            )
            if self.shares is None:
                column = within % self._block
                place[own] = turn[(column + within // self._block) % self.places]
            else:  # one in each of equal steps of what the shares add up to
                some = torch.searchsorted(self.shares.cumsum(0), order[within])
                place[own] = some = some.clamp(max=self.places - 1)
                # of few directions each place has another in each round
                column = within if rounds == 1 else (within // size + turn[some]) % self._block
            found[own] = basis[column] if len(basis) > 1 else _signs(column, self.features) * basis
        if self.shares is None:
            return found * self.places**0.5, place
        return found / self.shares[place].sqrt()[:, None], place

    @property
    def _rounds(self) -> tuple[int, int]:
        """How often a rotation is gone through, and in how many steps."""
        if self.shares is None:
            return self.places, self._block
        return (self._block, self.places) if self.places > self._block else (1, self._block)


@lru_cache(maxsize=8)
def _drawn(
    shape: tuple[int, int, int], rounds: tuple[int, int], seed: tuple[int, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """A basis `(block, features)`, or the signs `(1, features)` of a Hadamard matrix; of each round
    numbers in [0, 1), one in each of so many equal steps, in random order; and the places in random
    order."""
    features, block, places = shape
    count, size = rounds
    random = np.random.default_rng(seed)
    order = random.permuted(np.tile(np.arange(size), (count, 1)), axis=1)
    order = torch.from_numpy((order + random.random((count, 1))) / size).flatten()
    turn = torch.from_numpy(random.permutation(places))
    signs = torch.from_numpy(random.choice([-1.0, 1.0], features))
    if block > _DENSE or features == 1:
        return signs[None], order, turn
    rotation, _ = np.linalg.qr(random.standard_normal((features, features)))
    return torch.from_numpy(rotation.T * features**0.5) * signs[:, None], order, turn


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
