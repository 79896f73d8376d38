"""The eight questions of the README, answered from the saved tables: numbers and intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.causal_vs_q.measure import TABLES
from infoflow.comparing import CAUSAL, row_name
from infoflow.study import Estimate, estimate
from infoflow.unit_similarity import DOWNSTREAM, MEASURES, UPSTREAM

Table = Any
"""A DataFrame or a Series: type checkers cannot follow what pandas returns."""

LEAST_ACCURACY = 0.8
FAMILIES = ("toys", "digits", "mnist", "conv", "transformer")
MEASURE_OF = {row_name("Q*", name, 2): name for name in (*MEASURES, "weights", "unit_flow")}
"""The graph whose Q a partition into two modules maximises, by the partition's name."""
SOURCES = (*MEASURE_OF, row_name("n-cut", "weights"), row_name("n-cut", "unit_flow"))
NETWORK = ["family", "setting", "seed"]


def mean_of(values: Table) -> Estimate:
    """Mean and 95 % interval (Student's t) over seeds; values that are not finite are left out.

    Examples:
        >>> str(mean_of(pd.Series([1.0, 2.0, 3.0, np.inf])))
        '+2.000 [-0.484, +4.484]'
    """
    return estimate(values.replace([np.inf, -np.inf], np.nan))


def known(value: Any) -> bool:
    """There is an estimate."""
    return isinstance(value, Estimate) and value.mean == value.mean


@dataclass(frozen=True, eq=False)
class Rows:
    """The tables of the study, networks that do not count left out.

    Attributes:
        tables: By name.
        left_out: Networks left out for their accuracy, and how many there were.
    """

    tables: dict[str, Table]
    left_out: tuple[int, int]

    def __getitem__(self, name: str) -> Table:
        return self.tables[name]

    @property
    def families(self) -> list[str]:
        """Families that were measured."""
        there = set(self["partitions"]["family"])
        return [family for family in FAMILIES if family in there]


def load_rows(folder: Path) -> Rows:
    """The saved tables.

    Raises:
        FileNotFoundError: A table is missing.
    """
    tables: dict[str, Table] = {}
    left_out = (0, 0)
    for name in TABLES:
        path = folder / f"{name}.csv.gz"
        if not path.is_file():
            raise FileNotFoundError(
                f"no {path}; `python -m experiments.causal_vs_q --out FOLDER` writes the tables"
            )
        table: Table = pd.read_csv(path)
        counts = ~table["trained"] | (table["accuracy"] >= LEAST_ACCURACY)
        if name == "partitions":
            known = table.assign(counts=counts).groupby(NETWORK)["counts"].first()
            left_out = (int((~known).sum()), len(known))
        tables[name] = table[counts]
    return Rows(tables, left_out)


# ------------------------------------------------------------------ question 1


def tracking(rows: Rows, kind: str = "all", scope: str = "together") -> Table:
    """Spearman's correlation of every predictor with -exchange, one row a trained network."""
    table = rows["correlations"]
    table = table[(table["kind"] == kind) & (table["scope"] == scope) & table["trained"]]
    return table.pivot_table(index=NETWORK, columns="predictor", values="spearman")


def tracking_summary(rows: Rows, kind: str = "all") -> Table:
    """Mean correlation with its interval, by predictor and family, averaged over settings of a
    seed first."""
    wide = tracking(rows, kind)
    found = {}
    for family in rows.families:
        by_seed = wide.xs(family, level="family").groupby("seed").mean()
        found[family] = {name: mean_of(by_seed[name]) for name in by_seed}
    order = [*MEASURES, *(n for n in wide.columns if n not in MEASURES)]
    return pd.DataFrame(found).reindex([n for n in order if n in wide.columns])


