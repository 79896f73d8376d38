"""The tables and the figure of docs/recovery.md, from the saved rows.

python -m experiments.recovery.page    # writes them into the page
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.common import style
from experiments.how_many.page import table
from experiments.recovery.families import NOTHING, family_of, names
from experiments.recovery.methods import METHODS
from experiments.recovery.tables import (
    SEARCHES,
    Difference,
    Question,
    Scores,
    default_objective,
    interval,
    recommendation,
    scores,
)

ROOT = Path(__file__).parents[2]
ROWS = Path(__file__).parent / "results/rows.csv"
PAGE = ROOT / "docs/recovery.md"
HEADING = "## All numbers\n\n"
COLOR = {"others": "#b35806", "ours": "#08519c", "chance": "#777777"}
QUESTIONS: tuple[Question, ...] = ("given", "free")


def read() -> Any:
    """The saved rows."""
    return pd.read_csv(ROWS)


def _mean(found: Scores, method: str) -> str:
    if method not in found.methods:
        return ""
    low, high = interval(found.drawn()[:, found.methods.index(method)])
    return f"{found.means()[method]:.3f} [{low:.3f}, {high:.3f}]"


def methods_table(rows: Any) -> str:
    """Every method on the held-out networks."""
    ari = {q: scores(rows, q, True) for q in QUESTIONS}
    element = {q: scores(rows, q, True, "element") for q in QUESTIONS}
    held = rows[rows["number"] % 2 == 1]
    lines = []
    free = ari["free"].means()
    for method in sorted(free, key=free.__getitem__, reverse=True):
        own = held[held["method"] == method]
        modular = own[~own["family"].isin(NOTHING)]
        nothing = own[own["family"].isin(NOTHING)]
        given = method in ari["given"].methods
        lines.append(
            [
                method,
                METHODS[method].owner,
                _mean(ari["given"], method),
                _mean(ari["free"], method),
                f"{element['given'].means()[method]:.3f}" if given else "",
                f"{element['free'].means()[method]:.3f}",
                f"{(modular['found_free'] == modular['k']).mean():.2f}",
                f"{(nothing['found_free'] > 1).mean():.2f}",
                f"{own['seconds_free'].median():.2f}",
                str(int(own["ari_free"].isna().sum())),
            ]
        )
    header = ["method", "whose", "ARI, k given", "ARI, k free", "element, given", "element, free",
              "right k", "false alarms", "seconds", "refused"]  # fmt: skip
    return table(header, lines)


def families_table(rows: Any, question: Question) -> str:
    """Best of other people's and of ours, family by family, on held-out networks."""
    found = scores(rows, question, True)
    chosen = recommendation(rows, question)
    lines = []
    for family in dict.fromkeys(rows["family"]):
        part = found.only(family)
        if not len(part.values):
            continue
        means = part.means()
        best = {owner: part.best(owner=owner) for owner in ("others", "ours")}
        lines.append(
            [
                family,
                str(len(part.values)),
                f"{best['others']} {means[best['others']]:.2f}",
                f"{best['ours']} {means[best['ours']]:.2f}",
                f"{means[chosen.other]:.2f}",
                f"{means[chosen.ours]:.2f}",
                str(Difference.of(part, chosen.ours, chosen.other)),
            ]
        )
    header = ["family", "networks", "best of other people's here", "best of ours here",
              chosen.other, chosen.ours, "difference"]  # fmt: skip
    return table(header, lines)


def objectives_table(rows: Any) -> str:
    """The searches, family by family, on held-out networks, k given."""
    found = scores(rows, "given", True, among=SEARCHES)
    names = found.methods
    lines = [
        [f, str((found.family == f).sum()), *(f"{found.only(f).means()[m]:.3f}" for m in names)]
        for f in dict.fromkeys(rows["family"])
        if f in found.family
    ]
    lines.append(["**mean**", str(len(found.values)), *(_mean(found, m) for m in names)])
    return table(["family", "networks", *names], lines)


def decisions(rows: Any) -> str:
    """What the protocol's two rules give."""
    lines = []
    for question in QUESTIONS:
        made = recommendation(rows, question)
        lines.append(
            [
                f"README, k {question}",
                f"{made.ours} against {made.other}",
                str(made.difference),
                f"{'ours leads' if made.leads else 'no lead shown'}: {made.method}",
            ]
        )
    made = default_objective(rows)
    worse = ", ".join(f"{f} {d}" for f, d in made.worse.items())
    lines.append(
        [
            "default objective",
            f"{made.candidate} against search codes, {made.slower:.1f} times the time",
            str(made.difference) + (f"; worse in {worse}" if worse else "; worse in no family"),
            "changes" if made.changes else "stays codes",
        ]
    )
    return table(["decision", "compared", "difference, held out", "outcome"], lines)


def networks_table(rows: Any) -> str:
    """How many networks of each family have been measured, of how many."""
    measured = rows.drop_duplicates("network")
    lines = []
    for family in dict.fromkeys(map(family_of, names())):
        numbers = measured[measured["family"] == family]["number"]
        every = sum(family_of(name) == family for name in names())
        lines.append(
            [family, str((numbers % 2 == 0).sum()), str((numbers % 2 == 1).sum()), str(every)]
        )
    lines.append(["**all**", *(str(sum(int(line[c]) for line in lines)) for c in (1, 2, 3))])
    return table(["family", "tuning", "held out", "there are"], lines)


PARTS = {
    "Networks measured": networks_table,
    "The two decisions": decisions,
    "All methods, held-out networks": methods_table,
    "Family by family, k given": lambda rows: families_table(rows, "given"),
    "Family by family, k free": lambda rows: families_table(rows, "free"),
    "Objectives of the search, k given": objectives_table,
}


def page(rows: Any) -> str:
    """All tables under their headings."""
    return "\n".join(f"### {title}\n\n{write(rows)}" for title, write in PARTS.items())


def figure(rows: Any) -> list[Path]:
    """Mean ARI of every method on held-out networks, with k given and free."""
    with style.styled():
        drawn = style.new_figure((7, 5.5))
        axes = drawn.subplots(1, 2, sharey=True)
        free = scores(rows, "free", True).means()
        order = sorted(free, key=free.__getitem__)
        for ax, question in zip(axes, QUESTIONS, strict=True):
            found = scores(rows, question, True)
            means, draws = found.means(), found.drawn()
            for place, method in enumerate(order):
                if method in found.methods:
                    low, high = interval(draws[:, found.methods.index(method)])
                    color = COLOR[METHODS[method].owner]
                    ax.plot([low, high], [place, place], color=color, linewidth=1.5)
                    ax.plot(means[method], place, "o", color=color, markersize=4)
            ax.set_title(f"k {question}")
            ax.set_xlabel("mean adjusted Rand index")
            ax.set_xlim(-0.05, 1.02)
            ax.grid(axis="x", linewidth=0.3)
        axes[0].set_yticks(np.arange(len(order)), order)
        handles = [axes[1].plot([], [], "o", color=c, label=o)[0] for o, c in COLOR.items()]
        axes[1].legend(handles=handles, loc="lower right", frameon=False)
        return style.save_figure(drawn, ROOT / "docs/images", "recovery")


def main() -> None:
    """Write the tables into the page, and draw the figure."""
    rows = read()
    text = PAGE.read_text(encoding="utf-8").split(HEADING)[0]
    PAGE.write_text(text + HEADING + page(rows), encoding="utf-8")
    for path in figure(rows):
        print(path)


if __name__ == "__main__":
    main()
