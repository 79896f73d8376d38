"""The tables of docs/which_number.md, from the saved rows.

python -m experiments.objectives.table
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def interval(differences: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of a mean over the first axis.

    Examples:
        >>> interval(np.array([[1.0, 0.0], [0.0, 1.0]]))
        (0.5, 0.5)
    """
    drawn = np.random.default_rng(seed).integers(len(differences), size=(10_000, len(differences)))
    each = differences.reshape(len(differences), -1).mean(1)[drawn].mean(1)
    low, high = np.percentile(each, [2.5, 97.5])
    return float(low), float(high)


def against_truth(name: str = "truth_fresh.csv") -> pd.DataFrame:
    """Each candidate beside the truth: means over networks, and the difference of ρ to "units"."""
    rows = pd.read_csv(RESULTS / name)
    network = ["kind", "shape", "activation", "seed"]
    seconds = rows.drop_duplicates([*network, "candidate"]).groupby("candidate")["seconds"].sum()
    found = []
    for (quantity, candidate), some in rows.groupby(["quantity", "candidate"], sort=False):
        wide = rows[rows["quantity"] == quantity].pivot_table("rho", network, "candidate")
        low, high = interval((wide[candidate] - wide["units"]).to_numpy())
        found.append(
            {
                "quantity": quantity,
                "candidate": candidate,
                "bias": some["bias"].mean(),
                "rho": some["rho"].mean(),
                "lowest": some["rho"].min(),
                "best_fifth": some["rho_best_fifth"].mean(),
                "regret": some["regret"].mean(),
                "gain": (wide[candidate] - wide["units"]).mean(),
                "low": low,
                "high": high,
                "time": seconds[candidate] / seconds["units"],
                "networks": len(wide),
            }
        )
    return pd.DataFrame(found).set_index(["quantity", "candidate"]).round(2)


def recovered() -> pd.DataFrame:
    """Share of planted tracks found by cell, and the paired difference to "codes"."""
    rows = pd.read_csv(RESULTS / "recovery.csv")
    table = rows.pivot_table("recovered", "objective", ["sizes", "cross"])
    table.columns = [f"{sizes}, {cross:g}" for sizes, cross in table.columns]
    table["all"] = rows.groupby("objective")["recovered"].mean()
    wide = rows.pivot_table("recovered", "seed", ["objective", "sizes", "cross"])
    for objective in table.index:
        difference = (wide[objective] - wide["codes"]).to_numpy()
        table.loc[objective, "only it"] = (difference > 0).sum()
        table.loc[objective, "only codes"] = (difference < 0).sum()
        table.loc[objective, ["low", "high"]] = interval(difference)
    table["seconds"] = rows.groupby("objective")["seconds"].median()
    table["single unit"] = (rows["smallest"] == 1).groupby(rows["objective"]).mean()
    return table.round(2)


if __name__ == "__main__":
    for found in (against_truth(), recovered()):
        print(found.to_string(), end="\n\n")
