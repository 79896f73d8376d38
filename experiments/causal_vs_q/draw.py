"""All figures and tables of the study from its saved rows, by one command.

python -m experiments.causal_vs_q.draw experiments/causal_vs_q/results --out FOLDER
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tyro.conf import Positional

from experiments.causal_vs_q import analysis
from experiments.causal_vs_q.analysis import Rows, known, load_rows, mean_of
from experiments.causal_vs_q.page import KINDS, page
from experiments.common.style import save_figure
from infoflow.plot import CAUSAL_COLOR, CHANCE_COLOR, DOWNSTREAM_COLOR, KIND_COLORS, UPSTREAM_COLOR
from infoflow.unit_similarity import MEASURES, UPSTREAM

SETTINGS = ("untrained", "plain", "dropout 0.2", "dropout 0.5", "L1", "L2")


def draw(folder: Positional[Path], out: Path | None = None) -> list[Path]:
    """Write `answers.md` and `figures/*.svg`, `*.png`; returns their paths.

    Args:
        folder: Of the saved tables.
        out: Where to write; None: the same folder.

    Raises:
        FileNotFoundError: Tables are missing.
        ImportError: matplotlib is missing (`pip install 'infoflow[plot]'`).
    """
    rows = load_rows(folder)
    out = out or folder
    out.mkdir(parents=True, exist_ok=True)
    answers = out / "answers.md"
    answers.write_text(page(rows), encoding="utf-8")
    paths = [answers]
    for name, figure in figures(rows).items():
        paths += save_figure(figure, out / "figures", name)
    return paths


def figures(rows: Rows) -> dict[str, Any]:
    """Figures by name."""
    drawn = {"tracking": tracking_figure(rows), "scores": score_figure(rows)}
    if {"digits", "mnist"} & set(rows.families):
        drawn["training"] = training_figure(rows)
    drawn["cause"] = cause_figure(rows)
    return drawn


def _panels(count: int, size: tuple[float, float], **options: Any) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0] * count + 1.2, size[1]), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, count, **options)).ravel()
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)


def _mark(ax: Any, at: float, value: Any, color: str, *, size: float = 4, label: str = "") -> None:
    """A mean with its interval, lying."""
    if not known(value):
        return
    if value.low == value.low:
        ax.hlines(at, value.low, value.high, color=color, lw=1.2)
    ax.plot([value.mean], [at], "o", ms=size, color=color, label=label or None)


def tracking_figure(rows: Rows) -> Any:
    """Spearman's correlation of every predictor with -exchange, by kind of partitions."""
    figure, axes = _panels(len(rows.families), (2.1, 4.6), sharey=True)
    for ax, family in zip(axes, rows.families, strict=True):
        for number, kind in enumerate((*KINDS, "all")):
            summary = analysis.tracking_summary(rows, kind)
            color = "black" if kind == "all" else KIND_COLORS[kind]
            names = list(summary.index)[::-1]
            for place, name in enumerate(names):
                at = place + 0.3 - 0.15 * number
                size = 4.5 if kind == "all" else 2.5
                _mark(ax, at, summary.loc[name, family], color, size=size)
            ax.set_yticks(range(len(names)), names, fontsize=8)
        ax.axvline(0, color=CHANCE_COLOR, lw=0.8)
        ax.set(xlim=(-1.02, 1.02))
        ax.set_title(family, fontsize=10)
    axes[len(axes) // 2].set_xlabel("Spearman's ρ with −exchange")
    for kind, color in {**KIND_COLORS, "all": "black"}.items():
        axes[-1].plot([], [], "o", ms=4, color=color, label=kind)
    axes[-1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def score_figure(rows: Rows) -> Any:
    """Share of random partitions' exchange, 1 - 1/score, that every source of partitions into two
    modules saves."""
    figure, axes = _panels(len(rows.families), (2.1, 4.2), sharey=True)
    sources = [*analysis.SOURCES, analysis.CAUSAL, "random 1"]
    table = rows["partitions"]
    table = table[table["trained"]].assign(saved=1 - 1 / table["score"])
    for ax, family in zip(axes, rows.families, strict=True):
        for place, source in enumerate(sources[::-1]):
            own = table[(table["family"] == family) & (table["source"] == source)]
            by_seed = own.groupby("seed")["saved"].mean()
            _mark(ax, place, mean_of(by_seed), _source_color(source))
        ax.axvline(0, color=CHANCE_COLOR, lw=0.8)
        ax.set_title(family, fontsize=10)
        ax.set_yticks(range(len(sources)), sources[::-1], fontsize=8)
    axes[len(axes) // 2].set_xlabel("exchange saved (1 − 1/module score)")
    return figure


def _source_color(source: str) -> str:
    if source == analysis.CAUSAL:
        return CAUSAL_COLOR
    measure = analysis.MEASURE_OF.get(source)
    if measure in UPSTREAM:
        return UPSTREAM_COLOR
    return DOWNSTREAM_COLOR if measure in MEASURES else "black"


def training_figure(rows: Rows) -> Any:
    """What the causal search saves of random exchange, and Q*, by setting; one line a seed."""
    families = [f for f in ("digits", "mnist") if f in rows.families]
    figure, axes = _panels(2 * len(families), (2.6, 3.2))
    values = {
        "exchange saved": analysis.saved(rows, analysis.CAUSAL),
        "Q*": analysis.mean_q_star(rows),
    }
    panels = [(family, name) for family in families for name in values]
    for ax, (family, name) in zip(axes, panels, strict=True):
        wide = values[name].xs(family, level="family").unstack("setting")
        there = [s for s in SETTINGS if s in wide]
        ax.plot(range(len(there)), wide[there].T.to_numpy(), color=CHANCE_COLOR, lw=0.7)
        means = [mean_of(wide[s]) for s in there]
        ax.errorbar(
            range(len(there)),
            [m.mean for m in means],
            [[m.mean - m.low for m in means], [m.high - m.mean for m in means]],
            fmt="o",
            color=CAUSAL_COLOR if name == "exchange saved" else "black",
        )
        ax.set_xticks(range(len(there)), there, rotation=35, ha="right", fontsize=8)
        ax.set_title(f"{family}: {name}", fontsize=10)
    return figure


def cause_figure(rows: Rows) -> Any:
    """Common cause, other bases."""
    figure, (left, right) = _panels(2, (4.2, 3.2))
    table = analysis.common_cause(rows)
    colors = {"planted": "black", analysis.CAUSAL: CAUSAL_COLOR, "random 1": CHANCE_COLOR}
    for number, source in enumerate(table.columns):
        for place, family in enumerate(table.index):
            label = source if place == 0 else ""
            value = table.loc[family, source]
            _mark(left, place + 0.15 * number, value, colors[source], label=label)
    left.set_yticks(range(len(table)), list(table.index))
    left.set_xlabel("share of common cause")
    left.legend(fontsize=7)
    effects = analysis.basis_effects(rows).to_dict("records")
    for place, row in enumerate(effects):
        for number, basis in enumerate(("pca", "random")):
            color = (CAUSAL_COLOR, CHANCE_COLOR)[number]
            _mark(
                right, place + 0.15 * number, row[basis], color, label=basis if place == 0 else ""
            )
    right.axvline(0, color=CHANCE_COLOR, lw=0.8)
    right.set_yticks(range(len(effects)), [f"{r['family']}, {r['setting']}" for r in effects])
    right.set_xlabel("causal score − that of neurons")
    if effects:
        right.legend(fontsize=7)
    return figure


def main() -> None:
    """The command line."""
    import tyro

    print(*tyro.cli(draw), sep="\n")


if __name__ == "__main__":
    main()
