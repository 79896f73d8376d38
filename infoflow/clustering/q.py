"""The modularity matrix B of a similarity matrix, similarity beyond what a null expects; and Q of a
partition: how much more lies within its modules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from infoflow._arguments import door, told
from infoflow.clustering.sparse import is_sparse, sparse_q
from infoflow.partition import Partition, PartitionLike, as_partition

_BLOCK = 256  # rows at a time: at n = 4096 whole-matrix temporaries took most of the time

NullModel = Literal["degree", "uniform", "signed"]


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
    S: Any, *, resolution: float = 1.0, null: NullModel | np.ndarray = "degree"
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
    A = whole if len(used) == len(whole) else whole[np.ix_(used, used)]
    peak = max(A.max(), -A.min())
    A /= peak  # first: a sum of entries near 1e308 overflows
    total = np.abs(A).sum()
    A /= total
    if isinstance(null, str):
        _subtract(A, resolution, null)
    else:
        expected = _symmetric(null, "null")
        if expected.shape != whole.shape:
            raise ValueError(f"null: expected shape {whole.shape}, got {expected.shape}")
        A -= resolution * (expected[np.ix_(used, used)] / peak / total)
    return ModularityMatrix(A, used, len(whole))


def _subtract(A: np.ndarray, resolution: float, null: str) -> None:
    """Take γ times what `null` expects off A, in place."""
    if null == "degree":
        _subtract_outer(A, A.sum(axis=1), resolution)
    elif null == "uniform":
        A -= resolution * A.sum() / (len(A) * (len(A) - 1))
        np.fill_diagonal(A, 0.0)
    elif null == "signed":
        parts = [np.clip(sign * A, 0, None).sum(axis=1) for sign in (1.0, -1.0)]
        for sign, degree in zip((1.0, -1.0), parts, strict=True):
            if degree.sum() > 0:
                _subtract_outer(A, degree, sign * resolution / degree.sum())
    else:
        raise ValueError(
            "null: expected 'degree', 'uniform', 'signed' or a matrix of expected similarities, "
            f"got {null!r}"
        )


def _subtract_outer(A: np.ndarray, degree: np.ndarray, weight: float) -> None:
    for i in range(0, len(A), _BLOCK):
        A[i : i + _BLOCK] -= (weight * degree[i : i + _BLOCK])[:, None] * degree


def square(name: str, matrix: Any) -> np.ndarray:
    """`(n, n)` real numbers, of what can be made into an array."""
    if np.ma.is_masked(matrix):
        raise ValueError(f"{name}: masked similarities; fill them, with 0 for none")
    try:
        raw = np.asarray(matrix)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged, or a tensor with gradients
        raise ValueError(
            f"{name}: expected a square matrix (n, n), got {told(matrix)}: {error}"
        ) from error
    if raw.ndim != 2 or raw.shape[0] != raw.shape[1]:
        raise ValueError(f"{name}: expected a square matrix (n, n), got shape {raw.shape}")
    if raw.dtype.kind not in "biuf":
        raise ValueError(f"{name}: expected real numbers, got dtype {raw.dtype}")
    return raw


def _symmetric(matrix: Any, name: str) -> np.ndarray:
    """A float64 copy of `matrix` with a zero diagonal, checked."""
    raw = square(name, matrix)
    values = np.array(
        raw, dtype=np.float64, order="C"
    )  # of another order kernels are compiled anew
    np.fill_diagonal(values, 0.0)
    if values.size and not np.isfinite([values.min(), values.max()]).all():
        i, j = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(
            f"{name}: expected finite numbers, got {values[i, j]} at [{i}, {j}]; was a unit's "
            "activation infinite, or a measure divided by zero?"
        )
    gap, i, j = _symmetrise(values)
    if gap > 1e-6 * max(values.max(initial=0.0), -values.min(initial=0.0)):  # float32: 1e-7
        raise ValueError(
            f"{name}: expected a symmetric matrix, got {float(raw[i, j]):.6g} at [{i}, {j}] and "
            f"{float(raw[j, i]):.6g} at [{j}, {i}]; for a directed matrix use (S + S.T) / 2"
        )
    return values


def _symmetrise(values: np.ndarray) -> tuple[float, int, int]:
    """Average with the transpose, in place and by blocks; returns the largest gap and where."""
    worst = (0.0, 0, 0)
    for i in range(0, len(values), _BLOCK):
        for j in range(i, len(values), _BLOCK):
            upper = values[i : i + _BLOCK, j : j + _BLOCK]
            lower = values[j : j + _BLOCK, i : i + _BLOCK].T
            gap = np.abs(upper / 2 - lower / 2)
            if gap.max() > worst[0]:
                a, b = np.unravel_index(np.argmax(gap), gap.shape)
                worst = (float(gap[a, b]), i + int(a), j + int(b))
            mean = upper / 2 + lower / 2
            upper[...] = mean
            lower[...] = mean
    return worst


@door(S=lambda name, S: S if is_sparse(S) else square(name, S))
def modularity(
    S: Any,
    partition: PartitionLike | np.ndarray,
    *,
    resolution: float = 1.0,
    null: NullModel | np.ndarray = "degree",
) -> float:
    """Q(Ã, P) = Tr(PᵀÃP) − γ Tr(PᵀÃ1 1ᵀÃP) (Lange et al. 2022, eq. 6).

    Units that the partition leaves unused (-1) are taken out of S first, as the paper does with
    all-zero rows: Q is then that of the remaining units.

    Args:
        S: `(n, n)` symmetric similarities; the diagonal is ignored.
        partition: A `Partition`, a result that holds one (`Modules`, `SearchResult`), `(n,)`
            integer labels, or a soft assignment: `(n, c)` floats, at least 0, each row summing to
            1.
        resolution: γ, see `modularity_matrix`.
        null: See `modularity_matrix`.

    Raises:
        ValueError: A bad matrix (see `modularity_matrix`), a partition of another length, or soft
            rows that do not sum to 1.

    Examples:
        >>> S = np.kron(np.eye(2), np.ones((2, 2)))  # two pairs, nothing between them
        >>> modularity(S, [0, 0, 1, 1]), modularity(S, [0, 0, 0, 0])
        (0.5, 0.0)
        >>> modularity(S, np.full((4, 2), 0.5))
        0.0
    """
    n = S.shape[0] if hasattr(S, "shape") else len(S)
    if (
        is_sparse(S)
        and isinstance(null, str)
        and null == "degree"
        and getattr(partition, "ndim", 1) != 2
    ):
        return sparse_q(S, as_partition(partition, n).labels, resolution)
    if getattr(partition, "ndim", 1) == 2:
        return _soft(S, np.asarray(partition), resolution, null)
    return QOf(S, resolution, null)(as_partition(partition, n))


class QOf:
    """`modularity` of one matrix for many partitions: those of the same units have one B."""

    def __init__(
        self, S: Any, resolution: float = 1.0, null: NullModel | np.ndarray = "degree"
    ) -> None:
        self._S, self._resolution, self._null = S, resolution, null
        self._last: tuple[np.ndarray, ModularityMatrix] | None = None

    def __call__(self, partition: Partition) -> float:
        """Q of a partition of all units, those that it leaves unused taken out."""
        used = ~partition.unused
        if self._last is None or not np.array_equal(self._last[0], used):
            self._last = used, self._matrix(np.flatnonzero(used))
        B = self._last[1]
        return B.q(partition.labels[used][B.used])

    def _matrix(self, kept: np.ndarray) -> ModularityMatrix:
        S: Any = self._S
        null: Any = self._null
        if len(kept) < len(S):
            S = np.asarray(S)[np.ix_(kept, kept)]
            null = null if isinstance(null, str) else np.asarray(null)[np.ix_(kept, kept)]
        return modularity_matrix(S, resolution=self._resolution, null=null)


def _soft(S: Any, P: np.ndarray, resolution: float, null: NullModel | np.ndarray) -> float:
    if P.shape[0] != len(S) or P.dtype.kind not in "iuf":
        raise ValueError(
            f"partition: expected a soft assignment of {len(S)} units, got shape {P.shape}"
        )
    off = np.abs(P.sum(axis=1) - 1)
    if not np.isfinite(P).all() or (P < 0).any() or (off > 1e-6).any():
        raise ValueError(
            "partition: expected a soft assignment, entries above 0 and rows that sum to 1; "
            f"got row {int(np.argmax(off))} with sum {P[np.argmax(off)].sum():.6g}; divide each "
            "row by its sum"
        )
    B = modularity_matrix(S, resolution=resolution, null=null)
    used = P[B.used].astype(np.float64)
    return float((used * (B.values @ used)).sum())
