"""Modules of a graph of which only the strongest connections are kept: above some thousand units no
matrix of all pairs is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from infoflow.clustering.modules import Modules
from infoflow.partition import Partition

if TYPE_CHECKING:
    import scipy.sparse as sp  # takes a third of a second, where it is used


@dataclass(frozen=True, eq=False)
class SparseSimilarity:
    """The strongest similarities of each unit, and the sum of all of them.

    Q needs of a pair only its similarity and the strengths of both units: with the strengths exact
    the null model is exact, and what is left out of the matrix counts as no similarity.

    Attributes:
        matrix: `(n, n)` symmetric CSR, of which the diagonal is ignored.
        strength: `(n,)` sums of each unit's similarities to all others, also those left out.
    """

    matrix: sp.csr_array
    strength: np.ndarray

    def __post_init__(self) -> None:
        kept = np.asarray(_off_diagonal(self.matrix).sum(axis=1)).ravel()
        strength = np.asarray(self.strength, dtype=np.float64)
        if strength.shape != kept.shape:
            raise ValueError(f"expected strengths {kept.shape}, got {strength.shape}")
        less = strength < kept * (1 - 1e-5) - 1e-12
        if less.any() or not np.isfinite(strength).all():
            i = int(np.argmax(less | ~np.isfinite(strength)))
            raise ValueError(
                f"expected each unit's strength to be the sum of all its similarities, got "
                f"{strength[i]:.6g} for unit {i}, of which {kept[i]:.6g} are in the matrix"
            )

    def __len__(self) -> int:
        return len(self.strength)


def is_sparse(S: Any) -> bool:
    """Whether it is a SciPy sparse matrix, or `SparseSimilarity`."""
    return isinstance(S, SparseSimilarity) or type(S).__module__.startswith("scipy.sparse")


def sparse_modules(
    S: Any, *, seed: int, resolution: float, restarts: int | None, perturbations: int | None
) -> Modules:
    """P* of a sparse graph under the degree null: Louvain's method with moves of single units on
    every level (Blondel et al. 2008), then iterated: some modules are taken apart, and all settles
    again, kept where Q did not fall.

    Raises:
        ValueError: Not square, symmetric, finite or non-negative, or no similarity at all.
    """
    graph = S if isinstance(S, SparseSimilarity) else _whole(S)
    matrix, strength = _checked(graph.matrix), graph.strength
    used = np.flatnonzero(strength > 0)
    total = strength.sum()
    if len(used) < 2 or not matrix.nnz:
        raise ValueError(
            f"expected at least 2 units with some similarity to another, got {len(used)} of "
            f"{len(strength)}: there is nothing to divide into modules"
        )
    A, k = (matrix[used][:, used] / total).tocsr(), strength[used] / total
    rng = np.random.default_rng(seed)
    best, top = np.zeros(len(used), np.int64), -np.inf
    for _ in range(1 + (1 if restarts is None else restarts)):
        labels = _iterated(A, k, resolution, 10 if perturbations is None else perturbations, rng)
        q = _q(A, k, labels, resolution)
        if q > top:
            best, top = labels, q
    bound = min(max(_bound(A, k, resolution), top), 1.0)
    partition = Partition(best).embed(used, len(strength))
    return Modules(partition, top, bound, bound - top <= 1e-7, "default", seed)


def sparse_q(S: Any, labels: np.ndarray, resolution: float = 1.0) -> float:
    """Q of `(n,)` labels; units labelled -1 are taken out of the graph first, and so are their
    shares of the others' strengths as far as the matrix has them."""
    graph = S if isinstance(S, SparseSimilarity) else _whole(S)
    matrix, kept = _checked(graph.matrix), np.flatnonzero(labels >= 0)
    out = np.flatnonzero(labels < 0)
    strength = graph.strength[kept] - np.asarray(matrix[kept][:, out].sum(axis=1)).ravel()
    total = strength.sum()
    inside = matrix[kept][:, kept] / total
    return _q(inside.tocsr(), strength / total, labels[kept], resolution)


