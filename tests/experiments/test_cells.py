"""Claims about rows that grow: none is lost, none is measured twice."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from experiments.common.cells import measure_cells

FIELDS = ("a", "b", "part", "value")
CELLS = [(seed, kind) for seed in range(3) for kind in "xy"]


def _grow(path: Path, seen: list[tuple[int, str]], stop_at: int | None = None) -> None:
    def study(seed: int, kind: str) -> list[dict[str, object]]:
        if len(seen) == stop_at:
            raise KeyboardInterrupt
        seen.append((seed, kind))
        return [{"a": seed, "b": kind, "part": part, "value": seed / 3} for part in (0, 1)]

    measure_cells(path, FIELDS, FIELDS[:2], CELLS, study, rows_each=2)


def test_a_run_broken_off_goes_on_and_measures_no_cell_again(tmp_path: Path) -> None:
    path, seen = tmp_path / "results" / "rows.csv", []
    with pytest.raises(KeyboardInterrupt):
        _grow(path, seen, stop_at=3)
    _grow(path, seen)
    assert seen == CELLS
    before = path.read_bytes()
    _grow(path, seen)
    assert seen == CELLS and path.read_bytes() == before


@pytest.mark.parametrize("cut", [1, 6, 14])
def test_a_cell_that_was_left_off_in_the_middle_is_measured_again(tmp_path: Path, cut: int) -> None:
    path, seen = tmp_path / "rows.csv", []
    _grow(path, seen)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    _grow(path, seen)
    assert seen == [*CELLS, CELLS[-1]]
    with open(path, newline="") as file:
        assert [row["value"] for row in csv.DictReader(file)][-1] == str(2 / 3)
    assert path.read_bytes() == whole
