"""The modularity matrix B of a similarity matrix: similarity beyond what a null expects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from infoflow.partition import Partition

Null = Literal["degree", "uniform", "signed"]


@dataclass(frozen=True, eq=False)
class ModularityMatrix:
    """B over the used units, scaled so that Q of a partition is the sum of B within its modules.

    Attributes:
        values: `(m, m)` symmetric float64, m the number of used units.
        used: `(m,)` flat indices of those units.
        n: Units in the similarity matrix, used or not.
    """

    values: np.ndarray
    used: np.ndarray
    n: int

    def q(self, labels: np.ndarray) -> float:
        """Q of `(m,)` labels over the used units."""
        order = np.argsort(labels, kind="stable")
        borders = np.flatnonzero(np.diff(labels[order])) + 1
        blocks = np.split(order, borders)
        return float(sum(self.values[np.ix_(block, block)].sum() for block in blocks))

    def partition(self, labels: np.ndarray) -> Partition:
        """`(m,)` labels over the used units as a partition of all `n`; the others are unused."""
        return Partition(np.asarray(labels, dtype=np.int64)).embed(self.used, self.n)


def modularity_matrix(
    S: Any, *, resolution: float = 1.0, null: Null | np.ndarray = "degree"
) -> ModularityMatrix:
    """B = Ã − γ N, so that Q(P) = Tr(PᵀBP) (Lange et al. 2022, eq. 6, with γ = 1).

    Ã is S without its diagonal, scaled to sum to one. All-zero rows are left out.

    Args:
        S: `(n, n)` symmetric similarities: array, DataFrame or CPU tensor. The diagonal is ignored.
        resolution: γ ≥ 0. Above 1 more and smaller modules, below 1 fewer and larger ones
            (Reichardt & Bornholdt 2006).
        null: What similarity to expect of a pair.
            `"degree"`: k_i k_j, k the row sums of Ã (eq. 6).
            `"uniform"`: the mean of Ã for every pair.
            `"signed"`: for S with negative entries, the degree nulls of its positive and
            negative parts, each with its own weight (Gómez, Jensen & Arenas 2009).
            An `(n, n)` array: expected similarities in the units of S, its diagonal ignored.

    Raises:
        ValueError: S is not square, not symmetric, not finite, or has negative entries where
            `null` is not `"signed"`; or fewer than two units have any similarity.

    Examples:
        >>> S = np.array([[9.0, 1, 0], [1, 9, 0], [0, 0, 9]])
        >>> B = modularity_matrix(S)
        >>> B.used.tolist(), B.values.tolist()
        ([0, 1], [[-0.25, 0.25], [0.25, -0.25]])
    """
    if not (np.isfinite(resolution) and resolution >= 0):
        raise ValueError(f"resolution: expected a number of at least 0, got {resolution}")
    whole = _symmetric(S, "similarity")
    signed = isinstance(null, str) and null == "signed"
    if not signed and whole.min(initial=0.0) < 0:
        i, j = np.unravel_index(np.argmin(whole), whole.shape)
        raise ValueError(
            f"expected similarities of at least 0, got {whole[i, j]:.6g} at [{i}, {j}]; take the "
            'absolute value, as the eight measures do, or use null="signed"'
        )
    used = np.flatnonzero((whole != 0).any(axis=1))
    if len(used) < 2:
        raise ValueError(
            f"expected at least 2 units with some similarity to another, got {len(used)} of "
            f"{len(whole)}: there is nothing to divide into modules"
        )
    peak = np.abs(whole).max()
    A = whole[np.ix_(used, used)] / peak  # by the peak first: a sum of entries near 1e308 overflows
    total = np.abs(A).sum()
    A /= total
    if isinstance(null, str):
        A -= resolution * _expected(A, null)
    else:
        expected = _symmetric(null, "null")
        if expected.shape != whole.shape:
            raise ValueError(f"null: expected shape {whole.shape}, got {expected.shape}")
        A -= resolution * (expected[np.ix_(used, used)] / peak / total)
    return ModularityMatrix(A, used, len(whole))


def _expected(A: np.ndarray, null: str) -> np.ndarray:
    if null == "degree":
        degree = A.sum(axis=1)
        return np.outer(degree, degree)
    if null == "uniform":
        expected = np.full_like(A, A.sum() / (len(A) * (len(A) - 1)))
        np.fill_diagonal(expected, 0.0)
        return expected
    if null == "signed":
        expected = np.zeros_like(A)
        for sign in (1.0, -1.0):
            degree = np.clip(sign * A, 0, None).sum(axis=1)
            if degree.sum() > 0:
                expected += sign * np.outer(degree, degree) / degree.sum()
        return expected
    raise ValueError(
        f"null: expected 'degree', 'uniform', 'signed' or a matrix of expected similarities, "
        f"got {null!r}"
    )


def _symmetric(matrix: Any, name: str) -> np.ndarray:
    """A float64 copy of `matrix` with a zero diagonal, checked."""
    raw = np.asarray(matrix)
    if raw.ndim != 2 or raw.shape[0] != raw.shape[1]:
        raise ValueError(f"{name}: expected a square matrix (n, n), got shape {raw.shape}")
    if not (np.issubdtype(raw.dtype, np.number) or raw.dtype == bool) or np.iscomplexobj(raw):
        raise ValueError(f"{name}: expected real numbers, got dtype {raw.dtype}")
    values = np.array(raw, dtype=np.float64)
    np.fill_diagonal(values, 0.0)
    if not np.isfinite(values).all():
        i, j = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(
            f"{name}: expected finite numbers, got {values[i, j]} at [{i}, {j}]; was a unit's "
            "activation infinite, or a measure divided by zero?"
        )
    gap = np.abs(values - values.T)
    if gap.size and gap.max() > 1e-6 * np.abs(values).max():  # float32 products reach 1e-7
        i, j = np.unravel_index(np.argmax(gap), gap.shape)
        raise ValueError(
            f"{name}: expected a symmetric matrix, got {values[i, j]:.6g} at [{i}, {j}] and "
            f"{values[j, i]:.6g} at [{j}, {i}]; for a directed matrix use (S + S.T) / 2"
        )
    return values / 2 + values.T / 2
