"""Claims about sweeps: nothing lost, nothing twice, whatever dies; and the same rows anywhere."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread

import pytest

import infoflow._provenance as provenance
from infoflow import _pools
from infoflow.sweep import git_commit, grid, load_sweep, sweep
from tests import sweep_functions as functions
from tests.clusters import cluster

ROOT = Path(__file__).parent.parent
XS = grid(x=range(5))


def _values(rows: object) -> list[tuple[int, int]]:
    return [(row["x"], row["y"]) for row in rows]  # type: ignore[attr-defined]


def test_every_row_has_settings_result_and_provenance(tmp_path: Path) -> None:
    found = sweep(functions.square, XS, tmp_path / "s", fixed={"power": 3})
    assert (found.tasks, found.done, found.failures) == (5, 5, ())
    assert _values(found.rows) == [(x, x**3) for x in range(5)]
    row = found.rows[1]
    assert row["power"] == 3 and row["third"] == 1 / 3
    assert row["git_commit"] == git_commit() and "torch=" in row["versions"]
    assert len({row["config_hash"] for row in found.rows}) == 5
    assert sorted(map(str, load_sweep(tmp_path / "s"))) == sorted(map(str, found.rows))


def test_a_second_run_repeats_nothing_and_may_extend(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    sweep(functions.square, XS, tmp_path / "s", fixed={"log": log})
    found = sweep(functions.square, grid(x=range(7)), tmp_path / "s", fixed={"log": log})
    assert _values(found.rows) == [(x, x * x) for x in range(7)]
    assert sorted(map(int, Path(log).read_text().split())) == list(range(7))


def test_a_changed_configuration_is_refused_and_the_difference_named(tmp_path: Path) -> None:
    sweep(functions.square, XS, tmp_path / "s", fixed={"power": 3})
    with pytest.raises(ValueError, match="power was 3 and is 2"):
        sweep(functions.square, XS, tmp_path / "s", fixed={"power": 2})
    with pytest.raises(ValueError, match=r"function was .*square.* and is .*fails_at_three"):
        sweep(functions.fails_at_three, XS, tmp_path / "s", fixed={"power": 3})
    assert len(load_sweep(tmp_path / "s")) == 5


@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_that_raises_is_listed_and_the_others_go_on(tmp_path: Path, workers: int) -> None:
    found = sweep(functions.fails_at_three, XS, tmp_path / "s", workers=workers)
    assert sorted(_values(found.rows)) == [(0, 0), (1, 1), (2, 2), (4, 4)]
    (failure,) = found.failures
    assert failure.settings == {"x": 3} and "three is too much" in failure.error
    (listed,) = (tmp_path / "s" / "failed").iterdir()
    assert json.loads(listed.read_text())["settings"] == {"x": 3}
    with pytest.raises(RuntimeError, match=r"(?s)1 of 5 tasks failed.*three is too much"):
        found.check()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_result_that_is_no_row_fails_its_task_alone(tmp_path: Path, workers: int) -> None:
    found = sweep(functions.odd_results, XS, tmp_path / "s", workers=workers)
    (row,) = found.rows
    assert (row["y"], row["n"]) == (0.5, 3)
    said = {failure.settings["x"]: failure.error for failure in found.failures}
    reasons = {1: "enough", 2: "expected rows of numbers", 3: "the setting is 3", 4: "iterable"}
    assert said.keys() == reasons.keys()
    assert all(reason in said[x] for x, reason in reasons.items())


def _waiting(tmp_path: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """A driver in its own session, and the numbers of its two workers, all of them waiting."""
    code = (
        "from infoflow.sweep import *; from tests.sweep_functions import waits; "
        f"sweep(waits, grid(x=range(4)), {str(tmp_path / 's')!r}, "
        f"fixed={{'folder': {str(tmp_path)!r}}}, workers=2)"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("*.pid"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    return driver, [int(path.stem) for path in tmp_path.glob("*.pid")]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_driver_that_is_asked_to_stop_takes_its_workers_along(
    tmp_path: Path, sent: signal.Signals
) -> None:
    driver, workers = _waiting(tmp_path)
    try:
        assert len(workers) == 2
        os.kill(driver.pid, sent)
        _, said = driver.communicate(timeout=60)
        assert driver.returncode != 0
        assert ("interrupted: 0 finished tasks are kept" in said) == (sent == signal.SIGINT)
        deadline = time.monotonic() + 20
        while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(driver.pid, signal.SIGKILL)


def test_a_worker_that_dies_fails_its_task_alone(tmp_path: Path) -> None:
    found = sweep(functions.dies_at_three, XS, tmp_path / "s", workers=2)
    assert sorted(_values(found.rows)) == [(0, 0), (1, 1), (2, 2), (4, 4)]
    (failure,) = found.failures
    assert failure.settings == {"x": 3} and "worker process died" in failure.error


def test_a_worker_killed_once_costs_nothing(tmp_path: Path) -> None:
    marker = str(tmp_path / "killed")
    found = sweep(functions.dies_once, XS, tmp_path / "s", fixed={"marker": marker}, workers=2)
    assert Path(marker).exists() and found.failures == ()
    assert sorted(_values(found.rows)) == [(x, x) for x in range(5)]


def test_a_driver_killed_on_the_way_loses_and_doubles_nothing(tmp_path: Path) -> None:
    folder, log = tmp_path / "s", str(tmp_path / "log")
    fixed = {"log": log, "seconds": 0.2}
    code = (
        "from infoflow.sweep import *; from tests.sweep_functions import slow_square; "
        f"sweep(slow_square, grid(x=range(12)), {str(folder)!r}, fixed={fixed!r}, workers=2)"
    )
    driver = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while len(list(folder.glob("rows/*.json"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
    before = {path.name for path in folder.glob("rows/*.json")}
    assert 3 <= len(before) < 12
    found = sweep(functions.slow_square, grid(x=range(12)), folder, fixed=fixed)
    assert [(r["x"], r["part"]) for r in found.rows] == [(x, p) for x in range(12) for p in "ab"]
    assert len(Path(log).read_text().split()) <= 2 * (12 + 2)  # again only what was under way


def test_shards_share_the_work_out_and_the_folder(tmp_path: Path) -> None:
    parts = [sweep(functions.square, XS, tmp_path / "s", shard=(i, 3)) for i in (1, 2, 3)]
    xs = [row["x"] for part in parts for row in part.rows]
    assert sorted(xs) == list(range(5)) and [part.tasks for part in parts] == [2, 2, 1]
    assert len(load_sweep(tmp_path / "s")) == 5


def test_no_space_is_said_and_what_was_written_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(functions.square, XS[:3], tmp_path / "s")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"No space left.*written before is kept") as caught:
            sweep(functions.square, XS, tmp_path / "s")
    assert caught.value.errno == errno.ENOSPC
    assert sorted(_values(load_sweep(tmp_path / "s"))) == [(0, 0), (1, 1), (2, 4)]
    assert not list((tmp_path / "s").rglob("*.partial"))
    assert sweep(functions.square, XS, tmp_path / "s").done == 5


def test_what_cannot_be_a_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="twice"):
        sweep(functions.square, [{"x": 1}, {"x": 1}], tmp_path / "s")
    with pytest.raises(ValueError, match="JSON-able"):
        sweep(functions.square, [{"x": object()}], tmp_path / "s")
    with pytest.raises(ValueError, match="in `fixed` as well"):
        sweep(functions.square, XS, tmp_path / "s", fixed={"x": 1})
    with pytest.raises(ValueError, match="shard"):
        sweep(functions.square, XS, tmp_path / "s", shard=(4, 3))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    with pytest.raises(ValueError, match=re.escape("other files (thesis.txt)")):
        sweep(functions.square, XS, tmp_path / "other")
    with pytest.raises(FileNotFoundError, match="no sweep"):
        load_sweep(tmp_path / "other")


def test_a_damaged_file_of_rows_is_named(tmp_path: Path) -> None:
    sweep(functions.square, XS, tmp_path / "s")
    path = next((tmp_path / "s" / "rows").iterdir())
    path.write_text(path.read_text()[:20])
    with pytest.raises(ValueError, match=f"{path.name} is damaged"):
        load_sweep(tmp_path / "s")


def test_no_flipped_bit_in_rows_goes_unnoticed(tmp_path: Path) -> None:
    sweep(functions.square, XS, tmp_path / "s")
    path = next((tmp_path / "s" / "rows").iterdir())
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged"):
            load_sweep(tmp_path / "s")


def test_a_function_without_a_name_is_refused(tmp_path: Path) -> None:
    for nameless in (lambda x: {"y": x}, partial(functions.square, power=3)):
        with pytest.raises(ValueError, match="expected a function with a name"):
            sweep(nameless, XS, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_the_commit_is_this_checkouts_and_not_that_of_a_project_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    around = tmp_path / "theirs" / "site-packages" / "infoflow"
    around.mkdir(parents=True)
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "theirs"]):
        about = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", *about, *command], cwd=tmp_path / "theirs", check=True)
    monkeypatch.setattr(provenance, "__file__", str(around / "_provenance.py"))
    assert provenance.git_commit() == ""


def test_a_home_folder_is_written_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    sweep(functions.square, XS, "~/s")
    assert len(load_sweep("~/s")) == 5 and (tmp_path / "s").is_dir()


def _kill_after_two_rows(worker: subprocess.Popen[str], folder: Path) -> None:
    deadline = time.monotonic() + 60
    while len(list(folder.glob("rows/*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    worker.kill()
    worker.wait()


def test_a_dask_cluster_gives_the_same_rows_also_when_a_worker_dies(tmp_path: Path) -> None:
    tasks, log = grid(x=range(12)), str(tmp_path / "log")
    fixed = {"log": log, "seconds": 0.1}
    here = sweep(functions.slow_square, tasks, tmp_path / "here", fixed=fixed)
    with cluster(tmp_path) as (address, workers):
        there = sweep(functions.slow_square, tasks, tmp_path / "a", fixed=fixed, scheduler=address)
        assert there.rows == here.rows
        killer = Thread(target=_kill_after_two_rows, args=(workers[0], tmp_path / "b"))
        killer.start()
        again = sweep(functions.slow_square, tasks, tmp_path / "b", fixed=fixed, scheduler=address)
        killer.join()
        assert workers[0].poll() is not None
        assert again.rows == here.rows and again.failures == ()
        bad = sweep(functions.fails_at_three, XS, tmp_path / "c", scheduler=address)
        assert bad.done == 4 and "three is too much" in bad.failures[0].error


def test_a_scheduler_out_of_reach_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    sweep(functions.square, XS[:2], tmp_path / "s")
    with pytest.raises(ConnectionError, match=r"no Dask scheduler answers at 'tcp://127.0.0.1:9'"):
        sweep(functions.square, XS, tmp_path / "s", scheduler="tcp://127.0.0.1:9")
    assert len(load_sweep(tmp_path / "s")) == 2


def test_a_scheduler_without_workers_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pools, "WORKERS_WITHIN", 0.5)
    none = pytest.raises(ConnectionError, match=r"has no workers after 0\.5 s")
    with cluster(tmp_path, workers=0) as (address, _), none:
        sweep(functions.square, XS, tmp_path / "s", scheduler=address)


def test_an_error_says_where_without_saying_whose_machine(tmp_path: Path) -> None:
    found = sweep(functions.fails_at_three, XS, tmp_path / "s")
    (listed,) = (tmp_path / "s" / "failed").iterdir()
    for text in (found.failures[0].error, listed.read_text()):
        assert "sweep_functions.py" in text and "three is too much" in text
        assert not any(str(place) in text for place in (ROOT, Path.home(), Path(sys.prefix)))
