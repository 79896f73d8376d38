"""Figures 4 and S5: agreement of the clusters that two measures find."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from experiments.lange2022.rows import PAIRS, Table, agreement_table
from experiments.lange2022.style import FAMILIES, LABEL, MEASURE_COLOR, ORDER, SETTINGS

# figure 4b: green where training raised the agreement, black where it did nothing
_CHANGE = LinearSegmentedColormap.from_list("change", ["#d01c8b", "#000000", "#4dac26"])
_LARGEST_CHANGE = 0.4


def figure_4(rows: Table) -> Any:
    """Mean agreement of trained networks, and its difference to untrained ones."""
    table = agreement_table(rows)
    trained, untrained = _split(table)
    with plt.rc_context(SETTINGS):
        figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
        first = _draw(axes[0], matrix(trained))
        axes[0].set_title(f"a) trained, mean of {len(trained)} layers")
        second = _draw(axes[1], matrix(trained) - matrix(untrained), change=True)
        axes[1].set_title(f"b) minus untrained, {len(untrained)} layers")
        for ax in axes:
            _names(ax)
        figure.colorbar(first, ax=axes[0], shrink=0.8, label="element similarity")
        figure.colorbar(second, ax=axes[1], shrink=0.8, label="difference")
    return figure


def figure_s5(rows: Table) -> Any:
    """As figure 4, by kind (pairs of rows) and strength (columns) of regularisation."""
    table = agreement_table(rows)
    trained, untrained = _split(table)
    base = matrix(untrained)
    strengths = {
        f: sorted(trained.loc[trained["family"] == f, "percent"].unique()) for f in FAMILIES
    }
    columns = max(1, *map(len, strengths.values()))
    with plt.rc_context(SETTINGS):
        figure, axes = plt.subplots(
            6, columns, figsize=(0.95 * columns, 6.3), layout="constrained", squeeze=False
        )
        for ax in axes.flat:
            ax.axis("off")
        for number, family in enumerate(FAMILIES):
            for column, strength in enumerate(strengths[family]):
                some = trained[(trained["family"] == family) & (trained["percent"] == strength)]
                upper, lower = axes[2 * number, column], axes[2 * number + 1, column]
                _draw(upper, matrix(some))
                _draw(lower, matrix(some) - base, change=True)
                upper.set_title(f"{strength:.0f} %", fontsize=7)
            axes[2 * number, 0].set_ylabel(family.upper() if family != "dropout" else family)
    return figure


def matrix(table: Table) -> np.ndarray:
    """`(8, 8)` mean agreement in the order of `ORDER`, nan on the diagonal."""
    found = np.full((len(ORDER), len(ORDER)), np.nan)
    for a, b in PAIRS:
        i, j = ORDER.index(a), ORDER.index(b)
        found[i, j] = found[j, i] = table[f"{a}|{b}"].mean()
    return found


def _split(table: Table) -> tuple[Table, Table]:
    without = table["family"] == "untrained"
    return table[~without], table[without]


def _draw(ax: Any, values: np.ndarray, *, change: bool = False) -> Any:
    ax.axis("on")
    low, high = (-_LARGEST_CHANGE, _LARGEST_CHANGE) if change else (0, 1)
    cmap = _CHANGE if change else "viridis"
    image = ax.imshow(values, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
    half = len(values) / 2 - 0.5
    ax.axhline(half, color="white", lw=0.8)
    ax.axvline(half, color="white", lw=0.8)
    ax.set(xticks=[], yticks=[])
    return image


def _names(ax: Any) -> None:
    places = range(len(ORDER))
    ax.set_xticks(places, [LABEL[name] for name in ORDER], rotation=60, ha="right")
    ax.set_yticks(places, [LABEL[name] for name in ORDER])
    for ticks in (ax.get_xticklabels(), ax.get_yticklabels()):
        for tick, name in zip(ticks, ORDER, strict=True):
            tick.set_color(MEASURE_COLOR[name])
