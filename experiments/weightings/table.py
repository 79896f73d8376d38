"""The tables of the weightings page: recovery per cell with 95 % Wilson intervals, and paired.

python -m experiments.weightings.table
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
COMPARED = ("ncut", "pairs")


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share.

    Examples:
        >>> [round(x, 2) for x in wilson(5, 10)]
        [0.24, 0.76]
    """
    p = hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return middle - half, middle + half


def resampled(difference: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the mean of `(seeds, cells)` differences, whole seeds drawn.

    Examples:
        >>> resampled(np.array([[1, 0], [0, 1]]))
        (0.5, 0.5)
    """
    drawn = np.random.default_rng(seed).integers(len(difference), size=(10_000, len(difference)))
    low, high = np.percentile(difference.mean(1)[drawn].mean(1), [2.5, 97.5])
    return float(low), float(high)


def paired(rows: pd.DataFrame, ours: str) -> None:
    """Networks that one weighting recovers and another misses, both ways."""
    table = rows.pivot_table(
        index="seed", columns=["weighting", "sizes", "cross"], values="recovered", aggfunc="first"
    ).dropna()
    print(f"\n{ours} against (only {ours}, only the other, difference of {table[ours].size})")
    for other in table.columns.unique("weighting"):
        if other != ours:
            difference = (table[ours] - table[other]).to_numpy()
            low, high = resampled(difference)
            counts = f"{(difference > 0).sum():4} {(difference < 0).sum():4}"
            print(f"{other:16} {counts}  {difference.mean():+.3f} [{low:+.3f}, {high:+.3f}]")


def main() -> None:
    for path in sorted((HERE / "results").glob("recovery*.csv")):
        rows = pd.read_csv(path)
        rows["single"] = rows["smallest"] == 1
        cells = rows.groupby(["weighting", "sizes", "cross"])
        complete = int(cells["recovered"].count().to_numpy().min())
        share = rows.groupby("weighting").agg(
            recovered=("recovered", "mean"),
            agreement=("agreement", "mean"),
            single=("single", "mean"),
        )
        print(f"\n{path.name}: {complete} networks a cell\n")
        for row in cells["recovered"].agg(["sum", "size"]).reset_index().to_dict("records"):
            low, high = wilson(row["sum"], row["size"])
            cell = f"{row['weighting']:16} {row['sizes']:8} {row['cross']:5}"
            print(f"{cell} {row['sum'] / row['size']:5.2f} [{low:.2f}, {high:.2f}]")
        print(share.sort_values("recovered", ascending=False).round(3).to_string())
        for ours in COMPARED:
            paired(rows, ours)


if __name__ == "__main__":
    sys.exit(main())