def _iterated(
    A: sp.csr_array, k: np.ndarray, resolution: float, rounds: int, rng: np.random.Generator
) -> np.ndarray:
    best = _settled(A, k, np.arange(len(k)), resolution, rng)
    top = _q(A, k, best, resolution)
    for _ in range(rounds if best.any() else 0):
        labels = best.copy()
        apart = np.isin(labels, rng.choice(labels.max() + 1, max((labels.max() + 1) // 8, 1)))
        labels[apart] = labels.max() + 1 + np.arange(apart.sum())
        labels = _settled(A, k, np.unique(labels, return_inverse=True)[1], resolution, rng)
        q = _q(A, k, labels, resolution)
        if q >= top:
            best, top = labels, q
    return best


def _settled(
    A: sp.csr_array,
    k: np.ndarray,
    labels: np.ndarray,
    resolution: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Units move, then modules as if they were units, and so on up; again while Q rises."""
    import scipy.sparse as sp

    gain = np.inf
    while gain > 1e-12:
        labels, gain = _moved(A, k, labels, resolution, rng)
        graph, strength, up = A, k, labels
        while True:
            count = up.max() + 1
            to = sp.csr_array((np.ones(len(up)), (np.arange(len(up)), up)), (len(up), count))
            graph, strength = (to.T @ graph @ to).tocsr(), np.bincount(up, strength, count)
            up, raised = _moved(graph, strength, np.arange(count), resolution, rng)
            gain += raised
            if raised <= 1e-12:
                break
            labels = up[labels]
    return labels


def _moved(
    A: sp.csr_array,
    k: np.ndarray,
    labels: np.ndarray,
    resolution: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, float]:
    from infoflow.clustering import _kernel_sparse as kernels

    labels = labels.astype(np.int64)
    order = rng.permutation(len(labels))
    at, to = A.indptr.astype(np.int64), A.indices.astype(np.int64)
    gain = kernels.move_units(at, to, A.data, k, labels, order, resolution)
    return np.unique(labels, return_inverse=True)[1].ravel(), float(gain)


def _q(A: sp.csr_array, k: np.ndarray, labels: np.ndarray, resolution: float) -> float:
    rows = np.repeat(np.arange(len(k)), np.diff(A.indptr))
    inside = A.data[labels[rows] == labels[A.indices]].sum()
    return float(inside - resolution * (np.bincount(labels, k) ** 2).sum())


def _bound(A: sp.csr_array, k: np.ndarray, resolution: float) -> float:
    """The sum of all pairs that would raise Q; those left out of the matrix would not."""
    rows = np.repeat(np.arange(len(k)), np.diff(A.indptr))
    pairs = A.data - resolution * k[rows] * k[A.indices]
    return float(np.clip(pairs, 0, None).sum() - resolution * (k**2).sum())


def _whole(S: Any) -> SparseSimilarity:
    import scipy.sparse as sp

    matrix = _checked(sp.csr_array(S))
    return SparseSimilarity(matrix, np.asarray(matrix.sum(axis=1)).ravel())


def _off_diagonal(matrix: Any) -> sp.csr_array:
    import scipy.sparse as sp

    found = sp.csr_array(matrix, dtype=np.float64)
    return sp.csr_array(found - sp.diags_array(found.diagonal()))


def _checked(matrix: Any) -> sp.csr_array:
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"similarity: expected a square matrix (n, n), got shape {matrix.shape}")
    found = _off_diagonal(matrix)
    found.sum_duplicates()
    found.eliminate_zeros()
    if not np.isfinite(found.data).all() or (found.data < 0).any():
        worst = found.data[np.argmin(np.where(np.isfinite(found.data), found.data, -np.inf))]
        raise ValueError(f"expected finite similarities of at least 0, got {worst:.6g}")
    gap = abs(found - found.T)
    if gap.nnz and gap.max() > 1e-6 * found.max():
        i, j = np.unravel_index(int(gap.argmax()), gap.shape)
        raise ValueError(
            f"similarity: expected a symmetric matrix, got {found[i, j]:.6g} at [{i}, {j}] and "
            f"{found[j, i]:.6g} at [{j}, {i}]; for a directed matrix use (S + S.T) / 2"
        )
    return (found + found.T).tocsr() / 2
