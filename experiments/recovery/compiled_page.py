"""The tables of docs/compiled.md, from the saved rows.

python -m experiments.recovery.compiled_page        # prints them
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from experiments.clusterability.page import table as cuts

RESULTS = Path(__file__).parent / "results"
LEVELS = {
    "variables": "variables",
    "shared": "programs, same tokens",
    "own": "programs, own tokens",
    "basis": "toys, by directions",
    "neurons": "toys, by neurons",
}


def rows() -> pd.DataFrame:
    """All rows; a method that refused a network counts as one module there, ARI 0."""
    found = pd.read_csv(RESULTS / "compiled.csv")
    return found.fillna({"ari": 0.0, "found": 1})


def by_level() -> str:
    """Mean ARI of each method at each level, k given (but for `count`); a dash where a method has
    not seen all networks of a level."""
    found = rows()
    grid = found.pivot_table(
        index="method", columns="level", values="ari", aggfunc=["mean", "count"], sort=False
    )
    levels = [level for level in LEVELS if level in set(found["level"])]
    sizes = found.groupby("level")["network"].nunique()
    head = " | ".join(f"{LEVELS[level]} ({sizes[level]})" for level in levels)
    lines = [f"| method | {head} |", "|---|" + "---|" * len(levels)]
    for method in grid.index:
        seen = [float(grid.loc[method, ("count", level)]) == sizes[level] for level in levels]
        means = [float(grid.loc[method, ("mean", level)]) for level in levels]
        cells = [_number(m) if whole else "-" for m, whole in zip(means, seen, strict=True)]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def by_network() -> str:
    """Each compiled network: how many modules, how many are counted, and what is found of them."""
    found = rows()
    shown = ("Q cov_norm", "Q tokens", "n-cut slopes", "n-cut flows", "search codes")
    lines = [
        f"| network | units | k | counted | {' | '.join(shown)} |",
        "|---|" + "---|" * (3 + len(shown)),
    ]
    for name, group in found.groupby("network", sort=False):
        if not str(name).startswith("tracr"):
            continue
        by = group.set_index("method")
        first, counted = by.iloc[0], by["found"].get("count", 1)
        ari = " | ".join(_number(_at(by, method)) for method in shown)
        title = str(name).removeprefix("tracr-")
        lines.append(f"| {title} | {first['units']} | {first['k']} | {counted:.0f} | {ari} |")
    return "\n".join(lines)


def toys() -> str:
    """What the paper on toy models has numbers for."""
    found = pd.read_csv(RESULTS / "superposition.csv")
    found = found.sort_values(["features", "density"], ascending=[True, False])
    lines = [
        "| features | hidden | 1/density | hidden ÷ squared norm of W | median dimensionality | "
        "within .05 of 1/2 |",
        "|---|---|---|---|---|---|",
    ]
    for _, group in found.groupby(["features", "hidden", "density"], sort=False):
        mean = {str(name): float(value) for name, value in group.mean().items()}
        cells = [f"{mean['features']:.0f}", f"{mean['hidden']:.0f}", f"{1 / mean['density']:.1f}"]
        cells += [_number(mean["per_feature"], 3), _number(mean["median"], 3)]
        lines.append(f"| {' | '.join([*cells, _number(mean['half'])])} |")
    return "\n".join(lines)


def _at(by: pd.DataFrame, method: str) -> float:
    return float(by.loc[[method], "ari"].iloc[0]) if method in by.index else float("nan")


def _number(value: float, digits: int = 2) -> str:
    if pd.isna(value):
        return "-"
    text = f"{value:.{digits}f}"
    return "0" if float(text) == 0 else text.replace("0.", ".", 1) if abs(value) < 1 else text


def tables() -> dict[str, str]:
    """All tables, by name."""
    return {"levels": by_level(), "networks": by_network(), "toys": toys(), "cuts": cuts()}


if __name__ == "__main__":
    for name, text in tables().items():
        print(f"{name}\n\n{text}\n")
