"""The weighted cut of the unit flows: its quick moves against the cut written out."""

import numpy as np
import pytest

import infoflow as ifl
from infoflow.exchanges.weighting import Traffic
from infoflow.measured import WEIGHTINGS
from infoflow.searching.flow_cut import FlowCut


def traffic(n=12, seed=0):
    rng = np.random.default_rng(seed)
    flow = rng.exponential(size=(n, n)) * (rng.random((n, n)) < 0.6)
    return Traffic(flow, rng.random(n), rng.random((n, n)) < 0.5)


def partition(n=12, k=3, unused=(4,), seed=0):
    labels = np.random.default_rng(seed).permutation(np.arange(n) % k)
    labels[list(unused)] = -1
    return ifl.Partition(labels)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("start", [partition(), partition(k=2), ifl.Partition([0] + [1] * 11)])
def test_the_cut_around_a_partition_is_that_of_every_unit_moved(weighting, start):
    cut = FlowCut(traffic(), weighting)
    found = cut.around(start)
    for unit in range(12):
        for target in range(start.n_modules + 1):
            labels = start.labels.copy()
            labels[unit] = target
            moved = ifl.Partition(labels)
            if start.labels[unit] < 0:
                assert np.isnan(found[unit, target])
            else:
                assert found[unit, target] == pytest.approx(cut(moved))


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("k", [2, 3])
def test_annealing_the_cut_finds_its_least_value(weighting, k):
    cut, used = FlowCut(traffic(8), weighting), np.arange(8) != 5
    every = {ifl.Partition(np.where(used, x, -1)) for x in np.ndindex(*(k,) * 8)}
    truth = min(cut(p) for p in every if p.n_modules == k)
    ends = [
        cut.annealed(
            partition(8, k, [5]), steps=3000, hot=1.0, cold=1e-3, rng=np.random.default_rng(seed)
        )
        for seed in range(3)
    ]
    assert min(cut(p) for p in ends) == pytest.approx(truth)
    assert all(p.n_modules == k and p.labels[5] == -1 for p in ends)


def test_what_is_kept_stays_true_over_many_moves():
    from infoflow.searching._kernel import move, summed

    graph, labels = FlowCut(traffic(), "ncut")._among(np.arange(12)), np.arange(12) % 3
    kept = summed(graph, labels, 3)
    rng = np.random.default_rng(0)
    for _ in range(200):
        unit, target = rng.integers(12), rng.integers(3)
        if target != labels[unit]:
            move(graph, kept, labels, unit, target)
    for now, anew in zip(kept, summed(graph, labels, 3), strict=True):
        assert now == pytest.approx(anew, abs=1e-9)


def test_a_module_without_traffic_is_never_the_end():
    flow = np.zeros((6, 6))
    flow[:3, 3:] = 1.0
    flow[0] = flow[:, 0] = 0.0
    cut = FlowCut(Traffic(flow, np.ones(6), flow > 0), "conductance")
    alone = ifl.Partition([0, 1, 1, 1, 1, 1])
    assert cut(alone) == np.inf
    end = cut.annealed(alone, steps=500, hot=1.0, cold=1e-3, rng=np.random.default_rng(0))
    assert np.isfinite(cut(end))


def test_the_same_generator_gives_the_same_end():
    cut = FlowCut(traffic(), "pairs")
    ends = [
        cut.annealed(partition(), steps=50, hot=1, cold=0.1, rng=np.random.default_rng(3))
        for _ in range(2)
    ]
    assert ends[0] == ends[1]
