"""Ratios of what information costs here to what it costs otherwise.

Run: python -m experiments.benchmarks.information
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import get_args

import numpy as np
import torch

import infoflow as ifl
from infoflow.information.donors import table_flow
from infoflow.information.tables import code_tables
from infoflow.information.targets import fit_target
from infoflow.measured import Coding, Draws
from infoflow.models import mlp


def seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """Shortest of some runs, after one that compiles and fills caches."""
    work()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def donors_by_contexts(m: int = 200, k: int = 200, *, coding: Coding = "joint") -> dict[str, float]:
    """Flow from 64 units to 64, over bare forward passes of as many rows."""
    model = mlp(784, (64, 64), seed=0)
    inputs = torch.rand(2000, 784, generator=torch.Generator().manual_seed(0))
    rec = ifl.record(model, ["fc1", "fc2"], inputs)
    source, target = rec.units.indices("fc1"), rec.units.indices("fc2")
    donors, contexts = np.arange(m), np.arange(m, m + k)
    aim = fit_target(rec, target, Draws(coding=coding))
    rows = inputs[torch.as_tensor(np.tile(contexts, m))]

    def bare() -> None:
        with torch.no_grad():
            for start in range(0, len(rows), rec.batch_size):
                model(rows[start : start + rec.batch_size])

    table = code_tables(rec, source, [aim], donors, contexts)[0]
    passes = seconds(bare)
    return {
        "tables": seconds(lambda: code_tables(rec, source, [aim], donors, contexts)) / passes,
        "bits": seconds(lambda: table_flow(table.codes, table.n_codes)) / passes,
    }


def main() -> None:
    torch.set_num_threads(1)
    for coding in get_args(Coding):
        cost = donors_by_contexts(coding=coding)
        print(
            f"64 -> 64 units, M=K=200, {coding}: tables {cost['tables']:.2f} and bits "
            f"{cost['bits']:.2f} times the bare forward passes"
        )


if __name__ == "__main__":
    main()
