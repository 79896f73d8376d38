"""Directions as units: a basis of a layer's unit space and how to read and replace coordinates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from infoflow._arguments import numbers

BasisLike = Literal["pca", "random"] | Tensor | np.ndarray | Callable[[Tensor], Any]


@dataclass(frozen=True, eq=False)
class Basis:
    """Directions in a layer's unit space; h = Σ_i c_i b_i + rest, c = h B⁺.

    Attributes:
        directions: `(d, n)` rows b_i, linearly independent, on the CPU. With d < n the rest of
            the space is never touched.

    Raises:
        ValueError: Not a finite `(d, n)` matrix with d <= n of full rank.

    Examples:
        >>> tilted = Basis(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
        >>> tilted.coordinates(torch.tensor([[3.0, 1.0]])).tolist()
        [[2.0, 1.0]]
    """

    directions: Tensor
    _kept: dict[Any, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        b = self.directions
        if b.ndim != 2 or b.shape[0] > b.shape[1] or not torch.isfinite(b).all():
            raise ValueError(
                f"expected a finite basis (directions, units) with no more directions than units, "
                f"got {tuple(b.shape)}"
            )
        if int(torch.linalg.matrix_rank(b.double())) < len(b):
            raise ValueError("the basis directions are linearly dependent; leave some out")

    def __len__(self) -> int:
        return len(self.directions)

    @cached_property
    def dual(self) -> Tensor:
        """`(n, d)` float64: coordinates are `h @ dual`."""
        b = self.directions.double()
        if torch.equal(b @ b.T, torch.eye(len(b), dtype=b.dtype)):
            return b.T.contiguous()  # exact where the pseudo-inverse would round
        return torch.linalg.pinv(b)

    def _like(self, h: Tensor) -> tuple[Tensor, Tensor]:
        key = (h.dtype, h.device)
        if key not in self._kept:
            self._kept[key] = (
                self.dual.to(device=h.device, dtype=h.dtype),
                self.directions.to(device=h.device, dtype=h.dtype),
            )
        return self._kept[key]

    def coordinates(self, h: Tensor) -> Tensor:
        """`(batch, d, ...)` of `h` `(batch, n, ...)`."""
        dual, _ = self._like(h)
        return torch.movedim(h.movedim(1, -1) @ dual, -1, 1)

    def expand(self, c: Tensor, units: Tensor) -> Tensor:
        """`(batch, n, ...)` = Σ over directions `units` of `c` `(batch, u, ...)` times b_i."""
        _, directions = self._like(c)
        return torch.movedim(c.movedim(1, -1) @ directions[units.to(c.device)], -1, 1)


def make_basis(kind: BasisLike, activations: Tensor, seed: int = 0) -> Basis:
    """The basis that `kind` names, for a layer with these activations.

    Args:
        kind: "pca": principal directions of the activations (positions are samples), the largest
            variance first. "random": a random rotation drawn from `seed`. A matrix `(d, n)`, its
            rows the directions. A function from `(samples, n)` activations to such a matrix.
        activations: `(K, n)` or `(K, n, positions)`.
        seed: Seed of the random rotation.

    Raises:
        ValueError: An unknown name, or a matrix that is no basis of this layer.
    """
    n = activations.shape[1]
    samples = activations.movedim(1, -1).reshape(-1, n)
    if isinstance(kind, str):
        if kind == "pca":
            centred = samples.double() - samples.double().mean(0)
            matrix = torch.linalg.eigh(centred.T @ centred)[1].flip(1).T
        elif kind == "random":
            gauss = np.random.default_rng(seed).standard_normal((n, n))
            matrix = torch.from_numpy(np.linalg.qr(gauss)[0])
        else:
            raise ValueError(
                f"unknown basis {kind!r}: expected 'pca', 'random', a matrix or a function"
            )
    else:
        matrix = torch.from_numpy(numbers("basis", kind(samples) if callable(kind) else kind))
    if matrix.ndim != 2 or matrix.shape[1] != n:
        raise ValueError(f"expected a basis (directions, {n}), got {tuple(matrix.shape)}")
    return Basis(matrix.to(activations.dtype))
