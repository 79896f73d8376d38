"""Figures 3, S3 and S4: Q* and the number of clusters against regularisation."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt

from experiments.lange2022.measure import EXAMPLES
from experiments.lange2022.networks import LAYERS
from experiments.lange2022.rows import Table, clusterable
from experiments.lange2022.style import FAMILIES, FAMILY_COLOR, FAMILY_NAME, GRID, SETTINGS, frame
from infoflow.plot import similarity_matrix
from infoflow.study.text import decode, decode_matrix


def figure_3(rows: Table) -> Any:
    """Example matrices over Q* against percent regularisation, both layers together."""
    with plt.rc_context(SETTINGS):
        figure: Any = plt.figure(figsize=(10, 7.2), layout="constrained")
        top, bottom = figure.subfigures(2, 1, height_ratios=(1, 2))
        _examples(top, rows)
        axes = bottom.subplots(2, 4, sharex=True, sharey=True)
        _panels(axes, clusterable(rows), "q_star")
        _label(axes, "Q*")
    return figure


def figure_s3(rows: Table) -> Any:
    """Q* by layer."""
    return _by_layer(rows, "q_star", "Q*")


def figure_s4(rows: Table) -> Any:
    """Number of clusters (eq. 8) by layer."""
    return _by_layer(rows, "n_effective", "clusters")


def _by_layer(rows: Table, column: str, label: str) -> Any:
    rows = clusterable(rows)
    with plt.rc_context(SETTINGS):
        figure: Any = plt.figure(figsize=(10, 9), layout="constrained")
        halves = figure.subfigures(2, 1)
        for half, layer, shade in zip(halves, LAYERS, ("white", "#f0f0f0"), strict=True):
            half.set_facecolor(shade)
            half.suptitle(f"hidden layer {layer[-1]}", fontsize=9)
            axes = half.subplots(2, 4, sharex=True, sharey=True)
            _panels(axes, rows[rows["layer"] == layer], column)
            _label(axes, label)
    return figure


def _panels(axes: Any, rows: Table, column: str) -> None:
    """A panel a measure: mean ± standard error by family, ±1, 2, 3 σ of untrained networks."""
    for measures, line in zip(GRID, axes, strict=True):
        for measure, ax in zip(measures, line, strict=True):
            frame(ax, measure)
            some = rows[rows["measure"] == measure]
            _untrained_band(ax, some.loc[~some["trained"], column])
            for family in FAMILIES:
                by_strength = some[some["family"] == family].groupby("percent")[column]
                mean, error = by_strength.mean(), by_strength.sem()
                color, name = FAMILY_COLOR[family], FAMILY_NAME[family]
                ax.errorbar(
                    mean.index, mean, error, color=color, lw=1.2, ms=3, marker="o", label=name
                )


def _untrained_band(ax: Any, values: Table) -> None:
    if len(values) < 2:
        return
    mean, spread = values.mean(), values.std()
    for width in (3, 2, 1):
        ax.axhspan(mean - width * spread, mean + width * spread, color="0.5", alpha=0.15, lw=0)


def _label(axes: Any, label: str) -> None:
    for ax in axes[:, 0]:
        ax.set_ylabel(label)
    for ax in axes[-1]:
        ax.set_xlabel("% regularisation")
    axes[0, 0].legend(fontsize=6, frameon=False, loc="upper left")


def _examples(figure: Any, rows: Table) -> None:
    """Normalised covariance of the first layer of one seed, over increasing dropout."""
    shown = rows[rows["matrix"] != ""].sort_values("dropout")
    axes = figure.subplots(1, len(EXAMPLES["dropout"]))
    for ax in axes:
        ax.axis("off")
    for ax, (_, row) in zip(axes, shown.iterrows(), strict=False):
        ax.axis("on")
        title = f"dropout {row['dropout']:g}: Q* = {row['q_star']:.3f}"
        similarity_matrix(
            decode_matrix(row["matrix"]), decode(row["partition"]), ax=ax, title=title
        )
