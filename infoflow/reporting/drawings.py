"""The figures of a run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from infoflow import plot
from infoflow.comparing import Comparison

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figures(comparison: Comparison) -> dict[str, Figure]:
    """Figures of a comparison by name; a run folder keeps them as PNG."""
    from matplotlib.figure import Figure

    names = list(comparison.modules)
    drawn: dict[str, Figure] = {"overview": _overview(comparison)}
    matrices = Figure(figsize=(10.4, 2.75 * -(-len(names) // 4)), layout="constrained")
    for ax, name in zip(_grid(matrices, len(names)), names, strict=False):
        modules = comparison.modules[name]
        plot.similarity_matrix(
            comparison.similarities[name],
            modules.partition,
            ax=ax,
            title=f"{name}: Q* = {modules.q:.3f}, {modules.n_effective:.1f} effective",
        )
    drawn["similarity"] = matrices
    drawn["q_by_measure"] = plot.q_by_measure(comparison, ax=_alone(6.4, 3.0)).figure
    drawn["module_flow"] = plot.module_flow(
        comparison.search.exchange, units=comparison.rec.units, ax=_alone(4.8, 4.0)
    ).figure
    scatter = Figure(figsize=(10.4, 2.4 * -(-len(names) // 4)), layout="constrained")
    for ax, name in zip(_grid(scatter, len(names)), names, strict=False):
        plot.q_against_exchange(comparison, name, ax=ax)
    drawn["q_against_exchange"] = scatter
    drawn["tracking"] = plot.tracking(comparison, ax=_alone(6.4, 6.5)).figure
    drawn["agreement"] = plot.agreement(comparison, ax=_alone(6.4, 5.6)).figure
    drawn["search"] = plot.search_history(comparison.search, ax=_alone(6.4, 2.6)).figure
    return drawn


def _alone(width: float, height: float) -> Any:
    """Axes in a figure of their own, which a notebook does not show."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained").subplots()


def _overview(comparison: Comparison) -> Figure:
    """The whole story in one row: units alike, modules that talk least, does Q know."""
    from matplotlib.figure import Figure

    tracked = comparison.tracking
    best = next(iter(tracked), next(iter(comparison.modules)))
    figure = Figure(figsize=(11.5, 3.3), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1.35, 1.15])
    modules = comparison.modules[best]
    plot.similarity_matrix(
        comparison.similarities[best],
        modules.partition,
        ax=left,
        title=f"Similarity of units ({best}),\nmodules of largest Q ({modules.q:.3f})",
    )
    plot.module_flow(
        comparison.search.exchange,
        units=comparison.rec.units,
        ax=middle,
        title="The modules that exchange least:\nbits (given the context)",
    )
    plot.q_against_exchange(comparison, best, ax=right)
    right.set_title(f"Would Q have told? ρ = {tracked.get(best, float('nan')):.2f}", fontsize=10)
    return figure


def _grid(figure: Figure, count: int) -> list[Any]:
    axes = np.atleast_1d(figure.subplots(-(-count // 4), 4, squeeze=False)).ravel()
    for ax in axes[count:]:
        ax.axis("off")
    return list(axes)
