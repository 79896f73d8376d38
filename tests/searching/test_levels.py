"""Claims about searching large networks in levels, and about flows from slopes where there are many
units."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import infoflow as ifl
from experiments.common.builders import tracks
from infoflow.exchanges import ExchangeMeter, Values
from infoflow.exchanges import weighting as weightings
from infoflow.information.unit_flows import single_flows
from infoflow.measured import SEARCH, TRAFFIC, Objective
from infoflow.searching.flow_cut import FlowCut
from infoflow.searching.levels import _move_units
from infoflow.searching.log import EvaluationLog, Step

FEW = {"donors": 24, "contexts": 16, "groups": 8, "samples": 4}


@pytest.fixture(scope="module")
def planted() -> tuple[ifl.Recording, ifl.Partition]:
    return tracks((5, 5), 0, cross=0.05)


def test_levels_find_planted_tracks(planted: tuple[ifl.Recording, ifl.Partition]) -> None:
    rec, truth = planted
    found = ifl.search(rec, budget=60, **FEW)  # type: ignore[arg-type]
    assert found.partition == truth and found.score.ratio > 2
    assert len(found.trail) <= 60 + 6 and len(found.visited) == len(found.trail)
    assert all(len(p) == len(rec.units) for p in found.visited)
    several = ifl.search(rec, n_modules=range(2, 4), budget=60, **FEW)  # type: ignore[arg-type]
    assert several.partition == truth


def test_single_units_that_are_in_the_wrong_module_are_moved(
    planted: tuple[ifl.Recording, ifl.Partition],
) -> None:
    rec, truth = planted
    meter = ExchangeMeter(rec, SEARCH, Objective("ncut"))
    labels = truth.labels.copy()
    labels[[0, 3, 12]] = 1 - labels[[0, 3, 12]]

    def measured(some: object) -> Values:
        return meter.values(some, "ncut")  # type: ignore[arg-type]

    log = EvaluationLog(measured, budget=32, seed=0)
    _move_units(log, [ifl.Partition(labels)], FlowCut(meter.traffic, "ncut"))
    assert log.best == truth and log.left > 0


def test_a_search_in_levels_goes_on_from_its_checkpoint(
    planted: tuple[ifl.Recording, ifl.Partition], tmp_path: Path
) -> None:
    rec, _ = planted
    whole = ifl.search(rec, budget=50, **FEW)  # type: ignore[arg-type]
    seen: list[Step] = []

    def stop(step: Step) -> bool:
        seen.append(step)
        return step.evaluations >= 20

    how = {**FEW, "budget": 50, "checkpoint": tmp_path / "log.npz"}
    ifl.search(rec, callback=stop, **how)  # type: ignore[arg-type]
    again = ifl.search(rec, **how)  # type: ignore[arg-type]
    assert np.array_equal(again.trail, whole.trail) and again.score == whole.score
    assert all(len(step.best) == len(rec.units) for step in seen)
    with pytest.raises(ValueError, match="of another search"):
        ifl.search(rec, **{**how, "groups": 7})  # type: ignore[arg-type]


@pytest.mark.parametrize("groups", [1, -3, 2.5, True])
def test_numbers_of_groups_that_are_none_are_refused(groups: object) -> None:
    rec, _ = tracks((2, 2), 0, samples=30)
    with pytest.raises(ValueError, match="groups: expected"):
        ifl.search(rec, groups=groups)  # type: ignore[arg-type]


def test_many_units_have_their_traffic_from_slopes_which_is_said(
    planted: tuple[ifl.Recording, ifl.Partition], monkeypatch: pytest.MonkeyPatch
) -> None:
    rec, truth = planted
    measured = ExchangeMeter(rec, SEARCH, Objective("ncut"))(truth)
    monkeypatch.setattr(weightings, "MOST_MEASURED", 10)
    with pytest.warns(RuntimeWarning, match="20 units are from slopes, which agree"):
        estimated = ExchangeMeter(rec, SEARCH, Objective("ncut"))(truth)
    assert estimated.bits == measured.bits
    assert estimated.weighted == pytest.approx(measured.weighted, rel=0.15)


class Step0(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x > 0).to(x.dtype) + 0 * x


def test_where_slopes_say_nothing_flows_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), Step0())
    sites = [ifl.Site(name, unit_dim=1) for name in ("1", "3")]
    rec = ifl.record(net, sites, torch.randn(100, 4))
    monkeypatch.setattr(weightings, "MOST_MEASURED", 10)
    with pytest.warns(RuntimeWarning, match="measured unit by unit: slopes do not agree"):
        traffic = weightings.measure_traffic(rec, SEARCH, Objective("ncut"))
    assert np.array_equal(traffic.unit_flow, single_flows(rec, TRAFFIC, given_context=True))


def test_more_units_than_memory_holds_are_refused_before_anything_runs(
    planted: tuple[ifl.Recording, ifl.Partition], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weightings, "free_bytes", lambda _device: 10_000)
    with pytest.raises(ValueError, match=r"all pairs of 20 units take .*strongest_flows"):
        ifl.search(planted[0])
