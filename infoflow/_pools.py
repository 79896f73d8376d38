"""Where the tasks of a sweep run: in this process, in processes of this machine, or on Dask."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGTERM
from threading import current_thread, main_thread
from typing import Any, Protocol

from infoflow._files import is_running

Call = Callable[..., Any]
Tasks = Mapping[str, Mapping[str, Any]]
WORKERS_WITHIN = 30  # seconds for the first worker to show up


class Died(str):
    """The text of a failure for which there is no traceback: the worker process is gone."""


class Pool(Protocol):
    """Runs `call(function, task, fixed)` for every task, and yields outcomes as they come.

    `call` raises nothing and returns text, so that it always comes back."""

    def run(
        self, call: Call, function: Call, tasks: Tasks, fixed: Mapping[str, Any]
    ) -> Iterator[tuple[str, Any]]: ...


@contextmanager
def open_pool(workers: int, scheduler: str | None) -> Iterator[Pool]:
    """The pool asked for; closed afterwards.

    Raises:
        ConnectionError: The scheduler cannot be reached.
        ImportError: Dask is not installed.
    """
    if scheduler is not None:
        with connect(scheduler) as client:
            yield Dask(client)
    elif workers > 1:
        with _terminated():
            yield Processes(workers)
    else:
        yield Here()


class Here:
    """One task after another in this process."""

    def run(
        self, call: Call, function: Call, tasks: Tasks, fixed: Mapping[str, Any]
    ) -> Iterator[tuple[str, Any]]:
        for key, task in tasks.items():
            yield key, call(function, task, fixed)


class Processes:
    """Processes of this machine (joblib's loky), each kept to one thread by the caller."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(
        self, call: Call, function: Call, tasks: Tasks, fixed: Mapping[str, Any]
    ) -> Iterator[tuple[str, Any]]:
        """As many tasks under way as there are workers: when one dies, these are the suspects.
        Each suspect runs again alone, and if its worker dies again it was the cause."""
        waiting = dict(tasks)
        while waiting:
            suspects: list[str] = []
            for key, outcome in self._until_death(
                call, function, dict(waiting), fixed, self.workers
            ):
                if isinstance(outcome, Died):
                    suspects.append(key)
                else:
                    del waiting[key]
                    yield key, outcome
            for key in suspects:
                alone = {key: waiting.pop(key)}
                yield from self._until_death(call, function, alone, fixed, 1)

    def _until_death(
        self, call: Call, function: Call, tasks: Tasks, fixed: Mapping[str, Any], workers: int
    ) -> Iterator[tuple[str, Any]]:
        """Outcomes until a worker dies; then `Died` for each task under way, and no more."""
        from concurrent.futures import FIRST_COMPLETED, Future, wait
        from concurrent.futures.process import BrokenProcessPool

        from joblib.externals.loky import ProcessPoolExecutor

        _remove_semaphores()
        executor = ProcessPoolExecutor(max_workers=workers, initializer=_leave_ctrl_c)
        queue = iter(tasks.items())
        under_way: dict[Future[Any], str] = {}
        try:
            broken = False
            while True:
                while not broken and len(under_way) < workers:
                    following = next(queue, None)
                    if following is None:
                        break
                    key, task = following
                    try:
                        future = executor.submit(call, function, dict(task), dict(fixed))
                    except BrokenProcessPool as error:  # a worker died since the last outcome
                        broken = True
                        yield key, Died(f"the worker process died: {error}")
                    else:
                        under_way[future] = key
                if not under_way:
                    return
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    key = under_way.pop(future)
                    try:
                        outcome = future.result()
                    except BrokenProcessPool as error:
                        broken, outcome = True, Died(f"the worker process died: {error}")
                    yield key, outcome
        finally:
            executor.shutdown(wait=True, kill_workers=True)


class Dask:
    """The workers of a Dask cluster, which tries a task on other workers when one dies."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def run(
        self, call: Call, function: Call, tasks: Tasks, fixed: Mapping[str, Any]
    ) -> Iterator[tuple[str, Any]]:
        from concurrent.futures import CancelledError

        from distributed import KilledWorker, as_completed

        submitted = {
            self.client.submit(call, function, dict(task), dict(fixed), pure=False): key
            for key, task in tasks.items()
        }
        with self.client.as_current():
            completed = as_completed(list(submitted))
        for future in completed:
            try:
                outcome = future.result()
            except KilledWorker as error:
                outcome = Died(f"the workers that ran it died: {error}")
            except CancelledError as error:
                raise ConnectionError(
                    "the connection to the Dask scheduler was lost; finished tasks are kept, run "
                    "the same command again once it is back"
                ) from error
            key = submitted.pop(future)
            future.release()
            yield key, outcome


def _remove_semaphores(folder: Path = Path("/dev/shm")) -> None:
    """Take away what loky left in shared memory under the numbers of drivers that were killed."""
    for left in folder.glob("sem.loky-*"):
        process = left.name.split("-")[1]
        if process.isdigit() and not is_running(int(process)):
            with suppress(OSError):  # somebody else's
                left.unlink()


def _leave_ctrl_c() -> None:
    """Ctrl-C reaches all processes of a terminal; the driver alone answers it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _terminated() -> Iterator[None]:
    """SIGTERM ends this process as an exit does, so that what it started is ended too."""
    if current_thread() is not main_thread() or signal.getsignal(SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(SIGTERM, signal.SIG_DFL)


def connect(scheduler: str) -> Any:
    """A client of the Dask scheduler at that address, with at least one worker.

    Raises:
        ConnectionError: It cannot be reached, or has no workers.
        ImportError: Dask is not installed.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError(
            'a Dask scheduler was asked for; install it: pip install "infoflow[cluster]"'
        ) from error
    try:
        client = Client(scheduler, timeout="10s", set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ConnectionError(
            f"no Dask scheduler answers at {scheduler!r} ({error}); start one with "
            "`dask scheduler` and pass the address it prints. Finished tasks are kept"
        ) from error
    try:
        client.wait_for_workers(1, timeout=WORKERS_WITHIN)
    except TimeoutError as error:
        client.close()
        raise ConnectionError(
            f"the Dask scheduler at {scheduler!r} has no workers after {WORKERS_WITHIN} s; start "
            f"some with `dask worker {scheduler}`. Finished tasks are kept"
        ) from error
    return client
