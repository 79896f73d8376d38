"""Train the study's perceptrons and cut their weights.

    INFOFLOW_DATA=FOLDER python -m experiments.clusterability

One row per network, pruned or not; those in the file already are not measured again.
"""

from __future__ import annotations

import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from experiments.clusterability.cuts import cut_of, graph, own_cut_of, shuffled
from experiments.clusterability.networks import EPOCHS, EPSILON, KINDS, trained
from experiments.common.cells import measure_cells
from infoflow.data import load_mnist

RESULTS = Path(__file__).parent / "results" / "cuts.csv"
FIELDS = (
    "kind", "seed", "stage", "accuracy", "zero", "units", "cut", "shuffled", "shuffled_sd", "z",
    "own_cut", "own_shuffled", "shuffles", "epochs", "epsilon", "seconds",
)  # fmt: skip


def measured(weights: list[np.ndarray], seed: int, shuffles: int) -> dict[str, float]:
    """Cut of the weights and of shuffled ones, by the study's clustering and by the package's."""
    links = graph(weights)
    rng = np.random.default_rng(seed)
    others = [graph(shuffled(weights, rng)) for _ in range(shuffles)]
    null = np.array([cut_of(other, seed) for other in others])
    cut = cut_of(links, seed)
    return {
        "zero": float(np.mean(np.concatenate([w.ravel() for w in weights]) == 0)),
        "units": len(links),
        "cut": cut,
        "shuffled": float(null.mean()),
        "shuffled_sd": float(null.std()),
        "z": float((cut - null.mean()) / null.std()),
        "own_cut": own_cut_of(links, seed),
        "own_shuffled": float(np.mean([own_cut_of(other, seed) for other in others[:2]])),
    }


def main(
    seeds: int = 1,
    shuffles: int = 5,
    epochs: int = EPOCHS,
    epsilon: float = EPSILON,
    out: Path = RESULTS,
    keep: Path | None = None,
) -> None:
    """Networks of each kind, with so many seeds.

    Args:
        seeds: Networks a kind.
        shuffles: Shuffled networks a network; the study has 50.
        epochs: Of training, and of pruning after it.
        epsilon: Of Adam.
        out: Where rows go.
        keep: Where weights go, if anywhere.
    """
    torch.set_num_threads(1)
    mnist = load_mnist()

    def study(seed: int, kind: str, epochs: int, epsilon: float) -> list[dict[str, Any]]:
        rows, start = [], time.process_time()
        for stage, (weights, right) in trained(kind, seed, mnist, epochs, epsilon).items():
            if keep is not None:
                np.savez(keep / f"{kind}-{seed}-{stage}-{epochs}-{epsilon}.npz", *weights)
            found = {key: round(v, 4) for key, v in measured(weights, seed, shuffles).items()}
            settings = {"shuffles": shuffles, "epochs": epochs, "epsilon": epsilon}
            spent = {"accuracy": round(right, 4), "seconds": round(time.process_time() - start)}
            rows.append({"kind": kind, "seed": seed, "stage": stage, **found, **settings, **spent})
        return rows

    cells = product(range(seeds), KINDS, [epochs], [epsilon])
    measure_cells(out, FIELDS, ("seed", "kind", "epochs", "epsilon"), cells, study, rows_each=2)


if __name__ == "__main__":
    tyro.cli(main)
