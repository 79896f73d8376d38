"""The module score of any partition, and how its mean is sampled."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow.exchanges import ExchangeMeter, Values
from infoflow.measured import SCORE
from infoflow.searching import ModuleScore, module_score
from infoflow.searching.sampling import mean_and_se
from infoflow.searching.score import chance


@pytest.fixture(scope="module")
def rec():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4))
    return ifl.record(net, ["1", "2"], torch.randn(150, 5))


def test_the_standard_error_of_the_mean_is_that_of_the_sample():
    values = np.array([1.0, 2.0, 4.0, 5.0])
    assert mean_and_se(values) == pytest.approx((3.0, np.sqrt(10 / 3 / 4)))


def test_score_divides_the_mean_by_the_minimum():
    score = ModuleScore(6.0, 0.1, 10, 2.0, 0.5, "none", 6.0, 2.0, True)
    assert score.ratio == 3.0
    assert score.bounded == pytest.approx(2 / 3)
    assert score.log_ratio == pytest.approx(np.log2(6.5 / 2.5))
    assert not score.isolated
    assert ModuleScore(6.0, 0.1, 10, 0.4, 0.5, "none", 6.0, 0.4, True).isolated


def test_under_size_z_the_score_compares_bits(rec):
    meter = ExchangeMeter(rec, replace(SCORE, donors=20, contexts=20))
    best = ifl.search(rec, weighting="size_z", budget=40, samples=20, meter=meter).score
    assert best.minimum < 0
    assert best.ratio == pytest.approx(best.raw_mean / best.raw_minimum)
    assert not best.isolated
    assert 0 < best.bounded < 1


def test_sampling_stops_once_the_mean_is_known_well_enough():
    rng = np.random.default_rng(0)

    def measure(some):
        return Values(*[10 + rng.normal(size=len(some))] * 2)

    few = chance(measure, iter(range(10**6)), samples=10, tolerance=None)
    many = chance(measure, iter(range(10**6)), samples=10, tolerance=0.01)
    mean, se = mean_and_se(many.weighted)
    assert len(few) == 10
    assert se <= 0.01 * mean
    assert 60 <= len(many) <= 160  # (1 / (10 · 0.01))² = 100 for a spread of 1


def test_sampling_gives_up_at_its_limit_where_the_mean_is_zero():
    values = np.resize([1.0, -1.0], 10**4)

    def measure(some):
        return Values(*[values[: len(some)]] * 2)

    found = chance(measure, iter(range(10**6)), samples=10, tolerance=0.01, most=300)
    assert len(found) == 300


def test_the_score_of_a_given_partition_is_that_of_the_search_that_finds_it(rec):
    meter = ExchangeMeter(rec, replace(SCORE, donors=20, contexts=20))
    best = ifl.search(rec, budget=60, samples=20, meter=meter)
    same = module_score(rec, best.partition, samples=20, meter=meter.fresh())
    assert same.minimum == best.score.minimum
    assert same.mean == pytest.approx(best.score.mean, rel=0.2)


def test_with_everything_in_one_module_the_score_is_undefined(rec):
    with pytest.raises(ValueError, match="score is undefined"):
        module_score(rec, [0] * 10)
