"""How near each method comes to the best partition, against the number of true evaluations.

    python -m experiments.search.gap --part enumerated --weighting pairs   # 12 units, truth known
    python -m experiments.search.gap --part digits --weighting pairs       # 64 units, best known

The gap is (best value so far - optimum) / (mean of random partitions - optimum): 0 is the optimum,
1 is chance. The best known of a digits network is the best of all runs of one call.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro

import infoflow as ifl
from experiments.common.builders import digits_network, tracks
from infoflow.exchanges import ExchangeMeter, Values
from infoflow.measured import SCORE, Weighting
from infoflow.searching.flow_cut import FlowCut, screened
from infoflow.searching.log import EvaluationLog
from infoflow.searching.methods import annealing, climbing, genetic, sampling
from infoflow.searching.space import Space, divided_units, random_partitions
from infoflow.searching.starts import starts_by_name

HERE = Path(__file__).parent
METHODS = (
    "random", "label-uniform GA", "climbing", "annealing", "genetic", "genetic, seeded",
    "screened", "screened, seeded",
)  # fmt: skip
MARKS = (50, 100, 200, 500, 1000, 2000, 5000)


def label_uniform(log: EvaluationLog, space: Space, population: int = 24) -> None:
    """Plain genetic algorithm on labels: each unit's label from either parent, 2 % mutated."""
    rng, members = log.rng, [space.random(log.rng) for _ in range(population)]
    log.many(members)
    fruitless = 0
    while log.left and fruitless < 200:
        before, children = log.left, []
        members = sorted({*members} & {*log.known}, key=log.known.__getitem__)[:population]
        for _ in range(8):
            a, b = (members[int(rng.integers(len(members), size=2).min())] for _ in range(2))
            labels = np.where(rng.random(len(a)) < 0.5, a.labels, b.labels)
            flip = (rng.random(len(a)) < 0.02) & space.used
            labels = np.where(flip, rng.integers(space.most, size=len(a)), labels)
            child = ifl.Partition(labels)
            if child.n_modules == space.most:
                children.append(child)
        log.many(children)
        members += children
        fruitless = fruitless + 1 if log.left == before else 0


def searches(
    meter: ExchangeMeter, seeds: Sequence[ifl.Partition], spread: float, weighting: Weighting
) -> dict[str, Callable[[EvaluationLog, Space], None]]:
    proxy = FlowCut(meter.traffic, weighting)
    return {
        "random": lambda log, space: sampling(log, space, []),
        "label-uniform GA": label_uniform,
        "climbing": lambda log, space: climbing(log, space, []),
        "annealing": lambda log, space: annealing(log, space, [], spread=spread),
        "genetic": lambda log, space: genetic(log, space, [], spread=spread),
        "genetic, seeded": lambda log, space: genetic(log, space, seeds, spread=spread),
        "screened": lambda log, space: screened(log, space, [], proxy, spread=spread),
        "screened, seeded": lambda log, space: screened(log, space, seeds, proxy, spread=spread),
    }


def runs(
    rec: ifl.Recording,
    meter: ExchangeMeter,
    weighting: Weighting,
    *,
    budget: int,
    repeats: int,
    names: Sequence[str],
    enumerate_all: bool,
) -> Iterator[dict[str, Any]]:
    """Per repeat and method: best value after each number of evaluations, mean of random
    partitions, and the optimum where it is enumerated."""
    space = Space(divided_units(meter, 2), 2, 2)

    def evaluate(some: Sequence[ifl.Partition]) -> Values:
        return meter.values(some, weighting)

    drawn = random_partitions(space.used, 2, 99)
    chance = evaluate([next(drawn) for _ in range(50)]).weighted
    truth = min(evaluate(list(space.all())).weighted) if enumerate_all else np.inf
    seeds = starts_by_name(("unit_flow", "spectral"), meter, space, 0)
    for repeat in range(repeats):
        for name, method in searches(meter, seeds, float(chance.std()), weighting).items():
            if name in names:
                log = EvaluationLog(evaluate, budget=budget, seed=repeat)
                method(log, space)
                best = np.minimum.accumulate(log.trail.weighted)
                print(f"  {name:18} {len(best):5} {best[-1]:.5f}", flush=True)
                known = {"truth": truth, "chance": chance.mean()}
                yield {"method": name, "repeat": repeat, "best": best, **known}


def save(name: str, rows: list[dict[str, Any]]) -> None:
    """One row a run: gap at each mark, and evaluations until the gap is below 1e-9."""
    path = HERE / "results" / f"gap_{name}.csv"
    path.parent.mkdir(exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["network", "method", "repeat", *(f"gap_{m}" for m in MARKS), "to_optimum"])
        for row in rows:
            own = [r for r in rows if r["network"] == row["network"]]
            truth = min(row["truth"], *(r["best"][-1] for r in own))
            gap = (row["best"] - truth) / (row["chance"] - truth)
            hit = np.flatnonzero(gap <= 1e-9)
            marks = [f"{gap[min(m, len(gap)) - 1]:.6g}" for m in MARKS]
            reached = int(hit[0]) + 1 if len(hit) else ""
            table.writerow([row["network"], row["method"], row["repeat"], *marks, reached])


def main(
    part: Literal["enumerated", "digits"],
    weighting: Weighting = "ncut",
    networks: int | None = None,
    repeats: int = 5,
    budget: int | None = None,
    methods: tuple[str, ...] = METHODS,
) -> None:
    """Run every method on every network; one row a run."""
    torch.set_num_threads(1)
    small = part == "enumerated"
    rows: list[dict[str, Any]] = []
    for seed in range(networks or (6 if small else 1)):
        rec = tracks((4, 2), seed, cross=0.5)[0] if small else digits_network(32, seed)
        meter = ExchangeMeter(rec, replace(SCORE, donors=30, contexts=30, seed=seed))
        for row in runs(
            rec, meter, weighting, budget=budget or (600 if small else 5000),
            repeats=repeats, names=methods, enumerate_all=small,
        ):  # fmt: skip
            rows.append({"network": seed, **row})
            save(f"{part}_{weighting}", rows)


if __name__ == "__main__":
    tyro.cli(main)
