"""The tables of docs/scale.md are the saved rows."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "benchmarks" / "results"


def table(first: str) -> list[list[str]]:
    """The rows of the table whose header begins so."""
    lines = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8").splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def share(value: float) -> str:
    return "" if pd.isna(value) else f"{100 * value:.1f} %"


def test_the_costs_of_probes_are_the_saved_ones():
    saved = pd.read_csv(RESULTS / "scale.csv").query("measure != 'cov'")
    expected = [
        [
            row["network"], f"{row['units']:,}", row["measure"], str(row["probes"]),
            f"{row['bare passes']:.1f}", share(row["error of rows"]), share(row["estimated error"]),
        ]
        for row in saved.to_dict("records")
    ]  # fmt: skip
    assert table("network") == expected and len(expected) == 16


def test_estimated_errors_are_near_the_measured_ones():
    saved = pd.read_csv(RESULTS / "scale.csv").dropna(subset=["error of rows"])
    ratio = saved["estimated error"] / saved["error of rows"]
    assert ratio.between(0.6, 1.6).all() and len(ratio) == 12


def test_the_sparse_graphs_are_the_saved_ones():
    saved = pd.read_csv(RESULTS / "sparse_graphs.csv")
    expected = []
    for (graph, method), own in saved.groupby(["graph", "method"], sort=False):
        found = "yes" if own["as planted"].all() else "no"
        numbers = [f"{own['seconds'].mean():.2f}", f"{own['q'].max():.5f}", found]
        expected.append([graph, method, *numbers])
    assert table("graph") == expected and len(expected) >= 12
