"""Functions that the sweeps of the tests run, in other processes too."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def square(x: int, power: int = 2, log: str | None = None) -> dict[str, Any]:
    """One row; every call leaves a line in `log`."""
    if log is not None:
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(f"{x}\n")
    return {"y": x**power, "third": x / 3}


def slow_square(x: int, log: str, seconds: float) -> list[dict[str, Any]]:
    """Two rows, after a while."""
    time.sleep(seconds)
    return [{"part": part, **square(x, log=log)} for part in ("a", "b")]


def fails_at_three(x: int) -> dict[str, Any]:
    """Raises at one setting."""
    if x == 3:
        raise RuntimeError("three is too much")
    return {"y": x}


def dies_at_three(x: int) -> dict[str, Any]:
    """At one setting the worker is killed, as the kernel does when memory runs out."""
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"y": x}


def dies_once(x: int, marker: str) -> dict[str, Any]:
    """The worker is killed the first time that 3 comes up."""
    if x == 3 and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"y": x}


def odd_results(x: int) -> Any:
    """NumPy's numbers at 0; then an exit, a row of no JSON, one that changes a setting, no rows."""
    if x == 1:
        sys.exit("enough")
    return [{"y": np.float32(0.5), "n": np.int64(3)}, None, {"y": object()}, {"x": 7}, 5][x]


def waits(x: int, folder: str) -> dict[str, Any]:
    """Leaves its process number, and does not come back by itself."""
    (Path(folder) / f"{os.getpid()}.pid").touch()
    time.sleep(60)
    return {"y": x}
