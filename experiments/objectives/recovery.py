"""Do searches find planted tracks as often when modules are measured as wholes?

    python -m experiments.objectives.recovery

The networks, cells, starts and draws of experiments/weightings/recovery.py, under `ncut`, with each
objective. One row per network and objective; those in the file already are not measured again.
"""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

import infoflow as ifl
from experiments.common.builders import tracks
from experiments.common.cells import measure_cells
from experiments.weightings.recovery import CROSS, QUIET, SIZES
from infoflow.exchanges import ExchangeMeter
from infoflow.measured import SCORE, Estimate, Objective

HERE = Path(__file__).parent
FIELDS: tuple[str, ...] = (
    "cross", "sizes", "seed", "objective", "recovered", "agreement", "smallest", "score", "seconds",
)  # fmt: skip


def study(sizes: str, cross: float, seed: int, objective: Estimate, budget: int) -> dict[str, Any]:
    """One search, from the planted partition, every single unit against all others, and seeds."""
    rec, planted = tracks(SIZES[sizes], seed, cross=cross, quiet=QUIET)
    start = time.process_time()
    draws = replace(SCORE, donors=30, contexts=30, seed=seed)
    meter = ExchangeMeter(rec, draws, Objective("ncut", estimate=objective))
    core = ~planted.unused
    starts = [np.maximum(planted.labels, 0), *np.eye(len(core), dtype=int)]
    found = ifl.search(
        rec, method="climbing", starts=[ifl.Partition(labels) for labels in starts],
        budget=budget, samples=10, meter=meter,
    )  # fmt: skip
    labels = np.where(core, found.partition.labels, -1)
    return {
        "cross": cross,
        "sizes": sizes,
        "seed": seed,
        "objective": objective,
        "recovered": int(ifl.Partition(labels) == planted),
        "agreement": round(ifl.agreement(labels, planted), 4),
        "smallest": int(found.partition.sizes.min()),
        "score": round(found.score.ratio, 3),
        "seconds": round(time.process_time() - start, 2),
    }


def main(
    first: int = 3000,
    networks: int = 30,
    budget: int = 200,
    objectives: tuple[Estimate, ...] = ("codes", "kernel", "gaussian"),
    name: str = "recovery.csv",
) -> None:
    """Search so many networks a cell under each objective.

    Args:
        first: Seed of the first network.
        networks: How many.
        budget: Partitions a search may measure.
        objectives: Which.
        name: File in results/.
    """
    torch.set_num_threads(1)
    cells = product(range(first, first + networks), SIZES, map(float, CROSS), objectives)
    measure_cells(
        HERE / "results" / name,
        FIELDS,
        FIELDS[:4],
        ((cross, sizes, seed, objective) for seed, sizes, cross, objective in cells),
        lambda cross, sizes, seed, objective: [study(sizes, cross, seed, objective, budget)],
    )


if __name__ == "__main__":
    tyro.cli(main)
