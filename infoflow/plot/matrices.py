"""Matrices as pictures: similarities sorted by module, agreement, damage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from infoflow.partition import PartitionLike, as_partition
from infoflow.plot.ink import axes, literal

if TYPE_CHECKING:
    from infoflow.comparing import Comparison
    from infoflow.lesioning import Lesions
    from infoflow.searching import SearchResult


def similarity_matrix(
    S: np.ndarray, partition: PartitionLike, *, ax: Any = None, title: str = ""
) -> Any:
    """The matrix sorted by module, with module borders and unused units last.

    Args:
        S: `(n, n)` similarities.
        partition: Of the same units: a `Partition`, a result that holds one, or labels.
        ax: Where to draw.
        title: Above it.

    Raises:
        ValueError: Matrix and partition of different sizes.
    """
    partition = as_partition(partition)
    if S.shape != (len(partition), len(partition)):
        raise ValueError(f"similarities {S.shape} do not fit a partition of {len(partition)} units")
    ax = axes(ax, (3.4, 3.4))
    rank = np.where(partition.labels < 0, partition.n_modules, partition.labels)
    order = np.argsort(rank, kind="stable")
    shown = S[np.ix_(order, order)].copy()
    np.fill_diagonal(shown, np.nan)
    top = np.nanpercentile(shown, 99.5) if np.isfinite(shown).any() else 1.0
    ax.imshow(shown, cmap="magma", vmin=0, vmax=top or 1.0, interpolation="nearest")
    for border in np.cumsum([*partition.sizes])[:-1] if partition.n_modules else []:
        ax.axhline(border - 0.5, color="white", lw=0.9)
        ax.axvline(border - 0.5, color="white", lw=0.9)
    used = int(partition.sizes.sum())
    if used < len(partition):
        ax.axhline(used - 0.5, color="#56B4E9", lw=0.9, ls=":")
        ax.axvline(used - 0.5, color="#56B4E9", lw=0.9, ls=":")
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=9)
    return ax


def confidence(result: SearchResult, *, ax: Any = None, title: str = "") -> Any:
    """How often each two units were in one module when the search was made again, sorted by the
    modules of the search itself.

    Raises:
        ValueError: A search without `confidence=`.
    """
    if result.confidence is None:
        raise ValueError("this search was made once only; search(..., confidence=20) repeats it")
    return similarity_matrix(result.confidence.together, result.partition, ax=ax, title=title)


def agreement(comparison: Comparison, *, ax: Any = None) -> Any:
    """Element-centric similarity of every pair of partitions."""
    ax, table = axes(ax, (5.2, 4.4)), comparison.agreement
    return _image(ax, table, 1.0, "element-centric similarity")


def lesions(hurt: Lesions, measure: str | None = None, *, ax: Any = None, title: str = "") -> Any:
    """Damage, modules in rows and tasks in columns; nothing where a task gets better.

    Args:
        hurt: What `infoflow.lesions` gives.
        measure: One of `hurt.measures`; None: the first of them.
        ax: Where to draw.
        title: Above it.
    """
    table = hurt.damage(measure)
    ax = axes(ax, (1.8 + 0.35 * table.shape[1], 1.2 + 0.35 * len(table)))
    ax.set_title(title, fontsize=9)
    top = max(float(table.to_numpy().max()), 1e-12)
    return _image(ax, table, top, f"damage, {measure or hurt.measures[0]}")


def _image(ax: Any, table: Any, top: float, label: str) -> Any:
    image = ax.imshow(table.to_numpy(), cmap="magma", vmin=0, vmax=top, aspect="auto")
    columns, rows = ([literal(str(n)) for n in names] for names in (table.columns, table.index))
    ax.set_xticks(range(len(columns)), columns, rotation=45, ha="right", fontsize=7)
    ax.set_yticks(range(len(rows)), rows, fontsize=7)
    ax.figure.colorbar(image, ax=ax, shrink=0.8, label=label)
    return ax
