"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from glob import escape
from pathlib import Path
from platform import node
from typing import Any


def digest(content: Mapping[str, Any], *more: bytes) -> str:
    """What tells a damaged file: a hash of JSON-able content, and of bytes beside it."""
    found = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for part in more:
        found.update(part)
    return found.hexdigest()[:32]


def is_running(process: int) -> bool:
    """Whether this machine has a process of that number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def remove_partials(folder: Path, name: str = "*") -> None:
    """Take away what processes of this machine that were killed had begun to write."""
    for left in folder.glob(f".{name}.{escape(node())}-*.partial"):
        process = left.name.removesuffix(".partial").rpartition("-")[2]
        if process.isdigit() and not is_running(int(process)):
            left.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file in one step: whatever happens on the way, it is either whole or as it was.

    Raises:
        OSError: It cannot be written; an earlier file at `path` is then untouched.
    """
    whole = content.encode("utf-8") if isinstance(content, str) else content
    # of this process alone: two may write the same file
    partial = path.with_name(f".{path.name}.{node()}-{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(whole)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise OSError(
            error.errno,
            f"could not write {path} ({error.strerror}); what was written before is kept: make "
            "room and run the same command again",
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def without_formulas(table: Any) -> Any:
    """A table with `'` before texts that a spreadsheet would take for formulas (= + - @), and
    before those that have one: in its cells, its index and its columns' names."""

    def plain(value: Any) -> Any:
        return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value

    def named(index: Any) -> Any:
        return index if index.dtype.kind in "iufb" else index.map(_each(plain))

    def cells(column: Any) -> Any:
        return column if column.dtype.kind in "iufb" else column.map(plain)

    table = table.apply(cells) if len(table) else table
    return table.set_axis(named(table.index), axis=0).set_axis(named(table.columns), axis=1)


def with_formula(text: str) -> str:
    """What a text was before `without_formulas`."""
    return text[1:] if text.startswith("'") else text


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


def _each(plain: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same for the parts of an index of several levels."""
    return lambda key: tuple(map(plain, key)) if isinstance(key, tuple) else plain(key)
