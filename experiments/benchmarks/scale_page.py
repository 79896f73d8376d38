"""The tables of docs/scale.md on growth and on large searches.

python -m experiments.benchmarks.scale_page
"""

from __future__ import annotations

import pandas as pd

from experiments.benchmarks import growth, large_search

NETWORKS = {
    1024: "GPT-2's shape, 1,024 neurons (2 × 512), T 16, 500 sequences",
    2048: "GPT-2's shape, 2,048 neurons (4 × 512), T 32, 500 sequences",
}


def growing() -> list[str]:
    """One line for each thing and axis."""
    table = growth.exponents(pd.read_csv(growth.RESULTS))
    return [
        f"| {row['what']} | {row['axis']} | {row['from']:,} to {row['to']:,} | "
        f"{row['seconds from']:.2f} to {row['seconds to']:.2f} | {row['exponent']:.2f} |"
        for row in table.to_dict("records")
    ]


def searches() -> list[str]:
    """One line for each network that was searched."""
    rows = pd.read_csv(large_search.RESULTS)
    found = []
    for units, own in rows.groupby("units"):
        steps = own.set_index("what")
        if "search" not in steps.index:
            continue
        cells = [f"{steps.loc[step, 'cpu s']:.0f}" for step in ("flows", "search")]
        peak = f"{own['peak GB'].max():.1f}"
        found.append(f"| {NETWORKS[int(str(units))]} | {' | '.join(cells)} | {peak} | defaults |")
    return found


if __name__ == "__main__":
    print("\n".join([*growing(), "", *searches()]))
