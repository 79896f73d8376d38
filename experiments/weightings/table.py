"""The tables of the weightings page: recovery per cell with 95 % Wilson intervals.

python experiments/weightings/table.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent


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


if __name__ == "__main__":
    sys.exit(main())
