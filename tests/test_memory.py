"""Where memory runs out, fewer rows are run at once, and the answer is the same."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow._memory import Room
from tests.nets import normal, seeded

FULL = {
    "a GPU": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "torch": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"),
    "Python": MemoryError(),
}


class Small(nn.Module):
    """A network on a machine in which more than so many rows do not fit."""

    most: int | None = None
    error: Exception = FULL["torch"]

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.last = nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)

    def forward(self, x):
        h = self.act(self.first(x))
        if Small.most is not None and len(x) > Small.most:
            raise Small.error
        return self.last(h)


@contextmanager
def room_for(rows: int, error: Exception = FULL["torch"]) -> Iterator[None]:
    Small.most, Small.error = rows, error
    try:
        yield
    finally:
        Small.most = None


X, Y = normal(100, 4), torch.arange(100) % 3
WORK = {
    "flow": lambda rec: (
        ifl.flow(rec, {"first": [0, 1]}, {"last": [0]}, donors=20, contexts=20).bits
    ),
    "counterfactual": lambda rec: ifl.counterfactual(
        rec, {"act": [0]}, observe="last", replay=False
    ),
    "exact": lambda rec: ifl.similarity(rec, "hess", method="exact"),
    "probes": lambda rec: ifl.similarity(rec, "o_sens", method="probes", probes=4),
    "cov": lambda rec: ifl.similarity(rec, "cov"),
}


def recorded() -> ifl.Recording:
    return ifl.record(
        seeded(Small), ["first", "act", "last"], X, Y, loss=nn.functional.cross_entropy
    )


@pytest.mark.parametrize("work", WORK)
def test_results_are_those_of_a_machine_with_room(work: str) -> None:
    right = np.asarray(WORK[work](recorded()))
    rec = recorded()
    with room_for(40), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = np.asarray(WORK[work](rec))
    assert np.allclose(found, right, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("what", FULL)
def test_a_recording_is_made_in_smaller_batches_and_that_is_said_once(what: str) -> None:
    with room_for(7, FULL[what]), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        rec = recorded()
    assert [w.filename for w in said] == [__file__] and "with 100 rows" in str(said[0].message)
    right = recorded()
    assert all(torch.allclose(rec[name], right[name], atol=1e-6) for name in rec.units.layers)
    assert torch.allclose(rec.outputs, right.outputs, atol=1e-6)


def test_a_recording_in_files_is_whole_where_memory_runs_out(tmp_path) -> None:
    store = ifl.Store(tmp_path / "store", 2000)
    with room_for(7), pytest.warns(RuntimeWarning, match="memory ran out"):
        rec = ifl.record(seeded(Small), "act", X, batch_size=10, store=store)
    assert torch.allclose(rec["act"], recorded()["act"], atol=1e-6)


def test_one_row_that_does_not_fit_is_an_error_and_so_is_any_other() -> None:
    with room_for(0), pytest.raises(RuntimeError, match="can't allocate"):
        recorded()
    with room_for(7, ValueError("anything else")), pytest.raises(ValueError, match="anything"):
        recorded()


def test_what_fits_is_found_once_and_kept_to() -> None:
    asked = []

    def run(rows: slice) -> int:
        asked.append(rows.stop - rows.start)
        if asked[-1] > 5:
            raise MemoryError
        return asked[-1]

    room = Room()
    with pytest.warns(RuntimeWarning) as said:
        found = list(room.parts(run, slice(3, 33))) + list(room.parts(run, slice(33, 43)))
    assert len(said) == 1 and asked[:3] == [30, 15, 7]
    assert [part.start for part, _ in found] == [3, *(part.stop for part, _ in found[:-1])]
    assert found[-1][0].stop == 43 and max(asked[3:]) == 3
