"""Q beside the exchange, and how a search went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from infoflow.plot.ink import (
    CAUSAL_COLOR,
    CHANCE_COLOR,
    KIND_COLORS,
    MARKERS,
    axes,
    ink,
    literal,
    measure_color,
    plain,
)

if TYPE_CHECKING:
    from infoflow.comparing import Comparison
    from infoflow.searching import SearchResult


def q_by_measure(comparison: Comparison, *, ax: Any = None) -> Any:
    """Q* of every measure, one group of bars a layer."""
    ax = axes(ax, (6.4, 3.0))
    table = comparison.layers.pivot(index="measure", columns="layer", values="q_star")
    table = table.reindex([m for m in comparison.similarities if m in table.index])
    layers = list(dict.fromkeys(comparison.layers["layer"]))
    width, colors = 0.8 / len(layers), [measure_color(m) for m in table.index]
    for number, layer in enumerate(layers):
        place = np.arange(len(table)) + (number - (len(layers) - 1) / 2) * width
        q, alpha = table[layer].to_numpy(dtype=float), 1.0 - 0.65 * number / max(len(layers) - 1, 1)
        ax.bar(place, q, width * 0.92, color=colors, alpha=alpha, label=literal(layer))
    ax.set_xticks(np.arange(len(table)), table.index, rotation=30, ha="right", fontsize=8)
    ax.set_ylabel("Q*")
    ax.legend(title="layer", fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    plain(ax)
    return ax


def q_against_exchange(comparison: Comparison, measure: str, *, ax: Any = None) -> Any:
    """Q under one measure against weighted exchange, over the common set of partitions.

    The exchange is divided by the mean of random partitions into as many modules, so that
    partitions of different numbers of modules can be seen together.
    """
    ax = axes(ax, (3.2, 2.8))
    common = comparison.common.partitions
    predictions = comparison.common.predictions
    own = (predictions["predictor"] == measure) & (predictions["layer"] == "")
    q = predictions[own].set_index("partition")["value"]
    ax.axhline(1.0, color=CHANCE_COLOR, lw=0.6)
    for (kind, color), marker in zip(KIND_COLORS.items(), MARKERS, strict=False):
        part = common[common["kind"] == kind]
        shown = {"s": 8, "color": color, "alpha": 0.7, "linewidths": 0, "marker": marker}
        ax.scatter(q[part.index], part["of_random"], **shown)
    rho = comparison.tracking.get(measure, float("nan"))
    ax.set_title(f"{measure}: ρ = {rho:.2f}", fontsize=9, color=measure_color(measure))
    ax.set_xlabel("Q", fontsize=8)
    ax.set_ylabel("exchange ÷ chance", fontsize=8)
    ax.tick_params(labelsize=7)
    plain(ax)
    return ax


def tracking(comparison: Comparison, *, ax: Any = None) -> Any:
    """How well every predictor tracks the exchange: Spearman's correlation with -weighted
    exchange and its 95 % interval, over all partitions (black) and over each kind of them."""
    table = comparison.correlations
    table = table[(table["scope"] == "together") & (table["quantity"] == "weighted")]
    names = list(dict.fromkeys(table["predictor"]))[::-1]
    ax = axes(ax, (6.4, 0.32 * len(names) + 1.0))
    rank = {name: place for place, name in enumerate(names)}
    colors = {**KIND_COLORS, "all": ink()}
    for number, (kind, color) in enumerate(colors.items()):
        part = table[table["kind"] == kind]
        at = np.array([rank[name] for name in part["predictor"]]) + 0.3 - 0.15 * number
        rho = np.asarray(part["spearman"], dtype=float)
        ax.hlines(at, part["low"], part["high"], color=color, lw=2.0 if kind == "all" else 0.8)
        ax.plot(
            rho, at, MARKERS[number], ls="", ms=4.5 if kind == "all" else 3, color=color, label=kind
        )
    ax.axvline(0.0, color=CHANCE_COLOR, lw=0.8)
    ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.set(xlim=(-1.05, 1.05), xlabel="Spearman's ρ with −exchange")
    ax.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    plain(ax)
    return ax


def search_history(result: SearchResult, *, ax: Any = None) -> Any:
    """Weighted exchange of every partition measured, and the best so far."""
    ax = axes(ax, (6.4, 2.6))
    history = result.history
    finite = np.isfinite(history["weighted"])
    steps = np.arange(1, len(history) + 1)
    ax.plot(steps[finite], history["weighted"][finite], ".", ms=2.5, color=CHANCE_COLOR)
    ax.plot(steps, history["best"], color=CAUSAL_COLOR, lw=1.6, label="best so far")
    ax.axhline(result.score.mean, color=ink(), lw=0.8, ls="--", label="mean of random")
    ax.set(xlabel="partitions measured", ylabel=f"exchange, {result.score.weighting}")
    ax.legend(fontsize=7)
    plain(ax)
    return ax
