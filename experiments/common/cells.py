"""Rows of many networks in one file, written as they come; what is there is not measured again."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from infoflow._files import write_atomically

Row = Mapping[str, Any]


def measure_cells(
    path: Path,
    fields: Sequence[str],
    key: Sequence[str],
    cells: Iterable[tuple[Any, ...]],
    study: Callable[..., Sequence[Row]],
    rows_each: int = 1,
) -> None:
    """Measure the cells whose rows are not all in the file yet.

    Args:
        path: A CSV file. Rows of a cell that was left off in the middle are taken out.
        fields: Its columns.
        key: Columns that name a cell.
        cells: Their values; `study(*cell)` gives the cell's rows.
        study: Measures one cell.
        rows_each: How many rows a cell has.
    """
    path.parent.mkdir(exist_ok=True)
    whole = _whole(path, key, rows_each)
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, list(fields), restval="")
    table.writeheader()
    for rows in whole.values():
        table.writerows(rows)
    write_atomically(path, text.getvalue())
    with open(path, "a", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(fields), restval="")
        for cell in cells:
            if tuple(map(str, cell)) not in whole:
                table.writerows(study(*cell))
                file.flush()
                print(*cell, flush=True)


def _whole(
    path: Path, key: Sequence[str], rows_each: int
) -> dict[tuple[str, ...], list[dict[str, str]]]:
    """Rows of the cells that have all of theirs, by cell."""
    found: dict[tuple[str, ...], list[dict[str, str]]] = {}
    if path.exists():
        text = path.read_bytes().decode()
        text = text[: text.rfind("\n") + 1]  # a line that was cut short may look like another
        for row in csv.DictReader(io.StringIO(text, newline="")):
            found.setdefault(tuple(row[name] for name in key), []).append(row)
    return {cell: rows for cell, rows in found.items() if len(rows) == rows_each}
