"""The tables of the search page: gap per method, and against the label-uniform GA.

python -m experiments.search.gap_table
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent


def ratio_interval(ours: np.ndarray, theirs: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of mean(theirs) / mean(ours), runs drawn anew on both sides; inf
    where ours are 0.

    Examples:
        >>> ratio_interval(np.array([1.0, 1.0]), np.array([4.0, 4.0]))
        (4.0, 4.0)
    """
    rng = np.random.default_rng(seed)
    means = [rng.choice(x, (10_000, len(x))).mean(1) for x in (ours, theirs)]
    times = np.full(len(means[0]), np.inf)
    np.divide(means[1], means[0], out=times, where=means[0] > 0)
    low, high = np.percentile(times, [2.5, 97.5], method="inverted_cdf")
    return float(low), float(high)


def main() -> None:
    for path in sorted((HERE / "results").glob("gap_*.csv")):
        rows = pd.read_csv(path)
        last = [c for c in rows if c.startswith("gap_")][-1]
        print(f"\n{path.name}: {rows.groupby('method').size().max()} runs a method\n")
        theirs = rows.loc[rows["method"] == "label-uniform GA", last].to_numpy()
        for name, runs in rows.groupby("method", sort=False):
            ends = runs[last].to_numpy()
            marks = "  ".join(f"{runs[c].mean():.3f}" for c in rows if c.startswith("gap_"))
            reached = f"{runs['to_optimum'].notna().sum():3} reached it"
            against = ""
            if theirs.any():
                low, high = ratio_interval(ends, theirs)
                times = theirs.mean() / ends.mean() if ends.any() else np.inf
                against = f"{times:.1f} times [{low:.1f}, {high:.1f}]"
            print(f"{name:18} {marks}  {reached}  {against}")
            if len(ends) <= 10:
                print(f"{'':18} {np.sort(ends).round(4).tolist()}")


if __name__ == "__main__":
    sys.exit(main())
