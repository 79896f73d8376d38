"""What a command found, for a terminal and for programs."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from infoflow.partition import Partition

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Answer:
    """What a command found.

    Attributes:
        text: For people.
        facts: The same for programs: JSON-able after `plain`.
        ok: False where the command ran and what it found is wrong, as when two ways to the same
            number differ.
    """

    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    ok: bool = True


@dataclass(frozen=True, kw_only=True)
class Command:
    """What all commands have."""

    json: bool = False
    """Print one JSON document instead of text; progress goes to stderr either way."""

    def run(self) -> Answer:
        """Do it."""
        raise NotImplementedError


def say(text: str) -> None:
    """Progress, to stderr: stdout has the answer alone."""
    print(text, file=sys.stderr, flush=True)


def watched() -> bool:
    """Whether progress bars are of use: somebody looks at stderr."""
    return sys.stderr.isatty()


def plain(value: Any) -> Any:
    """JSON for what results hold: tables as lists of rows, partitions as labels, no NaN."""
    import pandas as pd

    if isinstance(value, pd.DataFrame):
        named = value.index.name is not None or value.index.nlevels > 1
        return plain((value.reset_index() if named else value).to_dict("records"))
    if isinstance(value, Partition):
        return value.given.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is pd.NA or value is pd.NaT:
        return None
    return str(value) if isinstance(value, Path) else value


def table(frame: pd.DataFrame, columns: Sequence[str] = ()) -> str:
    """A table that fits the terminal (or COLUMNS): four digits, long texts cut, and columns that
    have no room named below it.

    Args:
        frame: What to show; a named index is its first column.
        columns: Which, in order; all if empty.
    """
    shown = frame.reset_index() if frame.index.name is not None else frame
    shown = shown[list(columns)] if columns else shown
    wide = shutil.get_terminal_size((10_000, 24)).columns  # a pipe takes all
    cells = {name: [_cell(v) for v in shown[name]] for name in shown}
    widths = {name: max(len(str(name)), *map(len, cells[name]), 0) for name in cells}
    fitting, room = [], wide
    for name, width in widths.items():
        room -= width + 2
        if fitting and room < 0:
            break
        fitting.append(name)
    numbers = {name for name in fitting if shown[name].dtype.kind in "iuf"}
    lines = [
        "  ".join(
            text.rjust(widths[name]) if name in numbers else text.ljust(widths[name])
            for name, text in zip(fitting, row, strict=True)
        ).rstrip()
        for row in [fitting, *zip(*(cells[name] for name in fitting), strict=True)]
    ]
    left = [str(name) for name in cells if name not in fitting]
    more = [f"(no room for: {', '.join(left)}; --json has them)"] if left else []
    return "\n".join([*lines, *more])


def _cell(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        return "" if math.isnan(value) else f"{value:.4g}"
    text = str(value)
    return text if len(text) <= 46 else text[:45] + "…"
