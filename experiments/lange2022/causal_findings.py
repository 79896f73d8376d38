"""What the causal scores say, by the rules that README.md gives and that stood before the run.

Decided after seeing them: differences and means are of log2 scores, as one score is infinite.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.common.causal_rows import SEARCHED
from experiments.common.effects import (
    bootstrap,
    interval,
    rank_correlation,
    resampled,
    strong_minus_weak,
)
from experiments.common.strength_figures import against_strength
from experiments.lange2022.claims import EDGE, FAMILIES
from experiments.lange2022.figures import FAMILIES as DRAWN
from experiments.lange2022.rows import NETWORK, clusterable, sweep_rows, with_percent
from infoflow.agreements import element_similarity
from infoflow.partition import Partition
from infoflow.study import Estimate, Table, decode, estimate, load_table, save_table
from infoflow.unit_similarity import MEASURES

CAUSAL_ROWS = "causal.csv.gz"
DEFAULT = ("ncut",)  # the package's weighting, and the findings under it
EARLIER = ("pairs", "conductance")  # those that were planned before it was
WEIGHTINGS = (*DEFAULT, *EARLIER)


def save_causal(sweep_folder: Path, path: Path) -> Table:
    """The rows of a causal sweep as one table, in a fixed order."""
    rows = sweep_rows(sweep_folder)
    order = {"weighting": WEIGHTINGS, "source": (SEARCHED, *MEASURES)}
    for name, values in order.items():
        rows[name] = pd.Categorical(rows[name], values, ordered=True)
    save_table(rows.sort_values([*NETWORK, "weighting", "source"], ignore_index=True), path)
    return load_causal(path)


def load_causal(path: Path) -> Table:
    """Saved causal scores, with percent regularisation."""
    return with_percent(load_table(path / CAUSAL_ROWS if path.is_dir() else path))


def check_same_networks(causal: Table, rows: Table) -> None:
    """Raises:
    ValueError: A network is not the one in the study's rows: its test accuracy differs.
    """
    ours = causal.drop_duplicates(NETWORK)[[*NETWORK, "test_accuracy"]]
    theirs = rows.drop_duplicates(NETWORK)[[*NETWORK, "test_accuracy"]]
    both = ours.merge(theirs, on=NETWORK, how="left", suffixes=("", "_study"))
    other = both[both["test_accuracy"] != both["test_accuracy_study"]]
    if len(other):
        raise ValueError(
            f"{len(other)} of {len(both)} networks are not those of the study (another test "
            f"accuracy, or none): {other.head(3).to_dict('records')}"
        )


def networks(causal: Table, rows: Table) -> Table:
    """One row a network and weighting: the causal score, and Q* of the study's rows (mean over
    layers and measures)."""
    q = clusterable(rows).groupby(NETWORK)["q_star"].mean()
    searched = causal[causal["source"] == SEARCHED].drop(columns="q")
    return searched.merge(q.reset_index(), on=NETWORK, how="left", validate="many_to_one")


def rises(table: Table, ranked: str, differing: str) -> dict[str, tuple[Estimate, Estimate, str]]:
    """By family: ρ of one column with percent regularisation (over networks), strong − weak in
    another (over seeds), and the verdict."""
    found = {}
    for family in FAMILIES:
        some = table[table["family"] == family]
        rho = bootstrap(rank_correlation, some[ranked], some["percent"])
        ends = estimate(strong_minus_weak(some, differing, ends=EDGE))
        found[family] = rho, ends, _verdict(rho, ends)
    return found


def _verdict(*estimates: Estimate) -> str:
    if all(e.positive for e in estimates):
        return "raised"
    return "lowered" if all(e.negative for e in estimates) else "not shown"


def page(causal: Table, rows: Table, weightings: Sequence[str] = DEFAULT) -> str:
    """All tables under some weightings as Markdown."""
    check_same_networks(causal, rows)
    causal = causal[causal["weighting"].isin(weightings)]
    table = networks(causal, rows)
    parts = [
        make(table, weightings) for make in (_regularisation, _most, _beside_untrained, _beside_q)
    ]
    parts += [_of_measures(causal, weightings), _lopsided(table, weightings)]
    return "\n\n".join(parts) + "\n"


def pages(causal: Table, rows: Table) -> list[str]:
    """The page under the package's weighting, and under the earlier ones, where there are rows."""
    measured = set(causal["weighting"])
    return [page(causal, rows, some) for some in (DEFAULT, EARLIER) if measured >= set(some)]


