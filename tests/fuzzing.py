"""Calls of every public function with odd arguments, and what may come of one.

The right answer (what the plain value gives), or a clear error: raised by a `raise` of ours, a
TypeError, ValueError, KeyError or OSError that names the argument and says more. All else is a
fault: an error from inside, nonsense that is taken, a call that takes long.
"""

from __future__ import annotations

import ast
import linecache
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import infoflow as ifl
from tests.odd_values import Odd

PACKAGE = str(Path(ifl.__file__).parent)
LONGEST = 2.0  # seconds of processor time: other processes do not count
CLEAR = (TypeError, ValueError, KeyError, OSError)
# What an error may call an argument besides its name.
ALSO = {
    "S": ("similarit",), "a": ("partition", "label"), "b": ("partition", "label"),
    "inputs": ("input", "argument", "samples"), "targets": ("target",), "layers": ("layer",),
    "initial": ("partition", "label"), "source": ("unit", "layer"), "target": ("unit", "layer"),
    "labels": ("label",), "partition": ("label", "assignment"), "measures": ("measure",),
    "interventions": ("layer", "unit", "intervention", "values"),
    "path": ("result", "checkpoint", "at "), "folder": ("sweep",), "store": ("folder",),
    "starts": ("partition", "label"), "partitions": ("partition", "label"), "basis": ("direction",),
    "edges": ("edge",), "values": ("distribution", "values"), "within": ("label",),
    "units": ("unit", "layer"), "modules": ("unit", "label"), "tasks": ("task", "setting"),
}  # fmt: skip


@dataclass(frozen=True)
class Door:
    """A public function or constructor.

    Attributes:
        call: Takes the arguments by keyword.
        plain: Good arguments.
        odd: By argument, what else to hand in.
        slow: Good values are not tried, as each costs more than a few milliseconds.
    """

    call: Callable[..., Any]
    plain: Mapping[str, Any]
    odd: Mapping[str, Odd]
    slow: bool = False


class TooLong(BaseException):
    """Not an Exception, so that nothing on the way takes it for one."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def outcome(door: Door, changed: Mapping[str, Any]) -> tuple[str, Any]:
    """("answer", it), ("error", it) or ("too long", None)."""
    arguments = {**door.plain, **changed}
    try:
        with limited(LONGEST), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return "answer", door.call(**arguments)
    except TooLong:
        return "too long", None
    except Exception as error:
        return "error", error


@cache
def _raises(file: str) -> frozenset[int]:
    """Lines of a file that belong to a `raise`."""
    tree = ast.parse("".join(linecache.getlines(file)))
    found = [n for n in ast.walk(tree) if isinstance(n, ast.Raise)]
    return frozenset(line for n in found for line in range(n.lineno, (n.end_lineno or 0) + 1))


def unclear(error: Exception, names: tuple[str, ...]) -> str:
    """What is wrong with an error about one of these arguments; empty if nothing is."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(last.filename).name}:{last.lineno} {type(error).__name__}: {str(error)[:90]}"
    ours = last.filename.startswith(PACKAGE) and last.lineno in _raises(last.filename)
    if not isinstance(error, CLEAR) or not ours:
        return f"from inside: {where}"
    if "unknown " in str(error) and "Known: " in str(error) and len(str(error)) > 40:
        return ""  # and lists what is known
    words = [word for name in names for word in (name, *ALSO.get(name, ()))]
    if not any(word.lower() in str(error).lower() for word in words) or len(str(error)) < 25:
        return f"does not name the argument: {where}"
    return ""


def plainly(value: Any) -> Any:
    """A result as nested lists of numbers and texts, to compare."""
    if isinstance(value, (np.ndarray, torch.Tensor, np.generic)):
        return np.asarray(value).tolist()
    if isinstance(value, pd.DataFrame):
        return [list(map(str, value.columns)), plainly(value.to_numpy())]
    if isinstance(value, ifl.Partition):
        return value.given.tolist()
    if isinstance(value, ifl.Recording):
        return plainly(dict(value.activations))
    if isinstance(value, Mapping):
        return {str(key): plainly(part) for key, part in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plainly(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, (list, tuple)):
        return [plainly(part) for part in value]
    return value if isinstance(value, (int, float, str, type(None))) else type(value).__name__


def same(one: Any, other: Any) -> bool:
    """Equal results; nan is nan."""
    return repr(plainly(one)) == repr(plainly(other))
