"""The table of docs/scale.md on flows from slopes.

python -m experiments.flow_graphs.page
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

SHOWN = Path(__file__).parent / "results" / "shown.csv"
QUANTITIES = ("flows", "traffic", "partitions", "cut")


def lines(rows: pd.DataFrame) -> list[str]:
    """One line a kind of network, means over seeds: slopes, then measured; and the bits."""
    found = []
    for kind, own in rows.groupby("kind", sort=False):
        mean: Any = own.groupby("graph")[[*QUANTITIES, "bits"]].mean()
        slopes, measured = mean.loc["codes map"], mean.loc["measured"]
        cells = [f"{slopes[q]:.3f}, {measured[q]:.3f}" for q in QUANTITIES]
        seeds = own["seed"].nunique()
        found.append(f"| {kind} | {seeds} | {' | '.join(cells)} | {slopes['bits']:.2f} |")
    return found


if __name__ == "__main__":
    print("\n".join(lines(pd.read_csv(SHOWN))))