def best_predictors(rows: Rows, names: Iterable[str]) -> dict[str, tuple[str, list[str]]]:
    """By family, the predictor of highest mean correlation, and those that it cannot be told from:
    the interval of the paired difference, seed by seed, reaches 0."""
    wide = tracking(rows)
    found = {}
    for family in rows.families:
        by_seed = wide.xs(family, level="family").groupby("seed").mean()
        there = [n for n in names if n in by_seed and by_seed[n].notna().any()]
        best = max(there, key=lambda n: by_seed[n].mean())
        ties = [n for n in there if n != best and not mean_of(by_seed[best] - by_seed[n]).positive]
        found[family] = (best, ties)
    return found


# ------------------------------------------------------------------ questions 2 to 4


def score_of(rows: Rows, source: str) -> Table:
    """Module score of one source of partitions, by network."""
    table = rows["partitions"]
    return table[table["source"] == source].set_index(NETWORK)["score"]


def saved(rows: Rows, source: str) -> Table:
    """1 - 1/score of one source of partitions, by network: the share of random partitions'
    exchange that it does without; at most 1, also where modules are isolated."""
    return 1 - 1 / score_of(rows, source)


def share_reached(rows: Rows, source: str) -> Table:
    """(1 - 1/score of the source) / (1 - 1/score of the causal best), by trained network; nan
    where the causal search found nothing below random."""
    table = rows["partitions"]
    trained = table[table["trained"]].set_index([*NETWORK, "source"])["score"]
    saved = 1 - 1 / trained
    ours, best = saved.xs(source, level="source"), saved.xs(CAUSAL, level="source")
    return (ours / best.where(best > 0.01)).replace([np.inf, -np.inf], np.nan).dropna()


def shares(rows: Rows) -> Table:
    """Question 2: share of the causal search's reduction that each Q* into two modules reaches."""
    found: dict[str, dict[str, Estimate]] = {}
    for source in SOURCES:
        share = share_reached(rows, source)
        for family in rows.families:
            if family in share.index.get_level_values("family"):
                by_seed = share.xs(family, level="family").groupby("seed").mean()
                found.setdefault(family, {})[source] = mean_of(by_seed)
    return pd.DataFrame(found).reindex(list(SOURCES))


def beyond_chance(rows: Rows) -> Table:
    """Question 2: share of trained networks in which a source's partition exchanges less than all
    but 5 % of random partitions of the same sizes."""
    table = rows["partitions"]
    table = table[table["trained"] & table["p_same_size"].notna()]
    beyond = table.assign(beyond=table["p_same_size"] <= 0.05)
    wide = beyond.pivot_table(index="source", columns="family", values="beyond")
    return wide.reindex(index=[*SOURCES, CAUSAL], columns=rows.families)


def paired(rows: Rows, family: str, setting: str, value: Callable[[Table], Table]) -> Estimate:
    """Difference of a value between networks of one setting and plain ones of the same seed."""
    values = value(rows)
    values = values.xs(family, level="family")
    there = values.index.get_level_values("setting")
    if setting not in there or "plain" not in there:
        return mean_of(pd.Series(dtype=float))
    return mean_of(values.xs(setting, level="setting") - values.xs("plain", level="setting"))


def mean_q_star(rows: Rows) -> Table:
    """Q* of the layers together, mean over the eight measures, by network."""
    table = rows["layers"]
    return table[table["layer"] == "all"].groupby(NETWORK)["q_star"].mean()


def effects(rows: Rows) -> Table:
    """Question 3: what each way of training changes, beside plain training of the same seed."""
    found = []
    for family in (f for f in ("digits", "mnist") if f in rows.families):
        for setting in ("dropout 0.2", "dropout 0.5", "L1", "L2", "untrained"):
            causal = paired(rows, family, setting, lambda r: score_of(r, CAUSAL))
            less = paired(rows, family, setting, lambda r: saved(r, CAUSAL))
            q = paired(rows, family, setting, mean_q_star)
            if known(causal):
                row = {"family": family, "setting": setting, "causal": causal}
                row |= {"saved": less, "q": q}
                found.append(row)
    return pd.DataFrame(found, columns=["family", "setting", "causal", "saved", "q"])


