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
from infoflow.searching.score import chance
from infoflow.searching.space import mean_and_se


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
    assert same.mean == best.score.mean  # the random partitions, too, on the same fresh draws
    assert same.ratio_se == best.score.ratio_se


def test_an_exhaustive_search_averages_over_all_partitions():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    rec = ifl.record(net, ["1", "2"], torch.randn(60, 3))
    meter = ExchangeMeter(rec, replace(SCORE, donors=12, contexts=10))
    found = ifl.search(rec, method="exhaustive", samples=2, meter=meter)
    everything = [p for p in found.visited if p.n_modules == 2]
    assert found.score.n_samples == len(everything) == 2**5 - 1
    assert found.score.mean == meter.fresh().values(everything, "ncut").weighted.mean()
    assert found.score.se == 0
    assert 0 < found.score.ratio_se < found.score.ratio


def test_the_error_of_a_ratio_knows_what_its_draws_have_in_common(rec):
    """Each of them scatters far more from draw to draw than their ratio does."""
    scores = []
    for seed in range(25):
        meter = ExchangeMeter(rec, replace(SCORE, donors=15, contexts=12, seed=seed))
        scores.append(module_score(rec, [0, 1] * 5, samples=6, meter=meter, weighting="none"))
    ratios = np.array([score.ratio for score in scores])
    # the random partitions are the same throughout: their share of the error does not show
    draws = [s.ratio_se**2 - (s.se / s.minimum) ** 2 for s in scores]
    assert np.sqrt(np.mean(draws)) == pytest.approx(ratios.std(), rel=0.35)
    apart = np.std([s.mean for s in scores]) / np.mean([s.minimum for s in scores])
    assert ratios.std() < apart


def test_where_nothing_is_exchanged_the_ratio_and_its_error_are_infinite():
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2))
    with torch.no_grad():
        for layer in (net[0], net[2]):
            layer.weight.copy_(torch.eye(2))
    rec = ifl.record(net, ["1", "2"], torch.randn(50, 2))
    score = module_score(rec, [0, 1, 0, 1], samples=4)
    assert score.ratio == score.ratio_se == np.inf


def test_with_everything_in_one_module_the_score_is_undefined(rec):
    with pytest.raises(ValueError, match="score is undefined"):
        module_score(rec, [0] * 10)
