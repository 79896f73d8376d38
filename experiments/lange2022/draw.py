"""Figures from saved rows: `python -m experiments.lange2022.draw ROWS --figure 3`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from experiments.common.style import save_figure
from experiments.lange2022 import figures
from experiments.lange2022.rows import load_rows
from infoflow.study import Table

FIGURES: dict[str, Callable[[Table], Any]] = {
    "3": figures.figure_3,
    "4": figures.figure_4,
    "s1": figures.figure_s1,
    "s2": figures.figure_s2,
    "s3": figures.figure_s3,
    "s4": figures.figure_s4,
    "s5": figures.figure_s5,
}


def draw(
    rows: Positional[Path],
    *,
    figure: Literal["all", "3", "4", "s1", "s2", "s3", "s4", "s5"] = "all",
    out: Path | None = None,
) -> list[Path]:
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
        for path in save_figure(drawn(table), folder, f"figure_{name}")
    ]


def main() -> None:
    """The command line."""
    import tyro

    for path in tyro.cli(draw):
        print(path)


if __name__ == "__main__":
    main()
