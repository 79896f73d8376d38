"""Are sure units right more often? Single searches, repeated ones, and what they agree on.

    python -m experiments.how_many.sureness --first 20000

Two to five planted tracks with links of 0.1 to 0.35 between them. Each network is searched once
with the right number of modules, and ten times more on other draws (`confidence=10`). A unit is
right if it is in the module that matches its track best. One row a network.
"""

from __future__ import annotations

import numpy as np
import torch
import tyro

import infoflow as ifl
from experiments.common.cells import Row, measure_cells
from experiments.how_many.networks import planted
from experiments.how_many.recover import rand
from experiments.how_many.rows import RESULTS
from infoflow.clustering import find_modules
from infoflow.searching.confidence import Confidence

LINKS = (0.1, 0.2, 0.25, 0.35)
FIELDS = (
    "seed", "k", "cross", "units", "ari", "ari_agreed", "ari_core", "right", "sure", "right_sure",
    "right_unsure", "nowhere",
)  # fmt: skip


def study(seed: int, k: int, cross: float, repeats: int) -> Row:
    """One network."""
    rec, truth = planted(seed, k, cross).build()
    found = ifl.search(
        rec, n_modules=k, budget=60, samples=10, donors=40, contexts=30, seed=seed,
        confidence=repeats, objective="codes",
    )  # fmt: skip
    sure = found.confidence
    assert sure is not None
    used = ~found.partition.unused
    right = matched(found.partition, truth)[used]
    certain = ~sure.core.unused[used]
    return {
        "seed": seed,
        "k": k,
        "cross": cross,
        "units": int(used.sum()),
        "ari": rand(found.partition, truth),
        "ari_agreed": rand(agreed(sure, k), truth),
        "ari_core": rand(sure.core, truth) if certain.any() else "",
        "right": int(right.sum()),
        "sure": int(certain.sum()),
        "right_sure": int(right[certain].sum()),
        "right_unsure": int(right[~certain].sum()),
        "nowhere": int(sure.nowhere.sum()),
    }


def matched(found: ifl.Partition, truth: ifl.Partition) -> np.ndarray:
    """`(n,)` bool: units in the module that is paired with their track, most units in all."""
    from scipy.optimize import linear_sum_assignment

    used = ~found.unused
    table = np.zeros((found.n_modules, truth.n_modules), int)
    np.add.at(table, (found.labels[used], truth.labels[used]), 1)
    module, track = linear_sum_assignment(-table)
    of_track = np.full(truth.n_modules, -2)
    of_track[track] = module
    return found.labels == of_track[truth.labels]


def agreed(sure: Confidence, k: int) -> ifl.Partition:
    """The partition of largest Q of how often units were together."""
    together = np.nan_to_num(sure.together)
    np.fill_diagonal(together, 0.0)
    return find_modules(together, n_modules=k, restarts=5, perturbations=30).partition


def main(first: int = 0, networks: int = 4, repeats: int = 10, name: str = "sureness.csv") -> None:
    """Measure so many networks for each number of tracks (2 to 5) and strength of links.

    Args:
        first: Seed of the first network.
        networks: How many.
        repeats: Searches beside the first.
        name: File in results/.
    """
    torch.set_num_threads(1)

    def one(seed: int, k: int, cross: float) -> list[Row]:
        return [study(seed, k, cross, repeats)]

    cells = [
        (seed, k, cross)
        for seed in range(first, first + networks)
        for k in range(2, 6)
        for cross in LINKS
    ]
    measure_cells(RESULTS / name, FIELDS, FIELDS[:3], cells, one)


if __name__ == "__main__":
    tyro.cli(main)
