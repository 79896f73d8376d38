"""Rows of many networks in one file, written as they come; what is there is not measured again."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
Row = dict[str, object]


def grown(
    path: Path,
    fields: Sequence[str],
    key: Sequence[str],
    cells: Iterable[tuple[object, ...]],
    study: Callable[..., list[Row]],
    rows_each: int = 1,
) -> None:
    """Measure the cells whose rows are not all in the file yet.

    Args:
        path: A CSV file.
        fields: Its columns.
        key: Columns that name a cell.
        cells: Their values; `study(*cell)` gives the cell's rows.
        study: Measures one cell.
        rows_each: How many rows a cell has.
    """
    path.parent.mkdir(exist_ok=True)
    by_cell: dict[tuple[str, ...], list[dict[str, str]]] = {}
    if path.exists():
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if None not in row.values():  # a line that was cut short
                    by_cell.setdefault(tuple(row[name] for name in key), []).append(row)
    whole = {cell: rows for cell, rows in by_cell.items() if len(rows) == rows_each}
    names: list[str] = list(fields)
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, names)
        table.writeheader()
        for rows in whole.values():
            table.writerows(rows)
        for cell in cells:
            if tuple(map(str, cell)) not in whole:
                table.writerows(study(*cell))
                file.flush()
