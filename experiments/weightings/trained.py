"""What each weighting picks in networks nobody planted anything in: module sizes and scores.

    python -m experiments.weightings.trained

Perceptrons (64-32-32-10) trained on scikit-learn's digits, both hidden layers, exchange given the
context and (--plain) plain bits. A weighting that picks a module of one or two units picks quiet
units, not modules. Every single unit against all others is among the starts: a search that begins
with random partitions stops at balanced ones, wherever the minimum lies.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch
import tyro

import infoflow as ifl
from experiments.common.builders import digits_network
from infoflow.exchanges import ExchangeMeter
from infoflow.measured import SCORE, Objective, Weighting

HERE = Path(__file__).parent


def main(networks: int = 5, budget: int = 600, plain: bool = False) -> None:
    """Search so many networks under every weighting; `plain`: bits not given the context."""
    torch.set_num_threads(1)
    path = HERE / "results" / ("trained_plain.csv" if plain else "trained.csv")
    path.parent.mkdir(exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["seed", "weighting", "smallest", "largest", "silent", "score", "bits"])
        for seed in range(networks):
            rec = digits_network(32, seed)
            meter = ExchangeMeter(
                rec,
                replace(SCORE, donors=30, contexts=30, seed=seed),
                Objective("none", given_context=not plain),
            )
            alone = np.eye(len(rec.units), dtype=int)[~rec.units.unused]
            for weighting in get_args(Weighting):
                found = ifl.search(
                    rec, weighting=weighting, method="screened", budget=budget,
                    starts=list(alone), samples=20, meter=meter,
                )  # fmt: skip
                sizes, score = found.partition.sizes, found.score
                silent = int(found.partition.unused.sum())
                row = [seed, weighting, sizes.min(), sizes.max(), silent]
                table.writerow([*row, f"{score.ratio:.4g}", f"{score.raw_minimum:.4g}"])
                file.flush()
                print(*row, f"{score.ratio:.4g}", flush=True)


if __name__ == "__main__":
    tyro.cli(main)
