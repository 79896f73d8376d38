"""Real Dask clusters on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@contextmanager
def _process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process of this Python, ended at the end."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


@contextmanager
def cluster(tmp_path: Path, workers: int = 2) -> Iterator[tuple[str, list[subprocess.Popen[str]]]]:
    """A real Dask scheduler and two worker processes."""
    pytest.importorskip("distributed")
    local = ("--host", "127.0.0.1", "--no-dashboard")
    about = tmp_path / "scheduler.json"
    with ExitStack() as stack:
        scheduler = ("distributed.cli.dask_scheduler", *local, "--port", "0")
        stack.enter_context(_process(*scheduler, "--scheduler-file", str(about)))
        deadline = time.monotonic() + 60
        while not about.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        address = json.loads(about.read_text())["address"]
        worker = ("distributed.cli.dask_worker", address, *local, "--nthreads", "1", "--no-nanny")
        scratch = ("--local-directory", str(tmp_path))
        yield address, [stack.enter_context(_process(*worker, *scratch)) for _ in range(workers)]
