"""Agreement of two partitions of the same units."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from infoflow._arguments import door, one_of
from infoflow.measured import Null
from infoflow.partition import PartitionLike, as_partition
from infoflow.units import UnknownName, unknown_name

if TYPE_CHECKING:
    import pandas as pd

Unused = Literal["drop", "cluster"]

# Our names of the measures of clusim (Gates & Ahn 2019) for flat clusterings.
_CLUSIM: dict[str, tuple[str, dict[str, Any]]] = {
    "element": ("element_sim", {}),
    "nmi": ("nmi", {}),
    "vi": ("vi", {}),
    "rmi": ("rmi", {"norm_type": "normalized"}),
    "ami": ("adj_mi", {}),
    "ari": ("adjrand_index", {}),
}

MEASURES = tuple(_CLUSIM)
"""Names that `agreement` knows."""


@door(measure=one_of(MEASURES, "measure of agreement"), unused=one_of(get_args(Unused)))
def agreement(
    a: PartitionLike, b: PartitionLike, *, measure: str = "element", unused: Unused = "drop"
) -> float:
    """How far two partitions agree, by one of the `MEASURES` (Gates & Ahn 2019).

    Args:
        a: Partition, integer labels, or a result that holds one (`Modules`, `SearchResult`).
        b: Likewise, of the same units.
        measure: `"element"`: element-centric similarity (Gates et al. 2019), 1 when equal.
            `"nmi"`, `"ami"` (normalised, adjusted mutual information), `"ari"` (adjusted Rand),
            `"rmi"` (reduced mutual information, 1 when equal), `"vi"` (variation of information in
            bits: a distance).
        unused: `"drop"`: units unused in either are left out. `"cluster"`: those unused in one are
            a cluster of their own in it (Lange et al. 2022, A.1); a shared one counts as agreement
            (it lifted unrelated partitions from .257 to .373).

    Raises:
        ValueError: Partitions of different length, no unit used in both (`"drop"`), or another
            word for `unused`.
        UnknownName: An unknown measure; near misses are named.

    Examples:
        >>> round(agreement([0, 0, 1, 1], [5, 5, 2, 2]), 9)
        1.0
        >>> round(agreement([0, 0, 1, 1, -1], [0, 1, 1, 1, 1]), 9)
        0.541666667
        >>> round(agreement([0, 0, 1, 1, -1], [0, 1, 1, 1, 1], unused="cluster"), 9)
        0.4
        >>> agreement([0, 0, 1, 1], [0, 0, 1, 1], measure="vi")
        0.0
    """
    if measure not in _CLUSIM:
        raise UnknownName(unknown_name("agreement measure", measure, MEASURES))
    if measure == "element":
        return element_similarity(a, b, unused=unused)
    left, right = _compared(a, b, unused)
    import clusim.sim
    from clusim.clustering import Clustering

    name, options = _CLUSIM[measure]
    first, second = (Clustering().from_membership_list(x.tolist()) for x in (left, right))
    if not (left.any() or right.any()) and measure in ("nmi", "ami", "ari", "rmi"):
        return 1.0  # both one module and therefore equal; clusim divides 0 by 0 here
    if np.array_equal(left, right) and measure == "ari":
        return 1.0  # likewise 0 / 0 when every unit stands alone
    if measure == "ami":  # the same number as clusim's at a twentieth of its time
        from sklearn.metrics import adjusted_mutual_info_score

        return float(adjusted_mutual_info_score(left, right))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # 0 log 0, handled inside clusim
        return float(getattr(clusim.sim, name)(first, second, **options))


def element_similarity(a: PartitionLike, b: PartitionLike, *, unused: Unused = "drop") -> float:
    """Element-centric similarity of flat partitions from their contingency table.

    For partitions the personalised PageRank distance of Gates et al. (2019) reduces to
    (1/n) Σ_{AB} m_AB² / max(|A|, |B|), m_AB the units that module A of one and B of the other
    share: the same number as clusim's, without its n × n matrices.

    Args and errors as for `agreement`.

    Examples:
        >>> element_similarity([0, 0, 0, 0], [0, 0, 1, 1])
        0.5
    """
    left, right = _compared(a, b, unused)
    rows, columns = int(left.max()) + 1, int(right.max()) + 1
    if rows * columns > 16 * len(left):  # mostly empty: count only the cells that occur
        cells, shared = np.unique(left * columns + right, return_counts=True)
        row, column = np.divmod(cells, columns)
    else:
        table = np.bincount(left * columns + right, minlength=rows * columns)
        cells = np.flatnonzero(table)
        shared, (row, column) = table[cells], np.divmod(cells, columns)
    larger = np.maximum(np.bincount(left)[row], np.bincount(right)[column])
    return float((shared * shared / larger).sum() / len(left))


def element_null(
    a: PartitionLike, b: PartitionLike, *, n_shuffles: int = 5000, seed: int = 0
) -> Null:
    """Element-centric similarity against shuffles that keep both partitions' module sizes.

    Raises:
        ValueError: As `element_similarity`, or `n_shuffles` below 1.

    Examples:
        >>> found = element_null(np.repeat([0, 1], 20), np.repeat([0, 1], 20), n_shuffles=99)
        >>> found.observed, found.p_value
        (1.0, 0.01)
    """
    from infoflow.clustering import _kernel_nulls as kernels

    if n_shuffles < 1:
        raise ValueError(f"n_shuffles: expected at least 1, got {n_shuffles}")
    left, right = _compared(a, b, "drop")
    rng = np.random.default_rng(seed)
    uniforms = rng.random((n_shuffles, len(left)), dtype=np.float32)
    # copies: a read-only array is another type to numba, and would be compiled for again
    null = kernels.shuffled_similarity(left.copy(), right.copy(), uniforms)
    return Null(element_similarity(left, right), null, what="element similarity, labels shuffled")


def agreement_matrix(
    partitions: Mapping[str, PartitionLike], *, measure: str = "element", unused: Unused = "drop"
) -> pd.DataFrame:
    """Agreement of every pair of named partitions (figure 4 of Lange et al. 2022).

    Args and errors as for `agreement`.

    Examples:
        >>> agreement_matrix({"cov": [0, 0, 1, 1], "hess": [0, 1, 0, 1]}).round(9)
              cov  hess
        cov   1.0   0.5
        hess  0.5   1.0
    """
    import pandas as pd

    names = list(partitions)
    values = [
        [agreement(partitions[a], partitions[b], measure=measure, unused=unused) for b in names]
        for a in names
    ]
    return pd.DataFrame(values, index=names, columns=names)


def _compared(a: PartitionLike, b: PartitionLike, unused: Unused) -> tuple[np.ndarray, np.ndarray]:
    """Canonical labels of the units that are compared, all at least 0."""
    if unused not in get_args(Unused):
        raise UnknownName(f"unused: expected 'drop' or 'cluster', got {unused!r}")
    first, second = as_partition(a), as_partition(b)
    if len(first) != len(second):
        raise ValueError(
            f"expected partitions of the same units, got {len(first)} and {len(second)} units"
        )
    if unused == "cluster" and len(first):
        return tuple(np.where(p.unused, p.n_modules, p.labels) for p in (first, second))  # type: ignore[return-value]
    both = ~(first.unused | second.unused)
    if both.all() and len(both):
        return first.labels, second.labels
    if not both.any():
        raise ValueError(
            f"no unit of {len(first)} is used in both partitions; unused='cluster' compares them "
            "with unused units as a cluster"
        )
    return first.restrict(both).labels, second.restrict(both).labels
