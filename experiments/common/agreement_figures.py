"""Figures of how far the modules of two measures agree (figures 4 and S5)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from experiments.common.style import (
    LABEL,
    MEASURE_COLOR,
    ORDER,
    Columns,
    Family,
    families_of,
    new_figure,
    styled,
)
from infoflow.study import Table

# green where training raised the agreement, black where it did nothing (figure 4b)
_CHANGE = ("#d01c8b", "#000000", "#4dac26")
_LARGEST_CHANGE = 0.4


def mean_agreement(table: Table, *, order: Sequence[str] = ORDER) -> np.ndarray:
    """`(measures, measures)` mean over the rows of an `agreement_table`, nan on the diagonal and
    for pairs that the table lacks.

    Examples:
        >>> import pandas as pd
        >>> mean_agreement(pd.DataFrame({"cov|hess": [0.2, 0.4]}), order=["hess", "cov"]).round(3)
        array([[nan, 0.3],
               [0.3, nan]])
    """
    found = np.full((len(order), len(order)), np.nan)
    for (i, a), (j, b) in combinations(enumerate(order), 2):
        for name in (f"{a}|{b}", f"{b}|{a}"):
            if name in table:
                found[i, j] = found[j, i] = table[name].mean()
    return found


def agreement_matrices(
    table: Table, *, order: Sequence[str] = ORDER, columns: Columns | None = None
) -> Any:
    """Mean agreement of every pair of measures in trained networks, and beside it its difference to
    untrained ones.

    Args:
        table: From `agreement_table`.
        order: Of the measures.
        columns: Names of the other columns.

    Returns:
        The matplotlib figure.

    Raises:
        ImportError: matplotlib is not installed.

    Examples:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"trained": [True, False], "cov|hess": [0.2, 0.4]})
        >>> [ax.get_title() for ax in agreement_matrices(table, order=["cov", "hess"]).axes[:2]]
        ['a) trained, mean of 1 layers', 'b) minus untrained, 1 layers']
    """
    columns = columns or Columns()
    trained, untrained = _split(table, columns)
    with styled():
        figure = new_figure((9.5, 4.2))
        axes = figure.subplots(1, 2)
        levels = mean_agreement(trained, order=order)
        first = _draw(axes[0], levels)
        axes[0].set_title(f"a) trained, mean of {len(trained)} layers")
        second = _draw(axes[1], levels - mean_agreement(untrained, order=order), change=True)
        axes[1].set_title(f"b) minus untrained, {len(untrained)} layers")
        for ax in axes:
            _names(ax, order)
        figure.colorbar(first, ax=axes[0], shrink=0.8, label="element similarity")
        figure.colorbar(second, ax=axes[1], shrink=0.8, label="difference")
    return figure


def agreement_by_strength(
    table: Table,
    *,
    order: Sequence[str] = ORDER,
    families: Sequence[Family] | None = None,
    columns: Columns | None = None,
) -> Any:
    """The same by kind (pairs of rows) and strength (columns) of regularisation.

    Args:
        table: From `agreement_table`, with columns of family, strength and trained.
        order: Of the measures.
        families: Kinds of regularisation; None: all.
        columns: Names of the other columns.

    Returns:
        The matplotlib figure.

    Raises:
        ImportError: matplotlib is not installed.
    """
    columns = columns or Columns()
    families = families_of(table, columns) if families is None else families
    trained, untrained = _split(table, columns)
    base = mean_agreement(untrained, order=order)
    of = {f: trained[trained[columns.family] == f.name] for f in families}
    strengths = {f: sorted(some[columns.strength].unique()) for f, some in of.items()}
    width, height = max(1, *map(len, strengths.values())), 2 * len(families)
    with styled():
        figure = new_figure((0.95 * width, 1.05 * height))
        axes = figure.subplots(height, width, squeeze=False)
        for ax in axes.flat:
            ax.axis("off")
        for number, family in enumerate(families):
            for column, strength in enumerate(strengths[family]):
                some = of[family][of[family][columns.strength] == strength]
                upper, lower = axes[2 * number, column], axes[2 * number + 1, column]
                levels = mean_agreement(some, order=order)
                _draw(upper, levels)
                _draw(lower, levels - base, change=True)
                upper.set_title(f"{strength:.0f} %", fontsize=7)
            axes[2 * number, 0].set_ylabel(family.label)
    return figure


def _split(table: Table, columns: Columns) -> tuple[Table, Table]:
    trained = table[columns.trained].astype(bool)
    return table[trained], table[~trained]


def _draw(ax: Any, values: np.ndarray, *, change: bool = False) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    ax.axis("on")
    low, high = (-_LARGEST_CHANGE, _LARGEST_CHANGE) if change else (0, 1)
    cmap = LinearSegmentedColormap.from_list("change", _CHANGE) if change else "viridis"
    image = ax.imshow(values, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
    half = len(values) / 2 - 0.5
    ax.axhline(half, color="white", lw=0.8)
    ax.axvline(half, color="white", lw=0.8)
    ax.set(xticks=[], yticks=[])
    return image


def _names(ax: Any, order: Sequence[str]) -> None:
    places = range(len(order))
    labels = [LABEL.get(name, name) for name in order]
    ax.set_xticks(places, labels, rotation=60, ha="right")
    ax.set_yticks(places, labels)
    for ticks in (ax.get_xticklabels(), ax.get_yticklabels()):
        for tick, name in zip(ticks, order, strict=True):
            tick.set_color(MEASURE_COLOR.get(name, "black"))
