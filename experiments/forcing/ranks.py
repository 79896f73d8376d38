"""How stable are the ranks of partitions over what a module is set to? See the README for the rule.

    python -m experiments.forcing.ranks
    python -m experiments.forcing.ranks --table

Cells (network, distribution) that are in the file already are not measured again.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import tyro
from scipy.stats import spearmanr

import infoflow as ifl
from experiments.common.builders import digits_network, tracks
from infoflow.exchanges import ExchangeMeter
from infoflow.forcing import Forcing, ForcingLike
from infoflow.measured import SEARCH, Objective
from infoflow.searching.starts import normalised_cut

PATH = Path(__file__).parent / "results" / "ranks.csv"
RANDOM, NEAR = 60, 60


def gaussian(
    rec: ifl.Recording, units: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Values with the mean and covariance of the units."""
    own = rec.matrix()[:, units]
    return rng.multivariate_normal(own.mean(0), np.cov(own.T), size=count, method="eigh")


def apart(
    rec: ifl.Recording, units: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Every unit's value from a donor of its own."""
    rows = rng.integers(len(rec), size=(count, len(units)))
    return rec.matrix()[rows, units]


def network(kind: str, seed: int) -> tuple[ifl.Recording, ifl.Partition, tuple[int, ...]]:
    """A recording, a good partition of its used units, and a class of every sample."""
    if kind == "tracks":
        rec, planted = tracks((7, 7), seed, cross=0.25)
        signs = (rec.inputs[0][:, [0, 2]] > 0).long()
        return rec, planted, tuple((2 * signs[:, 0] + signs[:, 1]).tolist())
    rec = digits_network(32, seed)
    flows = ifl.unit_flow(rec, given_context=True, donors=30, contexts=30)
    silent = np.maximum(flows.max(0), flows.max(1)) < 0.05
    flows = np.where(silent[:, None] | silent, 0.0, flows + flows.T)
    good = normalised_cut(flows, 2)
    if good is None or rec.targets is None:
        raise ValueError(f"no partition of the digits network of seed {seed} to begin with")
    return rec, good, tuple(rec.targets.tolist())


def partitions(good: ifl.Partition, seed: int) -> list[ifl.Partition]:
    """Random ones of equal module sizes, then ones near the good one."""
    rng = np.random.default_rng(seed)
    used = np.flatnonzero(~good.unused)
    found = []
    for _ in range(RANDOM):
        labels = np.full(len(good), -1)
        labels[rng.permutation(used)] = np.arange(len(used)) % 2
        found.append(ifl.Partition(labels))
    for number in range(NEAR):
        labels = good.labels.copy()
        moved = 1 + number % 8
        for module in good.modules:
            some = rng.choice(module, size=min(moved, len(module) - 1), replace=False)
            labels[some] = 1 - labels[some]
        found.append(ifl.Partition(labels))
    return found


def ways(classes: tuple[int, ...]) -> dict[str, tuple[ForcingLike, int, bool]]:
    """By name: what modules are set to, the seed of the draws, given the context."""
    return {
        "empirical": ("empirical", 0, True),
        "empirical again": ("empirical", 1, True),
        "uniform": ("uniform", 0, True),
        "within": (Forcing(within=classes or "targets"), 0, True),
        "one class": (
            Forcing(within=classes or "targets", only=classes[0] if classes else 0),
            0,
            True,
        ),
        "gaussian": (gaussian, 0, True),
        "apart": (apart, 0, True),
        "plain": ("empirical", 0, False),
        "plain again": ("empirical", 1, False),
        "observed": (Forcing(marginal="observed"), 0, False),
    }


def measure(kind: str, seed: int, known: set[str]) -> list[pd.DataFrame]:
    """The values of all partitions, a table for each way that is not known."""
    rec, good, classes = network(kind, seed)
    some, traffic, tables = partitions(good, seed), None, []
    for name, (do, drawn, given) in ways(classes).items():
        if name in known:
            continue
        draws = replace(SEARCH, do=do, seed=drawn)
        objective = Objective("ncut" if given else "none", given_context=given)
        meter = ExchangeMeter(rec, draws, objective)
        if given and traffic is None:  # the same divisor for all: what differs is the exchange
            traffic = ExchangeMeter(rec, SEARCH, objective).traffic
        if given:
            meter = ExchangeMeter(rec, draws, objective, traffic=traffic)
        found = pd.DataFrame(
            {"network": kind, "seed": seed, "do": name, "partition": range(len(some))}
        )
        tables.append(found.assign(value=meter.values(some).weighted.round(6)))
    return tables


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Per network kind and distribution: correlations and regret, means over networks."""
    found: dict[tuple[str, str], list[list[float]]] = {}
    for kind in ("tracks", "digits"):
        own = rows.loc[rows["network"] == kind]
        for seed in sorted(set(own["seed"])):
            values_of = own.loc[own["seed"] == seed].groupby("do")["value"]
            by = {n: values_of.get_group(n).to_numpy() for n in ways(())}
            for name, values in by.items():
                plain = name in ("plain", "plain again", "observed")
                reference = by["plain" if plain else "empirical"]
                regret = reference[values.argmin()] / reference.min() - 1
                near = _spearman(values[RANDOM:], reference[RANDOM:])
                numbers = [_spearman(values, reference), near, float(regret)]
                found.setdefault((kind, name), []).append(numbers)
    means = {key: np.mean(numbers, axis=0).round(2) for key, numbers in found.items()}
    columns = ["network", "do", "all", "near", "regret"]
    return pd.DataFrame([[*key, *numbers] for key, numbers in means.items()], columns=columns)


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    found: Any = spearmanr(a, b)
    return float(found.statistic)


def main(table: bool = False) -> None:
    """Measure what is missing, or print the table.

    Args:
        table: Only print what the rows say.
    """
    torch.set_num_threads(1)
    rows = pd.read_csv(PATH) if PATH.exists() else None
    for seed in () if table else (0, 1, 2):
        for kind in ("tracks", "digits"):
            own = None if rows is None else rows[(rows["network"] == kind) & (rows["seed"] == seed)]
            known = set() if own is None else set(own["do"])
            for new in measure(kind, seed, known):
                rows = new if rows is None else pd.concat([rows, new], ignore_index=True)
                rows.to_csv(PATH, index=False)
                print(kind, seed, new["do"].iloc[0], flush=True)
    if rows is not None:
        print(summary(rows).to_string(index=False))


if __name__ == "__main__":
    tyro.cli(main)
