"""Do other measures of agreement than the element-centric one say the same?

    python -m experiments.lange2022.other_measures experiments/lange2022/results/mnist

"All clusim measures gave similar results" (Lange et al. 2022). Rows are saved beside those of the
study; the adjusted mutual information takes nearly all of half an hour. Unused units are a
cluster, as in the paper. The variation of information is a distance: its sign is turned.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import tyro

from experiments.lange2022.claims import pairs_of
from experiments.lange2022.rows import agreement, clusterable, load_rows
from infoflow.agreements import MEASURES
from infoflow.study import Estimate, Table, decode, encode, estimate, load_table, save_table

ROWS = "other_measures.csv.gz"
KINDS = ("upstream", "downstream", "across", "normalised", "moment")
ADJUSTED = ("ami", "ari")  # 0 by chance, by their definition
NEAR = 0.15  # difference in what is left across families that still counts as similar


def measure_all(rows: Table) -> Table:
    """Mean agreement of each kind of pairs by every measure, and between shuffled modules: one row
    a network and layer."""
    some = clusterable(rows)
    rng = np.random.default_rng(0)
    dealt = some.assign(partition=[_shuffled(text, rng) for text in some["partition"]])
    found = []
    for measure in MEASURES:
        table = agreement(rows, measure=measure)
        chance = None if measure in ADJUSTED else agreement(dealt, measure=measure)
        sign = -1.0 if measure == "vi" else 1.0
        means = {kind: sign * table[pairs_of(kind)].mean(axis=1) for kind in KINDS}
        for kind in ("upstream", "downstream", "across"):
            by_chance = 0.0 if chance is None else sign * chance[pairs_of(kind)].mean(axis=1)
            means[f"{kind}_chance"] = by_chance
        about = table[["family", "seed", "percent", "trained", "layer"]]
        found.append(about.assign(measure=measure, **means))
    return pd.concat(found, ignore_index=True).round(6)


def _shuffled(text: str, rng: np.random.Generator) -> str:
    return encode(decode(text).shuffled(rng))


def levels(table: Table) -> Table:
    """By measure and seed, trained networks: means of the kinds, how far within exceeds across, and
    the share of what modules have in common beyond chance within families that is left across."""
    trained = table[table["trained"]]
    mean = trained.drop(columns=["family", "layer", "percent", "trained"])
    mean = mean.groupby(["measure", "seed"]).mean()
    within = (mean["upstream"] + mean["downstream"]) / 2
    within_chance = (mean["upstream_chance"] + mean["downstream_chance"]) / 2
    left = (mean["across"] - mean["across_chance"]) / (within - within_chance)
    return mean.assign(
        split=within - mean["across"],
        left=left,
        same=mean["normalised"] - mean["moment"],
    )


def page(table: Table) -> str:
    """The table as Markdown, one row a measure, and the verdict."""
    found = levels(table)
    untrained = table[~table["trained"]].groupby("measure")[["upstream", "across"]].mean()
    lines = [
        "| measure | upstream | downstream | across (by chance) | within − across | share left "
        "across | S with Ŝ − moment with gradient | training, upstream |",
        "|---|---|---|---|---|---|---|---|",
    ]
    left: dict[str, Estimate] = {}
    met = []
    for measure in MEASURES:
        own = found.loc[measure]
        mean = own.mean()
        left[measure] = estimate(own["left"])
        split, same = estimate(own["split"]), estimate(own["same"])
        rise = estimate(own["upstream"] - untrained.loc[measure, "upstream"])
        met.append(split.positive and same.positive and rise.positive)
        name = "−`vi`" if measure == "vi" else f"`{measure}`"
        lines.append(
            f"| {name} | {mean['upstream']:.3f} | {mean['downstream']:.3f} | {mean['across']:.3f} "
            f"({mean['across_chance']:.3f}) | {split} | {left[measure]} | {same} | {rise} |"
        )
    alike = [abs(left[m].mean - left["element"].mean) <= NEAR for m in MEASURES]
    verdict = "replicated" if all(met + alike) else "partly" if all(met) else "not"
    return "\n".join([*lines, "", f"Verdict: **{verdict}**."]) + "\n"


def load(path: Path) -> Table:
    """Saved rows."""
    return load_table(path / ROWS)


def main(results: tyro.conf.Positional[Path]) -> None:
    """Measure the partitions in the folder's `rows.csv.gz`, save rows there, print the table."""
    table = measure_all(load_rows(results))
    save_table(table, results / ROWS)
    print(page(load(results)))


if __name__ == "__main__":
    tyro.cli(main)
