"""Search: finds what enumeration finds, and scores it honestly."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow import toys
from infoflow.exchange import ExchangeMeter
from infoflow.search.genetic import genetic_search, injected, moved
from infoflow.search.sampling import mean_and_se, random_partition, random_partitions
from infoflow.search.score import ModuleScore


@pytest.fixture(scope="module")
def rec():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    return ifl.record(net, ["1", "2"], torch.randn(150, 5))


def bipartitions(n):
    return {ifl.Partition(np.array(labels)) for labels in product([0, 1], repeat=n)} - {
        ifl.Partition(np.zeros(n, dtype=int))
    }


def test_genetic_search_finds_the_minimum_that_enumeration_finds(rec):
    meter = ExchangeMeter(rec, donors=20, contexts=20, seed=1)
    used = int((~rec.units.unused).sum())
    values = {meter(p, "pairs").weighted for p in bipartitions(7) if min(p.sizes) > 0}
    found = ifl.search(rec, weighting="pairs", budget=2**used, samples=5, meter=meter)
    assert min(found.trail[:, 0]) == pytest.approx(min(values), abs=1e-12)


def test_isolated_tracks_are_found_and_called_isolated():
    toy = toys.load_modules("isolated_tracks")
    best = ifl.search(toy.record(), budget=200, samples=20)
    assert best.partition == toy.planted[0]
    assert best.exchange.bits_given_context == 0.0
    assert best.score.isolated
    assert best.score.ratio == np.inf
    assert np.isfinite(best.score.log_ratio)
    assert best.score.bounded == 1.0


def test_the_winner_is_judged_on_samples_the_search_did_not_see(rec):
    meter = ExchangeMeter(rec, donors=20, contexts=20, seed=1)
    found = ifl.search(rec, budget=30, samples=5, meter=meter)
    judge = meter.fresh()
    assert not np.array_equal(judge.donors, meter.donors)
    assert found.exchange.bits == judge(found.partition, "conductance").bits


def test_same_seed_same_answer_whatever_the_batch_size(rec):
    other = ifl.record(rec.model, ["1", "2"], rec.inputs[0], batch_size=7)
    options = {"budget": 25, "samples": 5, "donors": 10, "contexts": 10, "seed": 4}
    first, second = ifl.search(rec, **options), ifl.search(other, **options)
    assert first.partition == second.partition
    assert first.exchange.bits == pytest.approx(second.exchange.bits, abs=1e-9)


def test_sampling_takes_the_best_of_what_it_drew(rec):
    found = ifl.search(rec, method="sampling", budget=10, samples=5, donors=10, contexts=10)
    assert found.trail[:, 0].min() == found.trail[-1, 2]
    assert found.evaluations == 15
    assert list(found.history.columns) == ["weighted", "bits", "best"]


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


def test_random_partitions_leave_no_module_empty():
    used = np.array([True] * 5 + [False] * 2)
    rng = np.random.default_rng(0)
    drawn = [random_partition(used, 4, rng) for _ in range(200)]
    assert {p.n_modules for p in drawn} == {4}
    assert all((p.labels[5:] == -1).all() for p in drawn)


def test_random_bipartitions_put_every_unit_on_each_side_half_the_time():
    stream = random_partitions(np.ones(12, dtype=bool), 2, seed=0)
    together = np.mean([p.labels[0] == p.labels[7] for p, _ in zip(stream, range(4000))])  # noqa: B905
    assert together == pytest.approx(0.5, abs=0.06)  # a little less: no module may be empty


def test_offspring_keep_the_number_of_modules():
    rng = np.random.default_rng(0)
    used = np.ones(10, dtype=bool)
    for _ in range(300):
        a, b = random_partition(used, 3, rng), random_partition(used, 3, rng)
        assert injected(a, b, 3, rng).n_modules == 3
        assert moved(a, rng).n_modules == 3


def test_an_offspring_inherits_a_whole_module_of_its_father():
    rng = np.random.default_rng(1)
    a, b = ifl.Partition([0, 0, 0, 1, 1, 1]), ifl.Partition([0, 1, 2, 0, 1, 2])
    for _ in range(50):
        child = injected(a, b, 3, rng)
        kept = [set(m.tolist()) for m in child.modules]
        assert any(set(m.tolist()) <= k for m in b.modules for k in kept)


def test_genetic_search_measures_no_partition_twice():
    seen = []

    def objective(partition):
        seen.append(partition)
        return float(partition.labels.sum())

    genetic_search(objective, np.ones(8, dtype=bool), 2, budget=60, seed=0)
    assert len(seen) == len(set(seen)) == 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_modules": 99}, "out of reach"),
        ({"n_modules": 1}, "out of reach"),
        ({"budget": 0}, "budget >= 1"),
        ({"samples": 1}, "samples >= 2"),
        ({"method": "annealed"}, "unknown method"),
        ({"weighting": "nothing"}, "unknown weighting"),
    ],
)
def test_a_search_that_cannot_be_made_is_refused(rec, options, message):
    with pytest.raises(ValueError, match=message):
        ifl.search(rec, **options)
