"""How many modules does the rule find, and which? Planted tracks, and networks without any.

    python -m experiments.how_many.recover                                  # tuning
    python -m experiments.how_many.recover --first 20000 --name fresh.csv   # fresh

One row a network, written as it comes; networks whose rows are in the file are not measured again.
"""

from __future__ import annotations

from typing import Any

import torch
import tyro

import infoflow as ifl
from experiments.common.cells import Row, measure_cells
from experiments.how_many.networks import LINKS, Case, planted
from experiments.how_many.rows import RESULTS
from infoflow.exchanges import ExchangeMeter
from infoflow.measured import SEARCH, Objective

FIELDS = (
    "seed", "k", "cross", "sizes", "relu", "correlation", "units", "p_value", "counted",
    "ari_counted", "found", "ari", "ari_given", "ratio",
)  # fmt: skip


def study(case: Case, budget: int) -> Row:
    """One network: counted, searched with the number open, and searched with it given."""
    rec, truth = case.build()
    meter = ExchangeMeter(rec, SEARCH, Objective())
    options: Any = {"budget": budget, "samples": 10, "meter": meter, "seed": case.seed}
    found = ifl.search(rec, n_modules=None, **options)
    count, given = found.count, found
    assert count is not None
    if 1 < case.k != count.n_modules:
        given = ifl.search(rec, n_modules=case.k, **options)
    return {
        "seed": case.seed,
        "k": case.k,
        "cross": case.cross,
        "sizes": " ".join(map(str, case.sizes)),
        "relu": int(case.relu),
        "correlation": case.correlation,
        "units": int(count.partition.sizes.sum()),
        "p_value": round(count.p_value, 4),
        "counted": count.n_modules,
        "ari_counted": rand(count.partition, truth),
        "found": found.partition.n_modules,
        "ari": rand(found.partition, truth),
        "ari_given": rand(given.partition, truth) if case.k > 1 else "",
        "ratio": round(found.score.ratio, 3),
    }


def rand(found: ifl.Partition, truth: ifl.Partition) -> float:
    """Adjusted Rand index over the units in a module."""
    from sklearn.metrics import adjusted_rand_score

    used = ~found.unused
    return round(float(adjusted_rand_score(truth.labels[used], found.labels[used])), 4)


def main(
    first: int = 0,
    networks: int = 10,
    cross: tuple[float, ...] = LINKS,
    budget: int = 60,
    name: str = "tuning.csv",
) -> None:
    """Measure so many networks for each number of tracks (1 to 8) and each strength of links.

    Args:
        first: Seed of the first network.
        networks: How many.
        cross: Strengths of the links between tracks; one track has none.
        budget: Partitions that each search may measure.
        name: File in results/.
    """
    torch.set_num_threads(1)
    cells = [
        (seed, k, links)
        for seed in range(first, first + networks)
        for k in range(1, 9)
        for links in (cross if k > 1 else (0.0,))
    ]
    measure_cells(
        RESULTS / name,
        FIELDS,
        FIELDS[:3],
        cells,
        lambda seed, k, links: [study(planted(seed, k, links), budget)],
    )


if __name__ == "__main__":
    tyro.cli(main)
