"""The folder of a sweep: `sweep.json`, a file of rows a task, and one of the error of each that
failed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from infoflow._files import digest, remove_partials, write_atomically

_FORMAT = "infoflow.sweep.2"  # files of rows have a digest


def open_folder(folder: Path, function: str, fixed: Mapping[str, Any]) -> Path:
    """Make the folder, or refuse one of another sweep.

    Raises:
        ValueError: Another sweep's, which differs in the function or `fixed`, or none's.
    """
    about = {"format": _FORMAT, "function": function, "fixed": json.loads(json.dumps(fixed))}
    path = folder / "sweep.json"
    for place in (folder, folder / "rows", folder / "failed"):
        remove_partials(place)
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


def task_file(folder: Path, key: str) -> Path:
    """Where the rows of a task are, or will be."""
    return folder / "rows" / f"{key}.json"


def write_rows(
    folder: Path, key: str, settings: Mapping[str, Any], rows: Any, about: Mapping[str, str]
) -> None:
    """A task's rows, with its settings and what is said about the run."""
    content = {
        "order": json.dumps(settings, sort_keys=True),
        "settings": settings,
        "provenance": {"config_hash": key, **about},
        "rows": rows,
    }
    write_atomically(task_file(folder, key), json.dumps({**content, "digest": digest(content)}))


def write_failures(folder: Path, failures: Mapping[str, Any]) -> None:
    """Settings and error of each task that failed; those of tasks that are done now go."""
    for path in (folder / "failed").glob("*.json"):
        if task_file(folder, path.stem).exists():
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


def read_rows(path: Path) -> dict[str, Any]:
    """What `write_rows` wrote.

    Raises:
        ValueError: It is damaged.
    """
    content = _read(path)
    if content.pop("digest", None) != digest(content):
        raise ValueError(f"{path} is damaged (not as written); delete it and run the sweep again")
    return content


def rows_of(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Each row with its settings and provenance."""
    for row in content["rows"]:
        yield {**content["settings"], **row, **content["provenance"]}
