"""objective=: modules measured as wholes, in exchanges, searches, scores and comparisons."""

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow import searching
from infoflow.exchanges import ExchangeMeter
from infoflow.information import group_flows
from infoflow.information.group_flows import SPREADS, GroupFlow, RankScale
from infoflow.measured import Draws, Objective

FEW = Draws(9, 8, coding="units")
LABELS = [0, 1, 0, 1, 0, 1, 1]


@pytest.fixture(scope="module")
def rec():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3), nn.Tanh())
    return ifl.record(net, ["1", "3"], torch.randn(80, 3))


@pytest.fixture(scope="module")
def two_tracks():
    """Four units a layer; the halves have nothing to do with each other."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh())
    apart = torch.block_diag(torch.ones(2, 2), torch.ones(2, 2))
    with torch.no_grad():
        for layer in (net[0], net[2]):
            layer.weight.copy_(torch.randn(4, 4) * apart)
    return ifl.record(net, ["1", "3"], torch.randn(200, 4))


def by_hand(rec, source, target, estimate, draws):
    """One forward pass per donor and context, values put in by ifl.do; of the target, the units
    of the last layer, which alone can move."""
    target = [unit for unit in target if unit >= 4]
    everyone = torch.cat([rec[name] for name in rec.units.layers], 1).numpy()
    scale = RankScale(everyone, np.zeros(everyone.shape[1]))
    donors, contexts = draws.rows(len(rec))
    ranks = np.empty((len(donors), len(contexts), len(target)))
    for m, donor in enumerate(donors):
        put_in = {
            name: (inside, rec[name][donor][inside])
            for name, inside in rec.units.by_layer(source).items()
        }
        with ifl.do(rec.model, put_in), torch.no_grad():
            last = rec.model(rec.inputs[0][contexts]).numpy()
        ranks[m] = scale(np.hstack([np.zeros((len(last), 4)), last]))[:, target]
    return GroupFlow(ranks, SPREADS[estimate], 1 / 3)


@pytest.mark.parametrize("estimate", list(SPREADS))
def test_an_exchange_is_the_group_flows_run_by_hand(rec, estimate):
    found = ifl.exchange(rec, LABELS, objective=estimate, donors=9, contexts=8, weighting="none")
    modules = ifl.Partition(LABELS).modules
    for a, b in ((0, 1), (1, 0)):
        flow = by_hand(rec, modules[a], modules[b], estimate, FEW)
        assert found.flow[a, b] == pytest.approx(flow.bits, abs=1e-4)
        assert found.flow_given_context[a, b] == pytest.approx(flow.given_context, abs=1e-4)
    assert found.coding == estimate
    assert found.bits_given_context == pytest.approx(found.flow_given_context.sum())


@pytest.mark.parametrize("estimate", list(SPREADS))
@pytest.mark.parametrize("given", [False, True])
def test_many_partitions_at_once_are_each_by_itself(rec, estimate, given):
    objective = Objective("ncut", given, estimate)
    some = [LABELS, [0, 0, 1, 1, 2, 2, 1], [0, 1, 1, 1, 1, 1, 1]]
    meter = ExchangeMeter(rec, FEW, objective)
    values, flows = meter.values(some), meter.flows(some)
    for i, labels in enumerate(some):
        alone = ExchangeMeter(rec, FEW, objective)(labels)
        assert values.weighted[i] == pytest.approx(alone.weighted)
        assert values.bits[i] == pytest.approx(alone.amount)
        assert flows[i][1] == pytest.approx(alone.flow_given_context)


@pytest.mark.parametrize("estimate", list(SPREADS))
def test_traffic_is_what_each_unit_sends_and_receives_in_the_same_quantity(rec, estimate):
    meter = ExchangeMeter(rec, FEW, Objective("ncut", True, estimate))
    draws = Draws(30, 30, coding="units")
    units = np.arange(7)
    for unit in units:
        others = np.setdiff1d(units, unit)
        expected = sum(
            by_hand(rec, *pair, estimate, draws).given_context
            for pair in (([unit], others), (others, [unit]))
        )
        assert meter.traffic.per_unit[unit] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("estimate", list(SPREADS))
def test_nothing_is_exactly_nothing_and_search_finds_it(two_tracks, estimate):
    planted = [0, 0, 1, 1] * 2
    found = ifl.exchange(two_tracks, planted, objective=estimate)
    assert (found.flow == 0).all()
    assert (found.flow_given_context == 0).all()
    best = ifl.search(two_tracks, objective=estimate, budget=40, samples=6, donors=12, contexts=10)
    assert best.partition == ifl.Partition(planted)
    assert best.exchange.coding == estimate


def test_a_joint_value_counts_less_than_the_sum_over_units(two_tracks):
    across = [0, 1, 0, 1] * 2
    summed, together = (ifl.exchange(two_tracks, across, objective=o) for o in ("codes", "kernel"))
    assert 0 < together.bits_given_context < summed.bits_given_context
    assert together.bits_given_context <= 2 * np.log2(200)


def test_a_kernel_at_the_limit_of_the_donors_says_so(rec):
    tight = ExchangeMeter(rec, Draws(4, 8, coding="units"), Objective("none", True, "kernel", 1000))
    assert "more donors" in repr(tight(LABELS))


def test_a_score_at_the_limit_of_the_donors_warns(rec):
    meter = ExchangeMeter(rec, Draws(4, 8, coding="units"), Objective("none", True, "cells", 1000))
    with pytest.warns(RuntimeWarning, match="use objective='gaussian'"):
        searching.module_score(rec, LABELS, meter=meter, weighting="none", samples=3)


def test_module_score_and_compare_take_it(two_tracks):
    score = searching.module_score(two_tracks, [0, 0, 1, 1] * 2, objective="gaussian", samples=4)
    assert score.isolated
    with pytest.raises(ValueError, match="would be ignored"):
        meter = ExchangeMeter(two_tracks)
        searching.module_score(two_tracks, [0, 0, 1, 1] * 2, objective="kernel", meter=meter)
    with pytest.raises(ValueError, match="would be ignored"):
        ifl.search(two_tracks, objective="kernel", meter=ExchangeMeter(two_tracks))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"objective": "kernal"}, "kernel"),
        ({"objective": "kernel", "coding": "joint"}, "reads no code"),
        ({"objective": "gaussian", "pool": "positions"}, "once a sample"),
    ],
)
def test_what_cannot_be_combined_is_refused_at_the_door(rec, options, match):
    with pytest.raises(ValueError, match=match):
        ifl.exchange(rec, LABELS, **options)
    with pytest.raises(ValueError, match=match):
        ifl.search(rec, **options)


def test_more_runs_than_can_be_kept_are_refused(rec, monkeypatch):
    monkeypatch.setattr(group_flows, "_MOST_OUTCOMES", 80 * 80 * 7 - 1)
    with pytest.raises(ValueError, match="draw fewer"):
        ifl.exchange(rec, LABELS, objective="kernel", donors="all", contexts="all")


def test_within_some_units_the_traffic_is_among_them(rec):
    meter = ExchangeMeter(rec, FEW, Objective("ncut", True, "kernel"))
    some = np.array([0, 1, 4, 5])
    inside = meter.within(some).traffic.per_unit
    assert (inside[[2, 3, 6]] == 0).all()
    assert (inside[some] < meter.traffic.per_unit[some]).any()
