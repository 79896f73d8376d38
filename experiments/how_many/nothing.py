"""False alarms and power: how often are there modules where none, or some, were planted?

    python -m experiments.how_many.nothing --first 20000

Networks in which nothing is planted: untrained perceptrons of two and three recorded layers, and
one dense track. Beside them two equal tracks of 6 to 12 units a layer with links from 0 to 0.5,
and perceptrons trained on digits (two hidden layers of 16 to 128 units), whose modules are unknown.
For each the p-value of the test that there are modules (`how_many`), and for some that of the
best partition into two against shuffled units (`shuffled_units`, on fresh draws, after a search).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import tyro

import infoflow as ifl
from experiments.common.builders import digits_network
from experiments.common.cells import Row, measure_cells
from experiments.how_many.networks import Case, planted, untrained
from experiments.how_many.rows import RESULTS
from infoflow.exchanges import ExchangeMeter
from infoflow.measured import SEARCH, Objective
from infoflow.searching.null import shuffled_units

KINDS = ("untrained 2", "untrained 3", "dense")
WIDTHS = (16, 32, 64, 128)
POWER = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5)
FIELDS = ("kind", "seed", "cross", "units", "p_value", "counted", "p_shuffled")


def network(kind: str, seed: int, cross: float) -> ifl.Recording:
    """One network of a kind."""
    if kind.startswith("digits"):
        return digits_network(int(kind.split()[1]), seed)
    if kind == "dense":
        return planted(seed, 1, 0.0).build()[0]
    if kind == "tracks":
        size = int(np.random.default_rng(seed).integers(6, 13))
        return Case(seed, (size, size), cross, bool(seed % 2), 0.0).build()[0]
    return untrained(seed, depth=int(kind[-1]))


def study(kind: str, seed: int, cross: float, shuffles: int) -> Row:
    """One row."""
    rec = network(kind, seed, cross)
    meter = ExchangeMeter(rec, replace(SEARCH, seed=seed), Objective())
    count = ifl.how_many(rec, meter=meter, seed=seed)
    p_shuffled: object = ""
    if shuffles:
        found = ifl.search(rec, n_modules=2, meter=meter, budget=60, samples=5, seed=seed)
        p_shuffled = round(shuffled_units(meter.fresh(), found, n=shuffles, seed=seed).p_value, 4)
    return {
        "kind": kind,
        "seed": seed,
        "cross": cross,
        "units": int(count.partition.sizes.sum()),
        "p_value": round(count.p_value, 4),
        "counted": count.n_modules,
        "p_shuffled": p_shuffled,
    }


def main(
    first: int = 0,
    networks: int = 200,
    power: int = 40,
    trained: int = 5,
    shuffled: int = 30,
    name: str = "nothing.csv",
) -> None:
    """Measure networks of each kind.

    Args:
        first: Seed of the first network.
        networks: How many of each kind without modules.
        power: How many with two tracks, for each strength of links.
        trained: How many on digits, for each width.
        shuffled: Of how many of each kind the best partition is compared with shuffled units.
        name: File in results/.
    """
    torch.set_num_threads(1)
    cells = [(kind, seed, 0.0) for seed in range(first, first + networks) for kind in KINDS]
    cells += [(f"digits {w}", seed, 0.0) for w in WIDTHS for seed in range(first, first + trained)]
    cells += [("tracks", seed, c) for seed in range(first, first + power) for c in POWER]

    def one(kind: str, seed: int, cross: float) -> list[Row]:
        compared = kind in KINDS and seed < first + shuffled
        return [study(kind, seed, cross, 39 if compared else 0)]

    measure_cells(RESULTS / name, FIELDS, FIELDS[:3], cells, one)


if __name__ == "__main__":
    tyro.cli(main)
