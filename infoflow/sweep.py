"""Sweeps: a plain function over many settings, in parallel, resumable, one atomic file a task."""

from __future__ import annotations

import hashlib
import json
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from infoflow._arguments import door, each, items, mapping, told, whole
from infoflow._pools import open_pool
from infoflow._provenance import git_commit, versions, without_paths
from infoflow._sweep_folder import (
    open_folder,
    read_rows,
    rows_of,
    task_file,
    write_failures,
    write_rows,
)

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]
Function = Callable[..., Row | Sequence[Row]]


def _task(value: Any) -> dict[str, Any]:
    if value is None:
        raise ValueError("tasks: expected mappings of settings, got None")
    return dict(mapping("tasks: each", value))


def _pair(name: str, value: Any) -> tuple[int, ...]:
    found = tuple(each(whole(1))(name, value))
    if len(found) != 2 or not 1 <= found[0] <= found[1]:
        raise ValueError(f"{name}: expected (i, n) with 1 <= i <= n, got {told(value)}")
    return found


@dataclass(frozen=True)
class Failure:
    """A task that raised, or whose worker died each time it was tried."""

    settings: Mapping[str, Any]
    error: str


@dataclass(frozen=True, eq=False)
class Sweep:
    """What is in a sweep's folder, as far as its tasks go.

    Attributes:
        folder: Where the files are.
        tasks: Tasks asked for (of this shard).
        done: Of these, how many have their rows.
        failures: Those that failed in the last run; the next run tries them again.
        rows: Rows of all tasks done, in the order of the tasks, each with its provenance.
    """

    folder: Path
    tasks: int
    done: int
    failures: tuple[Failure, ...]
    rows: tuple[dict[str, Any], ...]

    def to_frame(self) -> pd.DataFrame:
        """All rows."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    def check(self) -> None:
        """Raises:
        RuntimeError: Tasks failed; their settings and errors are in it.
        """
        if self.failures:
            listed = "\n".join(f"failed: {f.settings}\n{f.error}" for f in self.failures)
            raise RuntimeError(
                f"{len(self.failures)} of {self.tasks} tasks failed; run the same again to try "
                f"them again\n{listed}"
            )

    def __repr__(self) -> str:
        return (
            f"Sweep({self.done} of {self.tasks} tasks done, {len(self.failures)} failed, "
            f"{len(self.rows)} rows in {self.folder})"
        )


def grid(**axes: Iterable[Any]) -> list[dict[str, Any]]:
    """The product of the axes, the last one fastest.

    Examples:
        >>> grid(seed=[0, 1], dropout=[0.0, 0.5])[1]
        {'seed': 0, 'dropout': 0.5}
    """
    settings: list[dict[str, Any]] = [{}]
    for name, values in axes.items():
        values = list(values)
        settings = [{**s, name: value} for s in settings for value in values]
    return settings


@door(
    tasks=items,
    fixed=mapping,
    shard=_pair,
)
def sweep(
    function: Function,
    tasks: Iterable[Mapping[str, Any]],
    folder: str | Path,
    *,
    fixed: Mapping[str, Any] | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    shard: tuple[int, int] = (1, 1),
    progress: bool = False,
) -> Sweep:
    """Rows of `function(**task, **fixed)` for every task; those in the folder are not run again.

    A task's rows are written in one step when it is done, so that a run killed at any moment goes
    on where it was: nothing is lost but the tasks under way, and nothing is there twice. A task
    that raises, exits or returns what cannot be a row is listed with its error and the others go
    on; so is one whose worker dies (each task under way when that happens is tried once more,
    alone).

    Args:
        function: Importable by the workers; returns one row or several, mappings of what JSON
            takes and of NumPy's numbers. A row may repeat a setting, not change it.
        tasks: Settings, JSON-able; a task is known by them, so the list may be extended later.
        folder: Made if missing; or that of an earlier run of the same function with equal `fixed`.
        fixed: Settings common to all tasks.
        workers: Processes on this machine; 1 runs everything in this process.
        scheduler: Address of a Dask scheduler (`tcp://...`) whose workers run the tasks instead.
        shard: `(i, n)`: run the i-th of n parts (from 1), for job arrays; parts may share a folder.
        progress: Show a bar over tasks.

    Raises:
        ValueError: The folder holds another sweep (the difference is named), tasks that are not
            JSON-able or occur twice, a function without a name, or a shard that does not exist.
        ConnectionError: The scheduler cannot be reached, has no workers or was lost; finished
            tasks are kept.
        OSError: Rows cannot be written, for example for lack of space; finished tasks are kept.

    Examples:
        >>> import tempfile
        >>> def square(x, power): return {"y": x**power}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = sweep(square, grid(x=[1, 2, 3]), folder, fixed={"power": 2})
        >>> found.to_frame()[["x", "power", "y"]].values.tolist()
        [[1, 2, 1], [2, 2, 4], [3, 2, 9]]
    """
    fixed = dict(fixed or {})
    chosen = _shard(_by_key(function, tasks, fixed), shard)
    folder = open_folder(Path(folder).expanduser(), _name(function), fixed)
    waiting = {key: task for key, task in chosen.items() if not task_file(folder, key).exists()}
    failures: dict[str, Failure] = {}
    if waiting:
        from tqdm import tqdm

        about = {"git_commit": git_commit(), "versions": _versions()}
        bar = tqdm(total=len(chosen), initial=len(chosen) - len(waiting), disable=not progress)
        with bar, open_pool(workers, scheduler) as pool, _told(folder):
            for key, outcome in pool.run(_call, function, waiting, fixed):
                settings = {**waiting[key], **fixed}
                if outcome.startswith(_ROWS):
                    write_rows(folder, key, settings, json.loads(outcome[len(_ROWS) :]), about)
                else:
                    failures[key] = Failure(settings, outcome)
                bar.update()
    write_failures(folder, failures)
    return _collect(folder, chosen, tuple(failures.values()))


@door()
def load_sweep(folder: str | Path) -> list[dict[str, Any]]:
    """All rows in a sweep's folder, of whatever tasks, ordered by settings.

    Raises:
        FileNotFoundError: No sweep there.
        ValueError: A file of rows is damaged.
    """
    folder = Path(folder).expanduser()
    if not (folder / "sweep.json").is_file():
        raise FileNotFoundError(f"no sweep in {folder}: expected a sweep.json that `sweep` wrote")
    contents = [read_rows(path) for path in sorted((folder / "rows").glob("*.json"))]
    contents.sort(key=lambda content: content["order"])
    return [row for content in contents for row in rows_of(content)]


_ROWS = "rows:"


def _call(function: Function, task: Mapping[str, Any], fixed: Mapping[str, Any]) -> str:
    """The rows as JSON, or the error: text always survives the way back."""
    settings = json.loads(json.dumps({**task, **fixed}))
    try:
        found = function(**task, **fixed)
        rows = [dict(found)] if isinstance(found, Mapping) else [dict(row) for row in found]
        text = json.dumps(rows, default=_number)
        for row in json.loads(text):
            for name in row.keys() & settings.keys():
                if row[name] != settings[name]:
                    raise ValueError(
                        f"a row says {name}={row[name]!r} where the setting is {settings[name]!r}; "
                        "give the result another name"
                    )
        return _ROWS + text
    except (Exception, SystemExit):
        return without_paths(traceback.format_exc())


def _number(value: Any) -> Any:
    """NumPy's and PyTorch's single numbers as Python's."""
    if isinstance(value, (np.generic, torch.Tensor)) and np.ndim(value) == 0:
        return value.item()
    raise TypeError(f"expected rows of numbers, text, lists and mappings, got {value!r}")


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Say after Ctrl-C how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        kept = len(list((folder / "rows").glob("*.json")))
        said = f"\ninterrupted: {kept} finished tasks are kept in {folder}; run the same again"
        print(said, file=sys.stderr, flush=True)
        raise