def _of(table: Table, weighting: str) -> Table:
    return table[(table["weighting"] == weighting) & table["trained"]]


def _regularisation(table: Table, weightings: Sequence[str]) -> str:
    own = {weighting: _of(table, weighting) for weighting in weightings}
    quantities = [(f"causal score, {w}", some, "score", "log_score") for w, some in own.items()]
    if "pairs" in own:
        even = own["pairs"][~_uneven(own["pairs"])]
        text = "... pairs, no lopsided search (post hoc)"
        quantities.append((text, even, "score", "log_score"))
    last, some = list(own.items())[-1]
    quantities += [
        ("Q* of the same networks", some, "q_star", "q_star"),
        (f"plain score, {last} (exploratory)", some, "score_plain", "score_plain"),
    ]
    lines = []
    for label, some, ranked, differing in quantities:
        for family, found in rises(some, ranked, differing).items():
            lines.append((label, _name(family), *found))
    head = ("quantity", "regularised by", "ρ with its strength", "strong − weak", "verdict")
    return _markdown(head, lines)


def _most(table: Table, weightings: Sequence[str]) -> str:
    lines = []
    for weighting in weightings:
        some = _of(table, weighting)
        ends = {
            f: strong_minus_weak(some[some["family"] == f], "log_score", ends=EDGE)
            for f in FAMILIES
        }
        over = [estimate(ends["dropout"] - ends[f]) for f in ("l2", "l1")]
        lines.append((weighting, *over, "yes" if all(e.positive for e in over) else "not shown"))
    head = ("weighting", "dropout − L2", "dropout − L1", "dropout raises the score most")
    return _markdown(head, lines)


def _beside_untrained(table: Table, weightings: Sequence[str]) -> str:
    lines = []
    for weighting in weightings:
        some = table[table["weighting"] == weighting]
        scores = [some.loc[some["trained"] == t, "log_score"].to_numpy() for t in (True, False)]
        draws = [resampled(s, seed=number)[0].mean(1) for number, s in enumerate(scores)]
        difference = interval(scores[0].mean() - scores[1].mean(), draws[0] - draws[1])
        text = [f"{s.mean():.3f}, {np.median(s):.3f}" for s in scores]
        lines.append((weighting, *text, difference))
    head = ("weighting", "trained: mean, median log2 score", "untrained", "difference of means")
    return _markdown(head, lines)


def _beside_q(table: Table, weightings: Sequence[str]) -> str:
    lines = []
    for weighting in weightings:
        some = _of(table, weighting)
        pooled = bootstrap(rank_correlation, some["score"], some["q_star"])
        lines.append((weighting, len(some), pooled, _within(some), _within(some, "n_units")))
    head = ("weighting", "networks", "ρ(score, Q*), all", "within families", "... given units")
    return _markdown(head, lines)


def _within(table: Table, *given: str) -> Estimate:
    """Mean over families of ρ(score, Q*), networks drawn anew within each."""
    values, draws = [], []
    for number, family in enumerate(FAMILIES):
        some = table[table["family"] == family]
        columns = [some[name] for name in ("score", "q_star", *given)]
        values.append(rank_correlation(*columns))
        draws.append(rank_correlation(*resampled(*columns, seed=number)))
    return interval(np.mean(values), np.mean(draws, axis=0))