def upstream_minus_downstream(rows: Rows, *, bounded: bool = False) -> dict[str, Estimate]:
    """Question 4, by family: difference of module scores of Q* into two modules; `bounded`: of
    1 - 1/score."""
    table = rows["partitions"]
    table = table[table["trained"]]
    value = 1 - 1 / table["score"] if bounded else table["score"].replace(np.inf, np.nan)
    table = table.assign(value=value)
    wide = table.pivot_table(index=NETWORK, columns="source", values="value")
    sides = []
    for measures in (UPSTREAM, DOWNSTREAM):
        sides.append(wide[[row_name("Q*", m, 2) for m in measures]].mean(axis=1))
    difference = sides[0] - sides[1]
    return {
        family: mean_of(difference.xs(family, level="family").groupby("seed").mean())
        for family in rows.families
    }


# ------------------------------------------------------------------ questions 5 to 8


def common_cause(rows: Rows) -> Table:
    """Question 5: share of what modules' units share that is no longer there when one is forced;
    by family and source of the partition."""
    table = rows["common_cause"]
    table = table[table["trained"] & (table["shared"] > 0.05)]
    share = 1 - table["sent"] / table["shared"]
    table = table.assign(share=share)
    found: dict[str, dict[str, Estimate]] = {}
    for source in ("planted", CAUSAL, "random 1"):
        part = table[table["source"] == source]
        for family in rows.families:
            by_seed = part[part["family"] == family].groupby("seed")["share"].mean()
            if len(by_seed):
                found.setdefault(source, {})[family] = mean_of(by_seed)
    return pd.DataFrame(found)


def basis_effects(rows: Rows) -> Table:
    """Question 6: causal score in another basis minus that of neurons."""
    found = []
    for (family, setting), part in rows["basis"].groupby(["family", "setting"]):
        wide = part.pivot_table(index="seed", columns="basis", values="score")
        row: dict[str, Any] = {"family": family, "setting": setting}
        row["neurons"] = mean_of(wide["neurons"])
        for basis in ("pca", "random"):
            row[basis] = mean_of(wide[basis] - wide["neurons"])
        found.append(row)
    return pd.DataFrame(found)


def stability(rows: Rows) -> Table:
    """Question 7, by family."""
    found = []
    for family, part in rows["stability"].groupby("family"):
        same = part[part["bins"] == 10]
        spread = same.groupby("seed")["score"].agg(lambda s: s.std(ddof=1) / s.mean())
        reference = same[same["draw"] == 1000 + same["seed"]].set_index("seed")["score"]
        row: dict[str, Any] = {"family": family, "variation": mean_of(spread)}
        for bins in (5, 20):
            other = part[part["bins"] == bins].set_index("seed")["score"]
            row[f"{bins} bins"] = mean_of(other / reference)
        row["agreement"] = mean_of(same.groupby("seed")["agreement"].mean())
        row["agreement of random"] = mean_of(same.groupby("seed")["agreement_random"].mean())
        found.append(row)
    return pd.DataFrame(found)


def tracks(rows: Rows) -> dict[str, Any]:
    """Question 8: the two separate tracks."""
    table = rows["partitions"]
    table = table[table["setting"] == "ducks, two tracks"]
    planted = table[table["source"] == "planted"]
    shared = rows["common_cause"]
    shared = shared[(shared["setting"] == "ducks, two tracks") & (shared["source"] == "planted")]
    exchanged = {}
    for measure in (*MEASURES, "unit_flow"):
        own = table[table["source"] == row_name("Q*", measure, 2)]
        exchanged[measure] = (int((own["bits_given_context"] == 0).sum()), len(own))
    return {
        "networks": len(planted),
        "largest exchange": float(planted["bits_given_context"].abs().max()),
        "shared": mean_of(shared["shared"]),
        "tracks found": exchanged,
    }
