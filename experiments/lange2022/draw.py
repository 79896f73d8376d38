"""Figures from saved rows: `python -m experiments.lange2022.draw ROWS --figure 3`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from experiments.lange2022.figures_agreement import figure_4, figure_s5
from experiments.lange2022.figures_networks import figure_s1, figure_s2
from experiments.lange2022.figures_q import figure_3, figure_s3, figure_s4
from experiments.lange2022.rows import Table, load_rows
from experiments.lange2022.style import save

FIGURES: dict[str, Callable[[Table], Any]] = {
    "3": figure_3,
    "4": figure_4,
    "s1": figure_s1,
    "s2": figure_s2,
    "s3": figure_s3,
    "s4": figure_s4,
    "s5": figure_s5,
}


def draw(
    rows: Path, *, figure: Literal["all", "3", "4", "s1", "s2", "s3", "s4", "s5"] = "all",
    out: Path | None = None,
) -> list[Path]:  # fmt: skip
    """Draw one figure or all, as SVG and PNG.

    Args:
        rows: A folder with `rows.csv.gz`, or the file.
        figure: Its number in the paper (4 holds a and b).
        out: Folder for the figures; None: `figures` beside the rows.
    """
    table = load_rows(rows)
    folder = out or (rows if rows.is_dir() else rows.parent) / "figures"
    chosen = FIGURES if figure == "all" else {figure: FIGURES[figure]}
    return [
        path
        for name, drawn in chosen.items()
        for path in save(drawn(table), folder, f"figure_{name}")
    ]


def main() -> None:
    """The command line."""
    import tyro

    for path in tyro.cli(draw):
        print(path)


if __name__ == "__main__":
    main()
