"""Figures 3, 4 and S1 to S5 of the paper from saved rows."""

from __future__ import annotations

from typing import Any

from experiments.common.agreement_figures import agreement_by_strength, agreement_matrices
from experiments.common.network_figures import performance, q_against
from experiments.common.strength_figures import against_strength, matrices
from experiments.common.style import Family, new_figure, styled
from experiments.lange2022.measure import EXAMPLES
from experiments.lange2022.networks import LAYERS
from experiments.lange2022.rows import NETWORK, agreement, clusterable
from infoflow.study import Table

FAMILIES = (
    Family("l2", "#0072B2", "L2 (weight decay)"),
    Family("l1", "#009E73", "L1 weight penalty"),
    Family("dropout", "#D55E00", "dropout"),
)
_SHORT = tuple(
    Family(f.name, f.color, label)
    for f, label in zip(FAMILIES, ("L2", "L1", "dropout"), strict=True)
)


def figure_3(rows: Table) -> Any:
    """Normalised covariance of the first layer of one seed, over increasing dropout; below, Q*
    against percent regularisation, both layers together."""
    shown = rows[rows["matrix"] != ""].sort_values("dropout")
    titles = [f"dropout {row.dropout:g}: Q* = {row.q_star:.3f}" for row in shown.itertuples()]
    with styled():
        figure = new_figure((10, 7.2))
        top, bottom = figure.subfigures(2, 1, height_ratios=(1, 2))
        matrices(shown, titles, places=len(EXAMPLES["dropout"]), figure=top)
        against_strength(clusterable(rows), "q_star", label="Q*", families=FAMILIES, figure=bottom)
    return figure


def figure_4(rows: Table) -> Any:
    """Mean agreement of trained networks, and its difference to untrained ones."""
    return agreement_matrices(agreement(rows))


def figure_s1(rows: Table) -> Any:
    """Performance and weights by setting. All networks are shown, those below 80 % too."""
    return performance(rows.drop_duplicates(NETWORK), families=FAMILIES)


def figure_s2(rows: Table) -> Any:
    """Q* against Q of the spectral half alone, and of 1000 Monte Carlo steps alone."""
    halves = {
        "q_spectral": "spectral initialisation alone",
        "q_monte_carlo_1000": "1000 Monte Carlo steps alone",
    }
    return q_against(clusterable(rows), halves)


def figure_s3(rows: Table) -> Any:
    """Q* by layer."""
    return _by_layer(rows, "q_star", "Q*")


def figure_s4(rows: Table) -> Any:
    """Number of clusters (eq. 8) by layer."""
    return _by_layer(rows, "n_effective", "clusters")


def figure_s5(rows: Table) -> Any:
    """As figure 4, by kind (pairs of rows) and strength (columns) of regularisation."""
    return agreement_by_strength(agreement(rows), families=_SHORT)


def _by_layer(rows: Table, column: str, label: str) -> Any:
    rows = clusterable(rows)
    with styled():
        figure = new_figure((10, 9))
        halves = figure.subfigures(2, 1)
        for half, layer, shade in zip(halves, LAYERS, ("white", "#f0f0f0"), strict=True):
            half.set_facecolor(shade)
            half.suptitle(f"hidden layer {layer[-1]}", fontsize=9)
            some = rows[rows["layer"] == layer]
            against_strength(some, column, label=label, families=FAMILIES, figure=half)
    return figure