def _of_measures(causal: Table, weightings: Sequence[str]) -> str:
    trained = causal[causal["trained"]]
    lines: list[list[Any]] = [[f"`{measure}`"] for measure in MEASURES]
    chance: list[Any] = ["any, units shuffled"]
    head = ["partition of largest Q under"]
    for weighting in weightings:
        some = trained[trained["weighting"] == weighting]
        for line, measure in zip(lines, MEASURES, strict=True):
            line += _of_measure(some, measure)
        searched = [decode(text) for text in some.loc[some["source"] == SEARCHED, "partition"]]
        chance += ["", "", f"{np.mean([_chance(p, n) for n, p in enumerate(searched)]):.2f}"]
        head += [f"{weighting}: share of the log score", "better than random", "agreement"]
    return _markdown(head, [*lines, chance])


def _of_measure(some: Table, measure: str) -> tuple[str, str, str]:
    """Share of the searched partition's log score, how often better than random ones, and
    agreement with the searched one."""
    own, best = (some[some["source"] == name].set_index(NETWORK) for name in (measure, SEARCHED))
    both = pd.DataFrame({"own": own["log_score"], "best": best["log_score"]}).dropna()
    share = bootstrap(_share, both["own"], both["best"])
    better = own["score"] - 2 * own["score_se"] > 1
    text = f"{share.mean:.2f} [{share.low:.2f}, {share.high:.2f}]"
    return text, _percent(better), f"{own['agreement'].mean():.2f}"


def _chance(partition: Partition, seed: int) -> float:
    """Agreement of a partition with itself, its used units shuffled."""
    labels = partition.labels.copy()
    labels[labels >= 0] = np.random.default_rng(seed).permutation(labels[labels >= 0])
    return element_similarity(partition, Partition(labels))


def _share(scores: np.ndarray, best: np.ndarray) -> np.ndarray:
    return scores.mean(-1) / best.mean(-1)


def _uneven(searched: Table) -> Table:
    """Searches that end with less than a quarter of the units in the smaller module."""
    return searched["smallest"] < 0.25 * searched["n_units"]


def _lopsided(table: Table, weightings: Sequence[str]) -> str:
    lines = []
    for weighting in weightings:
        some = table[table["weighting"] == weighting]
        parts = [_percent(_uneven(some[some["family"] == f])) for f in (*FAMILIES, "untrained")]
        lines.append((weighting, *parts))
    head = ("searches that end with under ¼ of the units in one module", "L2", "L1", "dropout")
    return _markdown((*head, "untrained"), lines)


def _percent(values: Table) -> str:
    return f"{100 * float(values.mean()):.0f} %"


def _name(family: str) -> str:
    return family if family == "dropout" else family.upper()


def _markdown(head: Iterable[str], lines: Iterable[Iterable[Any]]) -> str:
    head = list(head)
    table = [head, ["---"] * len(head), *([str(cell) for cell in line] for line in lines)]
    return "\n".join("| " + " | ".join(line) + " |" for line in table)


def figure_causal(causal: Table, rows: Table) -> Any:
    """Log2 causal score under every weighting, and Q*, of the same networks against percent
    regularisation, on bands of the untrained ones."""
    table = networks(causal, rows)
    there = [w for w in WEIGHTINGS if (table["weighting"] == w).any()]
    panels = {f"log2 causal score, {w}": (w, "log_score") for w in there}
    panels["Q*, mean of layers and measures"] = there[0], "q_star"
    long = pd.concat(
        [
            table[table["weighting"] == w].assign(panel=name, value=table[column])
            for name, (w, column) in panels.items()
        ]
    )
    figure = against_strength(
        long, "value", label="", panel="panel", layout=[list(panels)], families=DRAWN,
        share_y=False,
    )  # fmt: skip
    if "pairs" in there:
        figure.axes[there.index("pairs")].set_ylim(-0.1, 1.5)  # one has isolated modules: 9.7
    return figure
