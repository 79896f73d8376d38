"""Q: how much more similarity lies within the modules of a partition than its null expects."""

from __future__ import annotations

from typing import Any

import numpy as np

from infoflow._arguments import door
from infoflow.clustering.matrix import NullModel, modularity_matrix, square
from infoflow.clustering.sparse import is_sparse, sparse_q
from infoflow.partition import PartitionLike, as_partition


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
    labels = as_partition(partition, n).labels
    kept = np.flatnonzero(labels >= 0)
    if len(kept) < n:
        S = np.asarray(S)[np.ix_(kept, kept)]
        null = null if isinstance(null, str) else np.asarray(null)[np.ix_(kept, kept)]
    B = modularity_matrix(S, resolution=resolution, null=null)
    return B.q(labels[kept][B.used])


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
