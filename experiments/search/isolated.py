"""Are isolated subnetworks found exactly? Two tracks of 4 to 32 units a layer, two layers.

    python -m experiments.search.isolated

Units that neither send nor receive anything detectable aside, the partition found must be the
tracks, and its exchange exactly 0 on fresh samples.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch
import tyro

import infoflow as ifl
from experiments.common.builders import tracks

HERE = Path(__file__).parent


def main(networks: int = 50) -> None:
    """Search so many networks; one row each."""
    torch.set_num_threads(1)
    path = HERE / "results" / "isolated.csv"
    path.parent.mkdir(exist_ok=True)
    rows = []
    for seed in range(networks):
        rng = np.random.default_rng(seed)
        sizes = tuple(int(s) for s in rng.integers(4, 33, 2)) if seed % 5 else (32, 32)
        rec, planted = tracks(sizes, seed)
        found = ifl.search(
            rec, objective="codes", budget=100, samples=20, donors=30, contexts=30, seed=seed
        )
        used = ~found.partition.unused
        exact = ifl.Partition(np.where(used, planted.labels, -1)) == found.partition
        bits = found.exchange.bits_given_context
        rows.append([seed, *sizes, int((~used).sum()), exact, bits, found.score.isolated])
        print(rows[-1], flush=True)
        with open(path, "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["seed", "first", "second", "silent", "exact", "bits", "isolated"])
            table.writerows(rows)
    print(
        f"exact {np.mean([r[4] for r in rows]):.3f}, exactly 0 bits "
        f"{np.mean([r[5] == 0 for r in rows]):.3f} of {len(rows)} networks"
    )


if __name__ == "__main__":
    tyro.cli(main)
