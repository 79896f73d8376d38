"""Tables and figures of docs/training.md from the saved rows.

python -m experiments.training.page
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.forcing.page import markdown
from experiments.lesions.page import text
from experiments.training import course, goals, sweep
from infoflow.plot import against
from infoflow.study import Estimate, Table, estimate, load_table

IMAGES = Path(__file__).parents[2] / "docs" / "images"
LEAST_DAMAGE = 0.05
SPECIALISATIONS = ("specialisation", "random_specialisation", "given_specialisation")


def rows(path: Path) -> Table:
    """Saved rows; specialisation only where there is damage."""
    table = load_table(path)
    table.loc[table["damage"] < LEAST_DAMAGE, list(SPECIALISATIONS)] = np.nan
    return table


def less_baseline(table: Table, own: Table, column: str) -> pd.Series:
    """A column less that of the same task and seed without penalty."""
    none = table[table["penalty"] == "none"].set_index(["task", "seed"])[column]
    places = pd.MultiIndex.from_frame(own[["task", "seed"]])
    return own[column] - none.reindex(places).to_numpy()


def verdict(gained: Estimate, cost: Estimate, special: Estimate) -> str:
    """The rule of the README for one penalty and strength."""
    said = ["modular" if gained.positive else "no more modular"]
    said.append("free" if cost.mean > -0.01 else "costs accuracy")
    if special.positive:
        said.append("specialised" if special.mean >= 0.1 else "slightly specialised")
    return ", ".join(said)


def strengths(table: Table) -> Table:
    """A row a task, penalty and strength."""
    found = []
    for (task, penalty, strength), own in table.groupby(
        ["task", "penalty", "strength"], sort=False
    ):
        gained = estimate(less_baseline(table, own, "score"))
        cost = estimate(less_baseline(table, own, "accuracy"))
        special = estimate(own["given_specialisation"] - own["random_specialisation"])
        found.append(
            (
                task, penalty, f"{strength:g}", f"{own['accuracy'].mean():.3f}",
                f"{own['score'].mean():.2f}",
                *(f"{own[f'q_{graph}'].mean():.2f}" for graph in ("o_sens", "cov_norm", "weights")),
                _mean_of(own["given_exchange"]), f"{own['agreement'].mean():.2f}",
                f"{special.mean:+.3f} [{special.low:+.3f}, {special.high:+.3f}]",
                "" if penalty == "none" else verdict(gained, cost, special),
            )
        )  # fmt: skip
    names = [
        "task", "penalty", "strength", "accuracy", "causal score", "Q* o_sens", "Q* cov_norm",
        "Q* weights", "exchange of those given ÷ random", "agreement",
        "specialised above random, bits", "verdict",
    ]  # fmt: skip
    return pd.DataFrame(found, columns=names).sort_values(
        ["task", "penalty"], kind="stable", key=lambda names: names.map(_ORDER.index)
    )


_ORDER = [*sweep.OF_TASK, "none", *sweep.PENALTIES]


def in_turn(table: Table) -> Table:
    """At the last step: each goal, and goals in turn less the mean of the two that stay."""
    last = table[table["step"] == goals.STEPS[-1]]
    columns = {
        "accuracy": "accuracy", "causal score": "score", "side": "side", "Q* o_sens": "q_o_sens",
        "Q* weights": "q_weights", "specialisation": "specialisation",
    }  # fmt: skip
    found = []
    for goal in goals.GOALS:
        own = last[last["goal"] == goal]
        found.append((goal, *(f"{own[c].mean():.3f}" for c in columns.values())))
    differences = (text(changed(last, column)) for column in columns.values())
    found.append(("in turn - mean of the others", *differences))
    return pd.DataFrame(found, columns=["goal", *columns])


def changed(last: Table, column: str) -> Estimate:
    """Goals in turn less the mean of the two that stay, over seeds."""
    wide = last.pivot_table(index="seed", columns="goal", values=column)
    return estimate(wide["in turn"] - (wide["and"] + wide["or"]) / 2)


def before_and_after(table: Table) -> Table:
    """Each measure before training, at its end, and the difference over seeds."""
    columns = {
        "accuracy": "accuracy", "causal score": "score", "Q* o_sens": "q_o_sens",
        "Q* cov_norm": "q_cov_norm", "Q* weights": "q_weights",
        "specialisation": "specialisation",
    }  # fmt: skip
    found = []
    for setting, own in table.groupby("setting", sort=False):
        for name, column in columns.items():
            wide = own.pivot_table(index="seed", columns="epoch", values=column, dropna=False)
            start, best, end = (_mean_of(wide[e]) for e in (0, 10, course.EPOCHS[-1]))
            rise = estimate(wide[course.EPOCHS[-1]] - wide[0])
            change = str(rise) if np.isfinite(rise.mean) else "no damage before training"
            said = "raises" if rise.positive else "lowers" if rise.negative else ""
            found.append((setting, name, start, best, end, change, said))
    names = ["setting", "measure", "before", "10 epochs", "100 epochs", "rise", "training"]
    return pd.DataFrame(found, columns=names)


def _mean_of(values: pd.Series) -> str:
    mean = values.mean()
    return f"{mean:.3f}" if np.isfinite(mean) else ""


def tables() -> list[str]:
    """The tables of the page, in order."""
    made = [
        strengths(rows(sweep.PATH)), in_turn(rows(goals.PATH)), before_and_after(rows(course.PATH))
    ]  # fmt: skip
    return [markdown(table) for table in made]


def draw_sweep(table: Table) -> None:
    """Accuracy, causal score and specialisation against strength, a row a task."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 5.2), layout="constrained")
    axes = figure.subplots(2, 3)
    shown = {
        "accuracy": "accuracy", "score": "causal score, log₂",
        "given_specialisation": "specialisation, bits",
    }  # fmt: skip
    for line, (task, penalties) in zip(axes, sweep.OF_TASK.items(), strict=True):
        own = table[table["task"] == task]
        for ax, (column, label) in zip(line, shown.items(), strict=True):
            kept = own[own["penalty"].isin(penalties)]
            against(kept, "strength", column, by="penalty", ax=ax)
            none = own[own["penalty"] == "none"][column].mean()
            ax.axhline(none, color="0.6", lw=0.8, ls="--", label="none")
            ax.set_xscale("log")
            ax.set_ylabel(f"{task}: {label}" if column == "accuracy" else label, fontsize=8)
        line[0].legend(fontsize=6)
        line[2].set_ylim(-0.05, 1.0)
    _finish(figure, axes.ravel(), "strength of the penalty", "training_sweep.png")


