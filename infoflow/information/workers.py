"""Interventions spread over the workers of a Dask scheduler: the recording is sent once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock
from typing import Any, TypeVar

from infoflow._pools import connect
from infoflow.recording import Recording

Answer = TypeVar("Answer")
Source = TypeVar("Source")

_one_task = Lock()  # a model is run by one task at a time, however many threads a worker has


class Workers:
    """Calls functions of a recording on the workers of a scheduler.

    Args:
        client: A connected `distributed.Client`.
        rec: The recording; its model and loss travel with it.
    """

    def __init__(self, client: Any, rec: Recording) -> None:
        import cloudpickle

        self._client = client
        # files of a store are here, not there
        sent = cloudpickle.dumps(replace(rec, stored=None, versions={}, cache={}))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
            # a task that makes it, not data: the scheduler makes it again where a worker is lost
            self._sent = client.submit(_Sent, sent, pure=False)

    def __call__(
        self, function: Callable[..., Answer], tasks: Sequence[tuple[Any, ...]]
    ) -> list[Answer]:
        """`function(rec, *task)` for every task, in order.

        Raises:
            ConnectionError: The scheduler was lost.
            RuntimeError: The workers died over the same task again and again.
        """
        from concurrent.futures import CancelledError

        from distributed import KilledWorker

        futures = [
            self._client.submit(_answer, function, self._sent, task, pure=False) for task in tasks
        ]
        try:
            return list(self._client.gather(futures))
        except KilledWorker as error:
            raise RuntimeError(f"the workers that ran an intervention died: {error}") from error
        except CancelledError as error:
            raise ConnectionError("the connection to the Dask scheduler was lost") from error


class _Sent:
    """A recording as bytes, opened once in each process."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._opened: Recording | None = None

    def __reduce__(self) -> tuple[type[_Sent], tuple[bytes]]:
        return _Sent, (self.content,)

    def open(self) -> Recording:
        import pickle

        if self._opened is None:
            self._opened = pickle.loads(self.content)
        assert self._opened is not None
        return self._opened


def _answer(function: Callable[..., Answer], sent: _Sent, task: tuple[Any, ...]) -> Answer:
    with _one_task:
        return function(sent.open(), *task)


def few(sources: list[Source], size: int = 8) -> list[list[Source]]:
    """What a task has of them: so few that all workers have some, so many that sending them costs
    little beside running them."""
    return [sources[i : i + size] for i in range(0, len(sources), size)]


@contextmanager
def spread(rec: Recording, scheduler: str | None) -> Iterator[None]:
    """Inside, interventions on the recording run on the scheduler's workers; None: here.

    Raises:
        ConnectionError: The scheduler cannot be reached, or has no workers.
        ImportError: Dask is not installed.
    """
    if scheduler is None:
        yield
        return
    with connect(scheduler) as client:
        rec.check_current()
        rec.cache[Workers] = Workers(client, rec)
        try:
            yield
        finally:
            rec.cache.pop(Workers, None)


def workers_of(rec: Recording) -> Workers | None:
    """Those that the recording's interventions run on; None: this process."""
    found = rec.cache.get(Workers)
    return found if isinstance(found, Workers) else None
