"""The answers as tables of text, as docs/causal_vs_q.md shows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from experiments.causal_vs_q import analysis
from experiments.causal_vs_q.analysis import Rows, known
from infoflow.unit_similarity import MEASURES

KINDS = ("around optima", "same sizes", "random", "search trail")


def page(rows: Rows) -> str:
    """All answers, question by question."""
    left_out, networks = rows.left_out
    parts = [
        f"{networks} networks measured, {left_out} of them below 80 % accuracy and left out.",
        *(question(rows) for question in QUESTIONS),
    ]
    return "\n\n".join(parts) + "\n"


def _table(header: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


def _cell(value: Any) -> str:
    return str(value) if known(value) else "–"


def _wide(table: Any, first: str) -> str:
    header = [first, *map(str, table.columns)]
    return _table(
        header,
        [[name, *map(_cell, row)] for name, row in zip(table.index, table.to_numpy(), strict=True)],
    )


def which_measure(rows: Rows) -> str:
    """Question 1."""
    q = analysis.best_predictors(rows, MEASURES)
    every = list(analysis.tracking(rows).columns)
    free = analysis.best_predictors(rows, every)
    lines = [
        [
            family,
            q[family][0],
            ", ".join(q[family][1]) or "none",
            free[family][0],
            ", ".join(free[family][1]) or "none",
        ]
        for family in rows.families
    ]
    header = ["family", "best of the eight", "not told from it", "best of all", "not told from it"]
    text = (
        "**1. Which measure's Q tracks the exchange?** Spearman's ρ of each predictor with "
        "-exchange, mean over kinds of partitions.\n\n"
    )
    text += _wide(analysis.tracking_summary(rows), "predictor")
    text += "\n\n" + _table(header, lines)
    for kind in KINDS:
        summary = analysis.tracking_summary(rows, kind)
        means = [
            [name, *(_short(v) for v in row)]
            for name, row in zip(summary.index, summary.to_numpy(), strict=True)
        ]
        text += f"\n\nMeans over {kind!r} alone:\n\n" + _table(
            ["predictor", *summary.columns], means
        )
    return text


def _short(value: Any) -> str:
    return f"{value.mean:+.2f}" if known(value) else "–"


def how_far(rows: Rows) -> str:
    """Question 2."""
    text = "**2. How far does maximising Q get?** Share of the causal search's reduction.\n\n"
    text += _wide(analysis.shares(rows), "partition")
    beyond = analysis.beyond_chance(rows)
    shares = [["–" if v != v else f"{100 * v:.0f} %" for v in row] for row in beyond.to_numpy()]
    lines = [[name, *row] for name, row in zip(beyond.index, shares, strict=True)]
    text += (
        "\n\nNetworks in which the partition exchanges less than 95 % of random ones of its sizes:"
    )
    return text + "\n\n" + _table(["partition", *beyond.columns], lines)


def training(rows: Rows) -> str:
    """Question 3."""
    table = analysis.effects(rows)
    lines = [
        [r["family"], r["setting"], *(_cell(r[c]) for c in ("causal", "saved", "q"))]
        for r in table.to_dict("records")
    ]
    text = "**3. What does training change?** Beside plain training of the same seed.\n\n"
    return text + _table(["family", "setting", "causal score", "1 - 1/score", "Q*"], lines)


def sides(rows: Rows) -> str:
    """Question 4."""
    found = analysis.upstream_minus_downstream(rows)
    less = analysis.upstream_minus_downstream(rows, bounded=True)
    text = (
        "**4. Upstream or downstream?** Module score of upstream Q* into two modules minus that of "
        "downstream.\n\n"
    )
    return text + _table(
        ["family", "score", "1 - 1/score"], [[f, _cell(found[f]), _cell(less[f])] for f in found]
    )


def shared(rows: Rows) -> str:
    """Question 5."""
    text = "**5. How much of what modules share is common cause?** 1 - I(do S; T) / I(S; T).\n\n"
    return text + _wide(analysis.common_cause(rows), "family")


def bases(rows: Rows) -> str:
    """Question 6."""
    table = analysis.basis_effects(rows)
    lines = [
        [r["family"], r["setting"], r["neurons"], r["pca"], r["random"]]
        for r in table.to_dict("records")
    ]
    text = "**6. Does the neuron basis matter?** Causal score, and what other bases change.\n\n"
    return text + _table(
        ["family", "setting", "neurons", "PCA - neurons", "random - neurons"], lines
    )


def stable(rows: Rows) -> str:
    """Question 7."""
    table = analysis.stability(rows)
    lines = [list(r.values()) for r in table.to_dict("records")]
    text = (
        "**7. Is the causal score stable?** Coefficient of variation over redraws, ratio of "
        "scores, agreement.\n\n"
    )
    return text + _table([str(c) for c in table.columns], lines)


def toys(rows: Rows) -> str:
    """Question 8."""
    if "toys" not in rows.families:
        return "**8. Two separate tracks:** not measured."
    found = analysis.tracks(rows)
    named = ", ".join(f"{m} {a} of {b}" for m, (a, b) in found["tracks found"].items() if b)
    return (
        f"**8. Two separate tracks** ({found['networks']} networks): the planted modules exchange "
        f"at most {found['largest exchange']:.3g} bits and share {found['shared']} bits in the "
        f"normal run. Q* into two modules exchanges nothing under: {named}."
    )


QUESTIONS: tuple[Callable[[Rows], str], ...] = (
    which_measure,
    how_far,
    training,
    sides,
    shared,
    bases,
    stable,
    toys,
)