def draw_course(turned: Table, trained: Table) -> None:
    """Causal score and Q* over training: changing goals on the left, digits on the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 2.8), layout="constrained")
    axes = figure.subplots(1, 4)
    for ax, column, label in (
        (axes[0], "score", "retina: causal score, log₂"), (axes[1], "side", "retina: side")
    ):  # fmt: skip
        against(turned.assign(step=turned["step"] + 1), "step", column, by="goal", ax=ax)
        ax.set_ylabel(label, fontsize=8)
    for ax, column, label in (
        (axes[2], "score", "digits: causal score, log₂"), (axes[3], "q_o_sens", "digits: Q* o_sens")
    ):  # fmt: skip
        against(trained.assign(epoch=trained["epoch"] + 1), "epoch", column, by="setting", ax=ax)
        ax.set_ylabel(label, fontsize=8)
    for ax in axes:
        ax.set_xscale("log")
        ax.legend(fontsize=6)
    _finish(figure, axes, "steps or epochs + 1", "training_course.png")


def _finish(figure: Any, axes: Sequence[Any], label: str, name: str) -> None:
    for ax in axes:
        ax.set_xlabel(label, fontsize=8)
        ax.tick_params(labelsize=7)
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(IMAGES / name, dpi=110)


if __name__ == "__main__":
    print("\n\n".join(tables()))
    draw_sweep(rows(sweep.PATH))
    draw_course(rows(goals.PATH), rows(course.PATH))
