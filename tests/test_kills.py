"""Sweeps and searches that are killed at any moment lose, double and tear nothing."""

import os

import torch

from infoflow._files import remove_partials, write_atomically
from infoflow._pools import _remove_semaphores
from tests.kills import METHODS, kill, killed


def test_ten_kills_lose_double_and_tear_nothing() -> None:
    torch.set_num_threads(1)
    assert kill(10, seed=0, methods=METHODS[:2]) >= 10


def test_what_killed_processes_left_is_taken_away_and_nothing_else(tmp_path) -> None:
    assert killed(lambda: write_atomically(tmp_path / "a.json", "{}"), 1, writing=True)
    (left,) = tmp_path.iterdir()
    ours = left.with_name(left.name.replace(left.name.split("-")[-1], f"{os.getpid()}.partial"))
    others = tmp_path / ".a.json.elsewhere-1.partial"
    for path in (ours, others):
        path.touch()
    remove_partials(tmp_path)
    assert {*tmp_path.iterdir()} == {ours, others}


def test_semaphores_of_killed_drivers_are_taken_away_and_no_others(tmp_path) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    gone, running = (tmp_path / f"sem.loky-{pid}-x1" for pid in (child, os.getpid()))
    for path in (gone, running):
        path.touch()
    _remove_semaphores(tmp_path)
    assert [*tmp_path.iterdir()] == [running]
