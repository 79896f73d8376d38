"""Sweeps and searches killed at any moment, and run again: nothing lost, doubled or torn.

`python -m tests.kills --times 60` is the nightly run; `tests/test_kills.py` does ten.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import infoflow as ifl
from infoflow.sweep import grid, sweep
from tests.nets import normal, seeded
from tests.sweep_functions import slow_square

TASKS = grid(x=range(8))
SECONDS = 0.02  # of a task


def killed(run: Callable[[], object], moment: float, *, writing: bool = False) -> bool:
    """Run it in a process of its own that is killed after `moment` seconds, or (`writing`) when it
    writes its n-th file, n from `moment`: whole on disk, but without its name. Was it killed?"""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside other threads
        child = os.fork()
    if child == 0:
        try:
            if writing:
                left, written = [round(moment)], os.fsync

                def fsync(file: int) -> None:
                    written(file)
                    left[0] -= 1
                    if left[0] <= 0:
                        os.kill(os.getpid(), signal.SIGKILL)

                os.fsync = fsync
            run()
        finally:
            os._exit(0)
    if not writing:
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def killed_sweep(folder: Path, moments: list[float], *, writing: bool, workers: int = 1) -> int:
    """A sweep killed at each of the moments, then finished; how often it was killed.

    Raises:
        AssertionError: Something is lost, there twice, or torn.
    """
    log = folder / "log"
    fixed = {"log": str(log), "seconds": SECONDS}

    def run() -> Any:
        return sweep(slow_square, TASKS, folder / "s", fixed=fixed, workers=workers)

    count, kept = 0, {}
    for moment in moments:
        count += killed(run, moment, writing=writing)
        rows = {path.name: path.read_bytes() for path in (folder / "s" / "rows").glob("*.json")}
        assert kept.items() <= rows.items()  # nothing that was there has gone or changed
        kept = rows
    found = run()
    assert [(r["x"], r["part"], r["y"]) for r in found.rows] == [
        (x, part, x * x) for x in range(len(TASKS)) for part in "ab"
    ]
    assert not [*folder.rglob("*.partial")]
    again = len(log.read_text(encoding="utf-8").split()) - 2 * len(TASKS)
    assert again <= 2 * count * workers  # only what was under way is done again
    return count


def recording() -> ifl.Recording:
    net = seeded(lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 4)))
    return ifl.record(net, ["1", "2"], normal(40, 4))


SEARCH: dict[str, Any] = {"budget": 120, "samples": 4, "donors": 10, "contexts": 10, "seed": 3}


@cache
def undisturbed(rec: ifl.Recording, method: str) -> ifl.SearchResult:
    """What a search finds that is never killed."""
    return ifl.search(rec, method=method, **SEARCH)


def killed_search(
    folder: Path, rec: ifl.Recording, method: str, moments: list[float], *, writing: bool
) -> int:
    """A search with a checkpoint killed at each of the moments, then finished; how often.

    Raises:
        AssertionError: It does not end as one that was never killed, or leaves something behind.
    """
    options = {**SEARCH, "method": method}
    whole = undisturbed(rec, method)

    def run() -> ifl.SearchResult:
        return ifl.search(rec, checkpoint=folder / "search.npz", **options)

    count = sum(killed(run, moment, writing=writing) for moment in moments)
    found = run()
    assert found.partition == whole.partition and found.score == whole.score
    assert found.trail.tobytes() == whole.trail.tobytes()
    assert found.exchange.flow.tobytes() == whole.exchange.flow.tobytes()
    assert [path.name for path in folder.iterdir()] == ["search.npz"]
    return count


METHODS = ("sampling", "annealing", "genetic", "climbing", "screened")


def kill(
    times: int, seed: int, workers: Sequence[int] = (1,), methods: Sequence[str] = METHODS
) -> int:
    """Kill sweeps and searches in turn until that many were; how many were."""
    rng, rec, count = random.Random(seed), recording(), 0
    for turn in range(10 * times):
        if count >= times:
            break
        writing = turn % 4 < 2
        with tempfile.TemporaryDirectory() as place:
            if turn % 2:
                moments = [rng.randint(1, 2) if writing else rng.uniform(0, 0.3) for _ in range(2)]
                method = methods[turn // 2 % len(methods)]
                count += killed_search(Path(place), rec, method, moments, writing=writing)
            else:
                many = workers[turn // 2 % len(workers)]
                most = SECONDS * len(TASKS)
                moments = [rng.randint(1, 5) if writing else rng.uniform(0, most) for _ in range(2)]
                count += killed_sweep(Path(place), moments, writing=writing, workers=many)
    return count


if __name__ == "__main__":
    torch.set_num_threads(1)
    wanted = int(sys.argv[sys.argv.index("--times") + 1]) if "--times" in sys.argv else 60
    begun, seed = time.monotonic(), int(np.random.SeedSequence().entropy % 2**32)  # type: ignore[operator]
    print(
        f"seed {seed}: {kill(wanted, seed, (1, 2))} kills, nothing lost, doubled or torn, in "
        f"{time.monotonic() - begun:.0f} s"
    )
