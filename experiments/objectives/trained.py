"""Trained networks, of which nobody knows the truth: what each objective makes of the others' best.

    python -m experiments.objectives.trained

Digits networks (64-32-32-10, both hidden layers) and planted tracks. For every network:
random even bipartitions and those around each objective's best one (a few pairs of units
exchanged), measured under every objective on 200 x 100 draws that no search has seen.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import torch
import tyro

import infoflow as ifl
from experiments.common.builders import digits_network, tracks
from experiments.objectives.truth import ranks_agree
from infoflow.exchanges import ExchangeMeter
from infoflow.measured import SEARCH, Estimate, Objective
from infoflow.study import save_table

HERE = Path(__file__).parent
OBJECTIVES: tuple[Estimate, ...] = get_args(Estimate)


def recording(kind: str, seed: int) -> ifl.Recording:
    """A trained digits network, or two unequal tracks of 6 and 14 units in each of two layers."""
    return digits_network(32, seed) if kind == "digits" else tracks((6, 14), seed, cross=0.2)[0]


def study(kind: str, seed: int, budget: int) -> tuple[list[dict[str, object]], ...]:
    """Rows of searches (what each objective picks) and of pairs of objectives."""
    rec = recording(kind, seed)
    found, seconds = {}, {}
    for objective in OBJECTIVES:
        start = time.process_time()
        found[objective] = ifl.search(
            rec, objective=objective, budget=budget, samples=20, seed=seed
        )
        seconds[objective] = time.process_time() - start
    rng = np.random.default_rng(seed)
    used = found["codes"].partition
    even = np.where(used.unused, -1, 0)
    even[~used.unused] = np.arange((~used.unused).sum()) % 2
    some = [ifl.Partition(even).shuffled(rng) for _ in range(100)]
    for result in found.values():
        near = [
            _exchanged(result.partition, rng, times) for times in (1, 2, 4, 8) for _ in range(8)
        ]
        some += [result.partition, *near]
    draws = replace(SEARCH, donors=200, contexts=100, seed=seed + 50_000)
    values = {
        o: ExchangeMeter(rec, draws, Objective("ncut", estimate=o)).values(some).weighted
        for o in OBJECTIVES
    }
    network = {"kind": kind, "seed": seed}
    picked = [
        {
            **network,
            "objective": o,
            "layers": _by_layer(rec, r.partition),
            "score": r.score.ratio,
            "ratio_se": r.score.ratio_se,
            "bits": r.score.raw_minimum,
            "saturated": len(r.exchange.saturated),
            "seconds": seconds[o],
        }
        for o, r in found.items()
    ]
    best = {o: some.index(r.partition) for o, r in found.items()}
    pairs = []
    for one in OBJECTIVES:
        for other in OBJECTIVES:
            low = values[other] <= np.quantile(values[other], 0.2)
            pairs.append(
                {
                    **network,
                    "objective": one,
                    "judge": other,
                    "rho": ranks_agree(values[one], values[other]),
                    "rho_best_fifth": ranks_agree(values[one][low], values[other][low]),
                    "regret": _regret(values[other], best[one]),
                    "agreement": ifl.agreement(found[one].partition, found[other].partition),
                }
            )
    return picked, pairs


def _by_layer(rec: ifl.Recording, partition: ifl.Partition) -> str:
    """Units of each layer in each module, such as "12+10 / 12+17"."""
    layer = rec.units.layer_index
    counts = [np.bincount(layer[m], minlength=layer.max() + 1) for m in partition.modules]
    return " / ".join("+".join(map(str, count)) for count in counts)


def _exchanged(partition: ifl.Partition, rng: np.random.Generator, times: int) -> ifl.Partition:
    labels = partition.labels.copy()
    for _ in range(times):
        a, b = (rng.choice(module) for module in ifl.Partition(labels).modules[:2])
        labels[[a, b]] = labels[[b, a]]
    return ifl.Partition(labels)


def _regret(values: np.ndarray, chosen: int) -> float:
    """Value of the chosen one above the least, as a share of the random ones' mean above it."""
    least, mean = values.min(), values[:100].mean()
    return float((values[chosen] - least) / (mean - least))


def main(networks: int = 1, budget: int = 300) -> None:
    """Study so many networks of each kind, with searches of so many evaluations."""
    torch.set_num_threads(1)
    picked: list[dict[str, object]] = []
    pairs: list[dict[str, object]] = []
    for seed in range(networks):
        for kind in ("digits", "tracks"):
            one, two = study(kind, 4000 + seed, budget)
            picked, pairs = picked + one, pairs + two
            save_table(pd.DataFrame(picked).round(4), HERE / "results" / "trained_picks.csv")
            save_table(pd.DataFrame(pairs).round(4), HERE / "results" / "trained_pairs.csv")
            print(pd.DataFrame(one).to_string(), flush=True)


if __name__ == "__main__":
    tyro.cli(main)
