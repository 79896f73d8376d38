"""Which weighting finds planted modules? Two tracks with weak links, weak and nearly dead units.

    python -m experiments.weightings.recovery
    python -m experiments.weightings.recovery --first 1000 --name recovery_fresh.csv

Each network has two layers. Track sizes are equal (7 + 7 units a layer) or unequal (3 + 11);
weights between tracks are `cross` times those within. Each layer also has one weak unit (in- and
outgoing weights a twentieth) and one nearly dead one (a thousandth), which belong to nobody.
Every weighting is minimised with the same donors and contexts by hill climbing, from the planted
partition, every single unit against all others, and seeds, the best of them first, so that what is
asked is where the minimum lies and not how well it is searched for. Recovered means that the units
of the tracks are divided as planted. Networks whose rows are in the file already are not measured
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
import tyro

import infoflow as ifl
from experiments.common.builders import tracks
from experiments.common.cells import measure_cells
from infoflow.exchanges import ExchangeMeter
from infoflow.measured import SCORE, Objective, Weighting

HERE = Path(__file__).parent
SIZES = {"equal": (7, 7), "unequal": (3, 11)}
QUIET = (0.05, 0.001)
CROSS = (0.0, 0.1, 0.25)
FIELDS: tuple[str, ...] = (
    "cross", "sizes", "seed", "weighting", "given_context", "recovered", "agreement", "smallest",
    "score",
)  # fmt: skip


def study(
    sizes: str,
    cross: float,
    seed: int,
    *,
    weightings: Sequence[Weighting],
    given_context: bool,
    budget: int,
) -> list[dict[str, Any]]:
    """One row per weighting."""
    rec, planted = tracks(SIZES[sizes], seed, cross=cross, quiet=QUIET)
    meter = ExchangeMeter(
        rec,
        replace(SCORE, donors=30, contexts=30, seed=seed),
        Objective("none", given_context=given_context),
    )
    core = ~planted.unused
    alone = np.eye(len(core), dtype=int)
    starts = [ifl.Partition(labels) for labels in (np.maximum(planted.labels, 0), *alone)]
    rows = []
    for weighting in weightings:
        found = ifl.search(
            rec, weighting=weighting, method="climbing", starts=starts,
            budget=budget, samples=10, meter=meter,
        )  # fmt: skip
        labels = np.where(core, found.partition.labels, -1)
        rows.append(
            {
                "cross": cross,
                "sizes": sizes,
                "seed": seed,
                "weighting": weighting,
                "given_context": given_context,
                "recovered": int(ifl.Partition(labels) == planted),
                "agreement": round(ifl.agreement(labels, planted), 4),
                "smallest": int(found.partition.sizes.min()),
                "score": round(found.score.ratio, 3),
            }
        )
    return rows


def main(
    first: int = 0,
    networks: int = 50,
    cross: tuple[float, ...] = CROSS,
    budget: int = 200,
    weightings: tuple[Weighting, ...] = get_args(Weighting),
    name: str = "recovery.csv",
    plain: bool = False,
) -> None:
    """Measure so many networks a cell, one row a weighting.

    Args:
        first: Seed of the first network.
        networks: How many.
        cross: Strengths of the weights between tracks.
        budget: Partitions a search may measure.
        weightings: Which.
        name: File in results/.
        plain: Plain bits, not given the context.
    """
    torch.set_num_threads(1)
    cells = product(range(first, first + networks), SIZES, map(float, cross))

    def one(between: float, sizes: str, seed: int) -> list[dict[str, Any]]:
        return study(
            sizes, between, seed, weightings=weightings, given_context=not plain, budget=budget
        )

    measure_cells(
        HERE / "results" / name,
        FIELDS,
        FIELDS[:3],
        ((between, sizes, seed) for seed, sizes, between in cells),
        one,
        rows_each=len(weightings),
    )


if __name__ == "__main__":
    tyro.cli(main)
