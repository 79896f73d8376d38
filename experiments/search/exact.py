"""Do the searches end where enumeration does? Networks of 8 to 14 units, two and three modules.

python -m experiments.search.exact
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import tyro

import infoflow as ifl
from experiments.common.builders import tracks
from infoflow.exchanges import ExchangeMeter
from infoflow.measured import SCORE

METHODS = ("genetic", "annealing", "screened")
SIZES = ((2, 2), (2, 3), (3, 3), (3, 4))
THREE_UP_TO = 10  # units: 9,330 partitions into three; 14 units have 788,970


def main(
    networks: int = 5, budget: int = 1500, out: Path = Path(__file__).parent / "results/exact.csv"
) -> None:
    """One row a network, number of modules and method."""
    agreed = total = 0
    with out.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["units", "n_modules", "seed", "method", "value", "least", "agrees"])
        for sizes in SIZES:
            for seed in range(networks):
                for k in (2, 3) if 2 * sum(sizes) <= THREE_UP_TO else (2,):
                    for row in _rows(sizes, seed, k, budget):
                        table.writerow(row)
                        agreed, total = agreed + row[-1], total + 1
            print(f"up to {2 * sum(sizes)} units: {agreed} of {total} searches agree", flush=True)


def _rows(sizes: tuple[int, ...], seed: int, k: int, budget: int) -> list[list[Any]]:
    rec, _ = tracks(sizes, seed, cross=0.3)
    meter = ExchangeMeter(rec, replace(SCORE, donors=30, contexts=30, seed=seed))
    truth = ifl.search(rec, n_modules=k, method="exhaustive", samples=2, meter=meter)
    least = truth.trail[:, 2].min()
    rows: list[list[Any]] = []
    for method in METHODS:
        found = ifl.search(
            rec, n_modules=k, method=method, budget=budget, samples=2, seed=seed, meter=meter
        )
        value = found.trail[:, 2].min()
        agrees = found.partition == truth.partition
        rows.append([2 * sum(sizes), k, seed, method, value, least, int(agrees)])
    return rows


if __name__ == "__main__":
    tyro.cli(main)
