"""Figures S1 and S2: how the networks do, and what each half of the clustering adds."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt

from experiments.lange2022.rows import NETWORK, Table, clusterable
from experiments.lange2022.style import (
    FAMILIES,
    FAMILY_COLOR,
    FAMILY_NAME,
    MEASURE_COLOR,
    ORDER,
    SETTINGS,
)

METRICS = {
    "test_accuracy": "test accuracy",
    "test_loss": "test loss (nats)",
    "l2_norm": "L2 norm of weights",
    "l1_norm": "L1 norm of weights",
    "sparsity": "share of |W| ≤ 0.001",
}


def figure_s1(rows: Table) -> Any:
    """Performance and weights by setting: seeds thin, mean ± standard error thick, untrained gray.
    All networks are shown, those below 80 % too."""
    networks = rows.drop_duplicates(NETWORK)
    with plt.rc_context(SETTINGS):
        figure, axes = plt.subplots(
            len(METRICS), 3, figsize=(8, 9), sharex="col", sharey="row", layout="constrained"
        )
        for line, (metric, label) in zip(axes, METRICS.items(), strict=True):
            for ax, family in zip(line, FAMILIES, strict=True):
                some = networks[networks["family"] == family]
                for _, seed in some.groupby("seed"):
                    ordered = seed.sort_values("percent")
                    ax.plot(ordered["percent"], ordered[metric], color=FAMILY_COLOR[family], lw=0.5)
                grouped = some.groupby("percent")[metric]
                ax.errorbar(
                    grouped.mean().index, grouped.mean(), grouped.sem(), color="black", lw=1.6
                )
                ax.axhline(networks.loc[~networks["trained"], metric].mean(), color="0.6", lw=1)
            line[0].set_ylabel(label)
        for ax, family in zip(axes[0], FAMILIES, strict=True):
            ax.set_title(FAMILY_NAME[family])
        for ax in axes[-1]:
            ax.set_xlabel("% regularisation")
    return figure


def figure_s2(rows: Table) -> Any:
    """Q* against Q of the spectral half alone, and of 1000 Monte Carlo steps alone."""
    rows = clusterable(rows)
    with plt.rc_context(SETTINGS):
        figure, axes = plt.subplots(1, 2, figsize=(8.5, 4.2), layout="constrained")
        halves = {
            "q_spectral": "spectral initialisation alone",
            "q_monte_carlo_1000": "1000 Monte Carlo steps alone",
        }
        top = float(rows["q_star"].max()) * 1.03
        for ax, (column, label) in zip(axes, halves.items(), strict=True):
            for measure in ORDER:
                some = rows[rows["measure"] == measure]
                ax.plot(
                    some[column], some["q_star"], ".", ms=2, alpha=0.4, rasterized=True,
                    color=MEASURE_COLOR[measure],
                )  # fmt: skip
            ax.plot([0, top], [0, top], color="black", lw=0.8)
            ax.set(xlabel=f"Q, {label}", ylabel="Q*, both", xlim=(0, top), ylim=(0, top))
    return figure
