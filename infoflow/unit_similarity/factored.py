"""Jacobians of a batch in factored form, so that what is the same for every sample is computed
once and not per sample."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Factored:
    """J_k = C_k diag(s_k) R diag(t_k) for each sample k of a batch.

    Attributes:
        core: C, `(rows, m)` if the same for every sample, else `(batch, rows, m)`.
        scale: s, `(batch, m)`; None: ones.
        right: R, `(m, columns)`, the same for every sample; None: the identity.
        outer: t, `(batch, columns)`; None: ones.
    """

    core: Tensor
    scale: Tensor | None = None
    right: Tensor | None = None
    outer: Tensor | None = None

    def times(self, matrix: Tensor) -> Factored:
        """J_k M, with `matrix` M the same for every sample."""
        if self.outer is not None:
            return Factored(self.full(), right=matrix)
        if self.right is not None:
            return replace(self, right=self.right @ matrix)
        if self.core.ndim == 2 and self.scale is None:
            return Factored(self.core @ matrix)
        return replace(self, right=matrix)

    def scaled(self, slopes: Tensor) -> Factored:
        """J_k diag(slopes_k), with `slopes` `(batch, columns)`."""
        if self.right is not None:
            return replace(self, outer=slopes if self.outer is None else self.outer * slopes)
        if self.core.ndim == 2:
            return replace(self, scale=slopes if self.scale is None else self.scale * slopes)
        return replace(self, core=self.core * slopes[:, None])

    def __getitem__(self, rows: slice) -> Factored:
        """Some of the samples."""
        core = self.core if self.core.ndim == 2 else self.core[rows]
        scale = None if self.scale is None else self.scale[rows]
        outer = None if self.outer is None else self.outer[rows]
        return replace(self, core=core, scale=scale, outer=outer)

    def multiplied_out(self) -> Factored:
        """The same without t."""
        return self if self.outer is None else Factored(self.full())

    @property
    def columns(self) -> int:
        """Number of columns of J."""
        return (self.core if self.right is None else self.right).shape[-1]

    @property
    def constant(self) -> bool:
        """The same for every sample."""
        return self.core.ndim == 2 and self.scale is None and self.outer is None

    def left(self) -> Tensor:
        """C_k diag(s_k): `(rows, m)` or `(batch, rows, m)`."""
        return self.core if self.scale is None else self.core * self.scale[:, None]

    def full(self) -> Tensor:
        """J_k: `(rows, columns)` or `(batch, rows, columns)`."""
        whole = self.left() if self.right is None else _product(self.left(), self.right)
        return whole if self.outer is None else whole * self.outer[:, None]


def all_pairs(
    jacobians: list[Factored],
    batch: int,
    weight: Tensor | None = None,
    *,
    across: bool = True,
    total: Tensor | None = None,
) -> Tensor:
    """Σ_k J_kᵀ W_k K_k for every two Jacobians J, K of a batch, as one symmetric matrix.

    Args:
        jacobians: In factored form, with equally many rows.
        batch: Number of samples.
        weight: Symmetric W `(batch, rows, rows)`; None: the identity.
        across: Also for J ≠ K; else these blocks are left out.
        total: `(n, n)` float64 to which it is added, in place; None: zeros.

    Returns:
        `(n, n)` float64, n columns in all.
    """
    jacobians = [jacobian.multiplied_out() for jacobian in jacobians]
    if weight is not None:  # both sides of it need these, so they are computed once
        jacobians = [replace(jacobian, core=jacobian.left(), scale=None) for jacobian in jacobians]
    weighed = [_weighted(jacobian, weight) for jacobian in jacobians]
    sizes = [jacobian.columns for jacobian in jacobians]
    if total is None:
        total = jacobians[0].core.new_zeros(sum(sizes), sum(sizes), dtype=torch.float64)
    blocks = [row.split(sizes, 1) for row in total.split(sizes, 0)]
    for i, a in enumerate(weighed):
        for j in range(i, len(jacobians) if across else i + 1):
            inner = _inner(a, jacobians[j], batch, symmetric=i == j)
            block = _outward(inner, a, jacobians[j])
            blocks[i][j].add_(block)
            if i != j:
                blocks[j][i].add_(block.T)
    return total


def _outward(inner: Tensor, a: Factored, b: Factored) -> Tensor:
    if a.right is not None:
        inner = a.right.double().T @ inner.double()
    return inner if b.right is None else inner.double() @ b.right.double()


def _weighted(a: Factored, weight: Tensor | None) -> Factored:
    """W_k J_k: the weight meets the core, which is cheap where that is the same throughout."""
    if weight is None:
        return a
    core = _product(weight, a.core) if a.core.ndim == 2 else weight @ a.core
    return replace(a, core=core)


def _inner(a: Factored, b: Factored, batch: int, *, symmetric: bool) -> Tensor:
    """Σ_k of the two without their right factors."""
    if a.core.ndim == 2 and b.core.ndim == 2:
        both = a.core.T @ b.core
        if a.scale is not None and b.scale is not None:
            return both * (a.scale.T @ b.scale)
        if a.scale is not None:
            return both * a.scale.sum(0)[:, None]
        return both * (batch if b.scale is None else b.scale.sum(0))
    if a.constant:
        return a.core.T @ b.left().sum(0)
    if b.constant:
        return a.left().sum(0).T @ b.core
    left, right = _stacked(a.left()), _stacked(b.left())
    return _half_known(left, right) if symmetric else left.T @ right


def _half_known(left: Tensor, right: Tensor) -> Tensor:
    """A symmetric LᵀR, without computing the quarter that is known by symmetry."""
    half = left.shape[1] // 2
    if half < 32:
        return left.T @ right
    upper = left[:, :half].T @ right
    lower = left[:, half:].T @ right[:, half:]
    return torch.cat([upper, torch.cat([upper[:, half:].T, lower], 1)])


def _product(rows: Tensor, matrix: Tensor) -> Tensor:
    """`rows @ matrix` as one product, where `@` would copy the matrix for every sample."""
    return (_stacked(rows) @ matrix).reshape(*rows.shape[:-1], matrix.shape[1])


def _stacked(rows: Tensor) -> Tensor:
    return rows.reshape(-1, rows.shape[-1])


def contracted(a: Factored, b: Factored, weight: Tensor) -> Tensor:
    """Σ_k J_k diag(w_k) K_kᵀ, with `weight` w `(batch, columns)`; `(rows, rows)` in float64."""
    if a.constant and b.constant:
        return ((a.core * weight.sum(0)) @ b.core.T).double()
    left, right = a.full(), b.full()
    left = left * weight[:, None] if left.ndim == 3 else left[None] * weight[:, None]
    if right.ndim == 2:
        return (left.sum(0) @ right.T).double()
    return torch.einsum("kic,kjc->ij", left, right).double()
