"""Interventions on the workers of a real Dask scheduler: equal to the bit, whatever dies."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow.information.workers import workers_of
from tests.clusters import cluster

Dask = tuple[str, list[subprocess.Popen[str]]]


class Deadly(nn.Linear):
    """Kills its process on the first pass that is not in the process that made it."""

    def __init__(self, marker: Path) -> None:
        super().__init__(4, 6)
        self.marker, self.home = str(marker), os.getpid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if os.getpid() != self.home and not Path(self.marker).exists():
            Path(self.marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)


def recorded(first: nn.Module) -> ifl.Recording:
    torch.manual_seed(0)
    net = nn.Sequential(first, nn.ReLU(), nn.Linear(6, 5), nn.Tanh())
    return ifl.record(net, ["1", "3"], torch.randn(60, 4))


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dask]:
    with cluster(tmp_path_factory.mktemp("dask")) as there:
        yield there


LABELS = [0, 1, 2] * 3 + [0, 1]
FEW = {"donors": 12, "contexts": 8}


@pytest.mark.parametrize("how", [{}, {"coding": "joint"}, {"objective": "gaussian"}])
def test_an_exchange_on_workers_is_that_of_this_process(how: dict[str, str], dask: Dask) -> None:
    rec = recorded(nn.Linear(4, 6))
    here = ifl.exchange(rec, LABELS, **FEW, **how)  # type: ignore[arg-type]
    there = ifl.exchange(rec, LABELS, **FEW, **how, scheduler=dask[0])  # type: ignore[arg-type]
    assert np.array_equal(here.flow, there.flow) and np.array_equal(here.flow_se, there.flow_se)
    assert (here.weighted, here.se_given_context) == (there.weighted, there.se_given_context)


@pytest.mark.parametrize("how", [{}, {"given_context": True}, {"direct": True}])
def test_unit_flows_on_workers_are_those_of_this_process(how: dict[str, bool], dask: Dask) -> None:
    rec = recorded(nn.Linear(4, 6))
    here, there = (ifl.unit_flow(rec, **FEW, **how, scheduler=at) for at in (None, dask[0]))
    assert np.array_equal(here, there) and here.any()


def test_a_search_on_workers_is_that_of_this_process(dask: Dask) -> None:
    rec = recorded(nn.Linear(4, 6))
    how = {**FEW, "budget": 15, "samples": 4, "confidence": 2}
    here, there = (ifl.search(rec, **how, scheduler=at) for at in (None, dask[0]))
    assert here.partition == there.partition and here.score == there.score
    assert np.array_equal(here.trail, there.trail)
    assert workers_of(rec) is None


def test_a_worker_that_is_killed_costs_its_task_only(tmp_path: Path, dask: Dask) -> None:
    rec = recorded(Deadly(tmp_path / "marker"))
    here = ifl.unit_flow(rec, given_context=True, **FEW)
    again = ifl.unit_flow(rec, given_context=True, **FEW, scheduler=dask[0])
    assert sum(worker.poll() is not None for worker in dask[1]) == 1
    assert np.array_equal(here, again)
