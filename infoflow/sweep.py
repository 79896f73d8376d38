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

from infoflow._files import digest, write_atomically
from infoflow._pools import open_pool
from infoflow._provenance import git_commit, versions

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]
Function = Callable[..., Row | Sequence[Row]]

_FORMAT = "infoflow.sweep.2"  # files of rows have a digest


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
    if workers < 1:
        raise ValueError(f"workers: expected at least 1, got {workers}")
    folder = _open_folder(Path(folder).expanduser(), function, fixed)
    waiting = {key: task for key, task in chosen.items() if not _path(folder, key).exists()}
    failures: dict[str, Failure] = {}
    if waiting:
        from tqdm import tqdm

        about = {"git_commit": git_commit(), "versions": _versions()}
        bar = tqdm(total=len(chosen), initial=len(chosen) - len(waiting), disable=not progress)
        with bar, open_pool(workers, scheduler) as pool, _told(folder):
            for key, outcome in pool.run(_call, function, waiting, fixed):
                settings = {**waiting[key], **fixed}
                if outcome.startswith(_ROWS):
                    _write(folder, key, settings, json.loads(outcome[len(_ROWS) :]), about)
                else:
                    failures[key] = Failure(settings, outcome)
                bar.update()
    _write_failures(folder, failures)
    return _collect(folder, chosen, tuple(failures.values()))


def load_sweep(folder: str | Path) -> list[dict[str, Any]]:
    """All rows in a sweep's folder, of whatever tasks, ordered by settings.

    Raises:
        FileNotFoundError: No sweep there.
        ValueError: A file of rows is damaged.
    """
    folder = Path(folder).expanduser()
    if not (folder / "sweep.json").is_file():
        raise FileNotFoundError(f"no sweep in {folder}: expected a sweep.json that `sweep` wrote")
    contents = [_read_rows(path) for path in sorted((folder / "rows").glob("*.json"))]
    contents.sort(key=lambda content: content["order"])
    return [row for content in contents for row in _rows(content)]


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
        return traceback.format_exc()


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
    for task in map(dict, tasks):
        both = sorted(task.keys() & fixed.keys())
        if both:
            raise ValueError(f"settings {both} are in the task {task} and in `fixed` as well")
        try:
            text = json.dumps([_name(function), task, fixed], sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"expected JSON-able settings, got {task}: {error}") from error
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        if key in found:
            raise ValueError(f"the task {task} occurs twice")
        found[key] = task
    return found


def _shard(tasks: dict[str, Any], shard: tuple[int, int]) -> dict[str, Any]:
    number, count = shard
    if not 1 <= number <= count:
        raise ValueError(f"shard: expected (i, n) with 1 <= i <= n, got {shard}")
    return {key: task for n, (key, task) in enumerate(tasks.items()) if n % count == number - 1}


def _name(function: Function) -> str:
    name = getattr(function, "__qualname__", "<lambda>")
    if "<lambda>" in name:
        raise ValueError(
            f"expected a function with a name, by which its folder is known, got {function!r}; "
            "write it with `def`, and put what it shall be called with into `fixed`"
        )
    return f"{function.__module__}.{name}"


def _open_folder(folder: Path, function: Function, fixed: Mapping[str, Any]) -> Path:
    """Make the folder, or refuse one of another sweep."""
    about = {"format": _FORMAT, "function": _name(function), "fixed": json.loads(json.dumps(fixed))}
    path = folder / "sweep.json"
    if path.exists():
        earlier = _read(path)
        known = {**earlier.get("fixed", {}), "function": earlier.get("function")}
        asked = {**about["fixed"], "function": about["function"]}
        absent = object()
        differing = [
            f"{name} was {known.get(name, 'absent')!r} and is {asked.get(name, 'absent')!r}"
            for name in sorted(known.keys() | asked.keys())
            if known.get(name, absent) != asked.get(name, absent)
        ]
        if earlier.get("format") != _FORMAT:
            differing.append(f"format was {earlier.get('format')!r} and is {_FORMAT!r}")
        if differing:
            raise ValueError(
                f"{folder} holds an earlier sweep with other settings: {'; '.join(differing)}. "
                "Choose another folder, or the settings it was begun with"
            )
        return folder
    # another shard may be just here, too
    ours = {"sweep.json", "rows", "failed"}
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; choose a folder")
    others = [p.name for p in folder.glob("[!.]*") if p.name not in ours]
    if others:
        raise ValueError(f"{folder} holds other files ({others[0]}); choose an empty folder")
    (folder / "rows").mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(about, indent=1))
    return folder


def _path(folder: Path, key: str) -> Path:
    return folder / "rows" / f"{key}.json"


def _write(
    folder: Path, key: str, settings: Mapping[str, Any], rows: Any, about: Mapping[str, str]
) -> None:
    content = {
        "order": json.dumps(settings, sort_keys=True),
        "settings": settings,
        "provenance": {"config_hash": key, **about},
        "rows": rows,
    }
    write_atomically(_path(folder, key), json.dumps({**content, "digest": digest(content)}))


def _write_failures(folder: Path, failures: Mapping[str, Failure]) -> None:
    for path in (folder / "failed").glob("*.json"):
        if _path(folder, path.stem).exists():
            path.unlink()
    if failures:
        (folder / "failed").mkdir(exist_ok=True)
    for key, failure in failures.items():
        content = {"settings": dict(failure.settings), "error": failure.error}
        write_atomically(folder / "failed" / f"{key}.json", json.dumps(content, indent=1))


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); delete it and run the sweep again"
        ) from error


def _read_rows(path: Path) -> dict[str, Any]:
    content = _read(path)
    if content.pop("digest", None) != digest(content):
        raise ValueError(f"{path} is damaged (not as written); delete it and run the sweep again")
    return content


def _rows(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for row in content["rows"]:
        yield {**content["settings"], **row, **content["provenance"]}


def _collect(folder: Path, chosen: Iterable[str], failures: tuple[Failure, ...]) -> Sweep:
    keys = list(chosen)
    done = [key for key in keys if _path(folder, key).exists()]
    rows = tuple(row for key in done for row in _rows(_read_rows(_path(folder, key))))
    return Sweep(folder, len(keys), len(done), failures, rows)


def _versions() -> str:
    """Versions that decide the numbers, in one short text."""
    return " ".join(f"{name}={number}" for name, number in versions().items())
