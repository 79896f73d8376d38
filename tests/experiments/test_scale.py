"""The tables of docs/scale.md are the saved rows."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from experiments.benchmarks import scale_page
from experiments.flow_graphs import page

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


def cells(lines: list[str]) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


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


def test_the_flows_from_slopes_are_the_saved_ones():
    expected = cells(page.lines(pd.read_csv(page.SHOWN)))
    assert table("trained network") == expected and len(expected) == 10


def test_slopes_pass_the_rule_that_was_written_before():
    rows = pd.read_csv(page.SHOWN).query("graph in ('codes map', 'measured')")
    mean = rows.pivot_table(index="kind", columns="graph", values=["partitions", "flows"])
    slopes, measured = (mean.xs(graph, axis=1, level=1) for graph in ("codes map", "measured"))
    near = slopes["partitions"] >= measured["partitions"] - 0.01
    assert ((slopes["partitions"] >= 0.98) | near).all()
    assert slopes["flows"].mean() >= measured["flows"].mean() - 0.02


def test_growth_and_large_searches_are_the_saved_ones():
    growing, searches = cells(scale_page.growing()), cells(scale_page.searches())
    assert table("what") == growing and len(growing) == 7
    assert table("your network") == searches and searches
