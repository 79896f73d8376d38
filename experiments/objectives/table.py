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
    """Each candidate beside the truth: means over networks, and the gain in ρ over "units"."""
    rows = pd.read_csv(RESULTS / name)
    network = ["kind", "shape", "activation", "seed"]
    seconds = rows.pivot_table("seconds", network, "candidate").sum()
    found = []
    for quantity, candidate in rows[["quantity", "candidate"]].drop_duplicates().to_numpy():
        own = rows[rows["quantity"] == quantity]
        some = own[own["candidate"] == candidate]
        wide = own.pivot_table("rho", network, "candidate")
        gain = (wide[candidate] - wide["units"]).to_numpy()
        low, high = interval(gain)
        found.append(
            {
                "candidate": candidate,
                "quantity": quantity,
                "bias": some["bias"].mean(),
                "rho": some["rho"].mean(),
                "lowest": some["rho"].min(),
                "best_fifth": some["rho_best_fifth"].mean(),
                "regret": some["regret"].mean(),
                "gain": gain.mean(),
                "low": low,
                "high": high,
                "time": seconds[candidate] / seconds["units"],
            }
        )
    return pd.DataFrame(found)


def recovered() -> pd.DataFrame:
    """Share of planted tracks found by cell, and the paired difference to "codes"."""
    rows = pd.read_csv(RESULTS / "recovery.csv")
    table = rows.pivot_table("recovered", "objective", ["sizes", "cross"])
    table.columns = [f"{sizes} {cross:g}" for sizes, cross in table.columns]
    table["all"] = rows.groupby("objective")["recovered"].mean()
    wide = rows.pivot_table("recovered", "seed", ["objective", "sizes", "cross"])
    for objective in table.index:
        difference = (wide[objective] - wide["codes"]).to_numpy()
        table.loc[objective, ["won", "lost"]] = [(difference > 0).sum(), (difference < 0).sum()]
        table.loc[objective, ["low", "high"]] = interval(difference)
    table["seconds"] = rows.groupby("objective")["seconds"].median()
    table["single"] = (rows["smallest"] == 1).groupby(rows["objective"]).mean()
    return table


def rankings() -> pd.DataFrame:
    """On trained networks: how two objectives rank and regret, means over networks."""
    rows = pd.read_csv(RESULTS / "trained_pairs.csv")
    measured = ["rho", "rho_best_fifth", "regret", "agreement"]
    return rows.pivot_table(measured, ["kind", "objective", "judge"]).reset_index()


def truth_lines() -> list[str]:
    given = {"given_context": "given", "plain": "plain"}
    return [
        f"| {r['candidate']} | {given[r['quantity']]} | {r['bias']:+.2f} | {r['rho']:.2f} | "
        f"{r['lowest']:.2f} | {r['best_fifth']:.2f} | {r['regret']:.2f} | "
        f"{r['gain']:+.2f} [{r['low']:+.2f}, {r['high']:+.2f}] | {r['time']:.1f} |"
        for r in against_truth().to_dict("records")
    ]


def recovery_lines() -> list[str]:
    table = recovered()
    cells = [name for name in table.columns if name.startswith(("equal", "unequal", "all"))]
    return [
        f"| {r['objective']} | {' | '.join(f'{r[cell]:.2f}' for cell in cells)} | "
        f"{r['won']:.0f}, {r['lost']:.0f} | [{r['low']:+.2f}, {r['high']:+.2f}] | "
        f"{r['seconds']:.2f} |"
        for r in table.reset_index().to_dict("records")
    ]


def pick_lines() -> list[str]:
    return [
        f"| {r['kind']} | {r['objective']} | {r['layers']} | "
        f"{r['score']:.2f} ± {r['ratio_se']:.2f} | {r['bits']:.1f} | {r['saturated']} | "
        f"{r['seconds']:.1f} |"
        for r in pd.read_csv(RESULTS / "trained_picks.csv").to_dict("records")
    ]


def ranking_lines() -> list[str]:
    return [
        f"| {r['kind']} | {r['objective']} | {r['judge']} | {r['rho']:.2f} | "
        f"{r['rho_best_fifth']:.2f} | {r['regret']:.2f} | {r['agreement']:.2f} |"
        for r in rankings().to_dict("records")
        if r["objective"] != r["judge"]
    ]


def score_lines() -> list[str]:
    return [
        f"| {r['seed']} | {r['weighting']} | {r['divisor']} | {r['truth']:.3f} | {r['mean']:.3f} | "
        f"{r['scatter']:.3f} | {r['se']:.3f} | {r['held']:.0%} |"
        for r in pd.read_csv(RESULTS / "coverage_scores.csv").to_dict("records")
    ]


def flow_lines() -> list[str]:
    rows = pd.read_csv(RESULTS / "coverage_flows.csv")
    kind = np.where(rows["nothing"], "no change", np.where(rows["flagged"], "flagged", "sound"))
    return [
        f"| {r['donors']} × {r['contexts']} | {r['what']} | {r['n']} | {r['held']:.0%} | "
        f"{r['held_given']:.0%} | {r['bias']:+.3f} | {r['worst']:.3f} | {r['below']:.1%} |"
        for r in rows.assign(what=kind).to_dict("records")
    ]


LINES = {
    "truth": truth_lines,
    "recovery": recovery_lines,
    "picks": pick_lines,
    "rankings": ranking_lines,
    "scores": score_lines,
    "flows": flow_lines,
}
"""The tables of the page, line by line."""


if __name__ == "__main__":
    for name, lines in LINES.items():
        print(name, *lines(), sep="\n", end="\n\n")