def _by_key(
    function: Function, tasks: Iterable[Mapping[str, Any]], fixed: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Tasks by the hash of function, settings and fixed settings."""
    found: dict[str, dict[str, Any]] = {}
    for task in map(_task, tasks):
        both = sorted(task.keys() & fixed.keys())
        if both:
            raise ValueError(f"settings {both} are in the task {task} and in `fixed` as well")
        try:
            written = json.dumps([_name(function), task, fixed], sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"tasks, fixed: expected JSON-able settings, got {task}, {fixed}: {error}"
            ) from error
        key = hashlib.sha256(written.encode()).hexdigest()[:16]
        if key in found:
            raise ValueError(f"the task {task} occurs twice")
        found[key] = task
    return found


def _shard(tasks: dict[str, Any], shard: tuple[int, int]) -> dict[str, Any]:
    number, count = shard
    return {key: task for n, (key, task) in enumerate(tasks.items()) if n % count == number - 1}


def _name(function: Function) -> str:
    name = getattr(function, "__qualname__", "<lambda>")
    if "<lambda>" in name or not callable(function):
        raise ValueError(
            f"function: expected a function with a name, by which its folder is known, got "
            f"{function!r}; write it with `def`, and put what it shall be called with into `fixed`"
        )
    return f"{function.__module__}.{name}"


def _collect(folder: Path, chosen: Iterable[str], failures: tuple[Failure, ...]) -> Sweep:
    keys = list(chosen)
    done = [key for key in keys if task_file(folder, key).exists()]
    rows = tuple(row for key in done for row in rows_of(read_rows(task_file(folder, key))))
    return Sweep(folder, len(keys), len(done), failures, rows)


def _versions() -> str:
    """Versions that decide the numbers, in one short text."""
    return " ".join(f"{name}={number}" for name, number in versions().items())
