"""Figures of the networks themselves, and of what each half of the clustering adds (S1, S2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.common.style import (
    MEASURE_COLOR,
    ORDER,
    Columns,
    Family,
    families_of,
    new_figure,
    styled,
)
from infoflow.study import Table

FACTS = {
    "test_accuracy": "test accuracy",
    "test_loss": "test loss (nats)",
    "l2_norm": "L2 norm of weights",
    "l1_norm": "L1 norm of weights",
    "sparsity": "share of |W| ≤ 0.001",
}
"""Columns of `classifier_facts`, and what they say."""


def performance(
    networks: Table,
    *,
    facts: Mapping[str, str] | None = None,
    families: Sequence[Family] | None = None,
    columns: Columns | None = None,
    axis: str = "% regularisation",
) -> Any:
    """Facts about networks by the strength of regularisation (figure S1): seeds thin, mean ±
    standard error thick and black, the mean of untrained networks gray.

    Args:
        networks: One row a network.
        facts: Columns, and labels of the vertical axes; None: all of `FACTS`.
        families: Kinds of regularisation; None: all.
        columns: Names of the other columns.
        axis: Label of the horizontal axis.

    Returns:
        The matplotlib figure.

    Raises:
        ImportError: matplotlib is not installed.
    """
    facts, columns = facts or FACTS, columns or Columns()
    families = families_of(networks, columns) if families is None else families
    untrained = networks[~networks[columns.trained]]
    with styled():
        figure = new_figure((8 / 3 * len(families), 1.8 * len(facts)))
        axes = figure.subplots(len(facts), len(families), sharex="col", sharey="row", squeeze=False)
        for line, (fact, label) in zip(axes, facts.items(), strict=True):
            for ax, family in zip(line, families, strict=True):
                some = networks[networks[columns.family] == family.name]
                _seeds(ax, some, fact, family, columns)
                ax.axhline(untrained[fact].mean(), color="0.6", lw=1)
            line[0].set_ylabel(label)
        for ax, family in zip(axes[0], families, strict=True):
            ax.set_title(family.label)
        for ax in axes[-1]:
            ax.set_xlabel(axis)
    return figure


def _seeds(ax: Any, networks: Table, fact: str, family: Family, columns: Columns) -> None:
    for _, seed in networks.groupby(columns.seed):
        ordered = seed.sort_values(columns.strength)
        ax.plot(ordered[columns.strength], ordered[fact], color=family.color, lw=0.5)
    grouped = networks.groupby(columns.strength)[fact]
    ax.errorbar(grouped.mean().index, grouped.mean(), grouped.sem(), color="black", lw=1.6)


def q_against(
    rows: Table,
    methods: Mapping[str, str],
    *,
    best: str = "q_star",
    label: str = "Q*, both",
) -> Any:
    """Q of one clustering against that of others, a point a matrix, in the measures' colours
    (figure S2): points above the diagonal are matrices in which `best` is better.

    Args:
        rows: One row a network, layer and measure.
        methods: Columns of the other clusterings, and what they are.
        best: Column of the one they are compared with.
        label: What that is.

    Returns:
        The matplotlib figure.

    Raises:
        ImportError: matplotlib is not installed.
    """
    measures = list(dict.fromkeys(rows["measure"]))
    order = [m for m in ORDER if m in measures] + [m for m in measures if m not in ORDER]
    top = float(rows[best].max()) * 1.03
    with styled():
        figure = new_figure((4.25 * len(methods), 4.2))
        axes = figure.subplots(1, len(methods), squeeze=False)[0]
        for ax, (column, text) in zip(axes, methods.items(), strict=True):
            for measure in order:
                some = rows[rows["measure"] == measure]
                ax.plot(
                    some[column], some[best], ".", ms=2, alpha=0.4, rasterized=True,
                    color=MEASURE_COLOR.get(measure, "black"),
                )  # fmt: skip
            ax.plot([0, top], [0, top], color="black", lw=0.8)
            ax.set(xlabel=f"Q, {text}", ylabel=label, xlim=(0, top), ylim=(0, top))
    return figure
