"""search(): finds what enumeration finds, and scores it honestly."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow import plot, toys
from infoflow.exchanges import ExchangeMeter
from infoflow.exchanges.weighting import Traffic
from infoflow.measured import SCORE
from infoflow.searching import module_score
from infoflow.searching.space import divided_units

SMALL = {"samples": 5, "donors": 10, "contexts": 10}


@pytest.fixture(scope="module")
def rec():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    return ifl.record(net, ["1", "2"], torch.randn(150, 5))


@pytest.fixture(scope="module")
def meter(rec):
    return ExchangeMeter(rec, replace(SCORE, donors=20, contexts=20, seed=1))


@pytest.mark.parametrize("n_modules", [2, 3, range(2, 5)])
def test_every_method_finds_the_minimum_that_enumeration_finds(rec, meter, n_modules):
    options = {"n_modules": n_modules, "weighting": "pairs", "samples": 5, "meter": meter}
    truth = ifl.search(rec, method="exhaustive", **options).partition
    for method in ("genetic", "annealing", "climbing", "screened"):
        assert ifl.search(rec, method=method, budget=400, **options).partition == truth, method


def test_exhaustive_search_is_the_smallest_value_of_all_partitions(rec, meter):
    found = ifl.search(rec, method="exhaustive", n_modules=3, samples=5, meter=meter)
    every = {ifl.Partition(np.array(x)) for x in np.ndindex(*(3,) * 7)}
    values = [meter(p, "ncut").weighted for p in every if p.n_modules == 3]
    assert found.evaluations == len(values) == 301  # the Stirling number S(7, 3)
    assert found.trail[:, 0].min() == pytest.approx(min(values), abs=1e-12)


@pytest.mark.parametrize("method", ["genetic", "annealing", "screened", "exhaustive"])
def test_isolated_tracks_are_found_and_called_isolated(method):
    toy = toys.load_modules("isolated_tracks")
    best = ifl.search(toy.record(), method=method, budget=150, samples=20)
    assert best.partition == toy.planted[0]
    assert best.exchange.bits_given_context == 0.0
    assert best.score.isolated
    assert best.score.ratio == np.inf
    assert np.isfinite(best.score.log_ratio)
    assert best.score.bounded == 1.0


def test_the_number_of_modules_is_found_where_it_is_not_given():
    net = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh())
    torch.manual_seed(2)
    track = torch.arange(6) // 2
    with torch.no_grad():
        net[0].weight.normal_().mul_(track[:, None] == torch.arange(3))
        net[2].weight.normal_().mul_(track[:, None] == track)
    found = ifl.search(
        ifl.record(net, ["1", "3"], torch.randn(200, 3)), n_modules=None, budget=300, samples=10
    )
    assert found.partition == ifl.Partition(track.repeat(2).numpy())
    assert set(found.history["n_modules"]) == {3}
    assert found.count.isolated == 3


def test_units_that_send_and_receive_nothing_are_in_no_module():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4))
    with torch.no_grad():
        net[2].weight[:, 2] = 0.0
    found = ifl.search(ifl.record(net, ["1", "2"], torch.randn(100, 4)), budget=40, **SMALL)
    assert found.partition.labels[2] == -1
    assert (np.delete(found.partition.labels, 2) >= 0).all()


def test_the_winner_is_judged_on_samples_the_search_did_not_see(rec, meter):
    found = ifl.search(rec, budget=30, samples=5, meter=meter)
    judge = meter.fresh()
    assert not np.array_equal(judge.donors, meter.donors)
    assert found.exchange.bits == judge(found.partition, "ncut").bits


def test_same_seed_same_answer_whatever_the_batch_size(rec):
    other = ifl.record(rec.model, ["1", "2"], rec.inputs[0], batch_size=7)
    first, second = (ifl.search(r, budget=25, seed=4, **SMALL) for r in (rec, other))
    assert first.partition == second.partition
    assert first.exchange.bits == pytest.approx(second.exchange.bits, abs=1e-9)


def test_history_has_a_row_for_every_partition_measured_and_never_gets_worse(rec):
    found = ifl.search(rec, method="sampling", budget=10, **SMALL)
    history = found.history
    assert list(history.columns) == ["weighted", "bits", "best", "n_modules"]
    assert len(history) == found.evaluations
    assert (np.diff(history["best"]) <= 0).all()
    assert history["weighted"].min() == history["best"].iloc[-1]


def test_the_history_is_drawn_as_it_is(rec):
    found = ifl.search(rec, method="sampling", budget=10, **SMALL)
    drawn = [[*line.get_ydata()] for line in plot.search_history(found).get_lines()]
    assert found.history["best"].tolist() in drawn


def test_progress_shows_the_best_so_far_and_only_when_asked_for(rec, capsys):
    ifl.search(rec, budget=10, **SMALL)
    assert capsys.readouterr().err == ""
    found = ifl.search(rec, budget=10, progress=True, **SMALL)
    assert f"best={found.trail[5:, 0].min():.4g}" in capsys.readouterr().err


@pytest.mark.parametrize("weighting", ["conductance", "ncut"])
def test_a_nearly_dead_unit_is_not_the_best_module(weighting):
    """Two linked tracks and a unit of weak links: by itself it exchanges least, and less than the
    tracks where pairs of units are all that is counted."""
    torch.manual_seed(0)
    track = torch.tensor([0, 0, 0, 1, 1, 1, 2])
    net = nn.Sequential(nn.Linear(2, 7), nn.Tanh(), nn.Linear(7, 6), nn.Tanh())
    with torch.no_grad():
        net[0].weight.normal_().mul_(torch.where(track[:, None] == torch.arange(2), 1, 0.1))
        net[0].weight[6] = 1.0
        net[2].weight.normal_().mul_(torch.where(track[:6, None] == track, 1, 0.1))
        net[2].weight[:, 6] = 0.01
    meter = ExchangeMeter(
        ifl.record(net, ["1", "3"], torch.randn(300, 2)), replace(SCORE, donors=25, contexts=25)
    )
    assert not meter.traffic.silent[6]
    tracks = [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1]
    compared = [tracks, *np.eye(13, dtype=int)]
    values = meter.values(compared, weighting).weighted
    by_pairs = meter.values(compared, "pairs").weighted
    assert values.argmin() == 0
    assert by_pairs.argmin() == 1 + 6


def test_a_start_is_measured_and_never_lost(rec, meter):
    truth = ifl.search(rec, method="exhaustive", samples=5, meter=meter)
    found = ifl.search(rec, budget=1, starts=[truth.partition], samples=5, meter=meter)
    assert found.partition == truth.partition


def test_the_callback_sees_the_best_and_can_end_the_search(rec):
    steps = []

    def enough(step):
        steps.append(step)
        return step.evaluations >= 20

    found = ifl.search(rec, budget=60, callback=enough, **SMALL)
    assert found.evaluations < 40
    assert steps[-1].best == found.partition
    assert all(a.value >= b.value for a, b in pairwise(steps))


def test_the_mean_is_sampled_until_its_relative_error_is_small_enough(rec):
    loose, tight = (ifl.search(rec, budget=5, tolerance=t, **SMALL).score for t in (0.5, 0.02))
    assert tight.se <= 0.02 * tight.mean
    assert tight.n_samples > loose.n_samples


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_modules": 99}, "out of reach"),
        ({"n_modules": 1}, "n_modules: expected"),
        ({"n_modules": range(2, 99)}, "out of reach"),
        ({"n_modules": range(4, 2)}, "consecutive"),
        ({"budget": 0}, "budget: expected an integer of at least 1"),
        ({"samples": 1}, "samples: expected an integer of at least 2"),
        ({"tolerance": 0.0}, "tolerance: expected a finite number above 0"),
        ({"restarts": 0}, "restarts: expected an integer of at least 1"),
        ({"method": "annealed"}, "annealing"),
        ({"seeds": ["unitflow"]}, "unit_flow"),
        ({"weighting": "nothing"}, "unknown weighting"),
        ({"starts": [[0, 1]]}, "one label for each"),
        ({"starts": [[0] * 7]}, "at least two modules"),
    ],
)
def test_a_search_that_cannot_be_made_is_refused(rec, options, message):
    with pytest.raises(ValueError, match=message):
        ifl.search(rec, **{**SMALL, **options})


def test_too_many_partitions_to_enumerate_are_refused():
    net = nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 6))
    rec = ifl.record(net, ["1", "2"], torch.randn(60, 4))
    with pytest.raises(ValueError, match="at most 14 units"):
        ifl.search(rec, method="exhaustive", **SMALL)


def test_options_that_a_given_meter_would_ignore_are_refused(rec):
    meter = ExchangeMeter(rec, replace(SCORE, donors=20, contexts=20))
    for wrong in ({"donors": 30}, {"coding": "joint"}, {"given_context": False}):
        with pytest.raises(ValueError, match="would be ignored"):
            ifl.search(rec, budget=5, samples=2, meter=meter, **wrong)
    ifl.search(rec, budget=5, samples=2, meter=meter, donors=20)


class Experts(nn.Module):
    """Two layers beside each other, neither downstream of the other."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 5), nn.Linear(4, 5)

    def forward(self, x):
        return torch.tanh(self.a(x)) + torch.tanh(self.b(x))


@pytest.mark.parametrize(
    ("net", "layers"),
    [
        (nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), ["1"]),
        (Experts(), ["a", "b"]),
    ],
)
def test_a_search_where_no_unit_is_downstream_of_another_is_refused(net, layers):
    rec = ifl.record(net, layers, torch.randn(60, 4))
    with pytest.raises(ValueError, match=r"downstream of others, got none.*find_modules"):
        ifl.search(rec, budget=10, **SMALL)


def test_two_units_that_matter_only_together_are_no_reason_to_refuse():
    """Plain flow of an exclusive or: none from either input, one bit from both."""
    bits = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]]).repeat(25, 1)
    net = nn.Sequential(nn.Identity(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[1.0, 1], [1, 1]]))
        net[1].bias.copy_(torch.tensor([0.0, -1]))
        net[3].weight.copy_(torch.tensor([[1.0, -2]]))
        net[3].bias.zero_()
    rec = ifl.record(net, ["0", "3"], bits)
    options = {"donors": "all", "contexts": "all", "given_context": False}
    found = ifl.search(rec, method="exhaustive", samples=5, weighting="none", **options)
    assert found.partition.n_modules == 2


def test_the_result_of_a_search_is_taken_as_its_partition(rec, meter):
    found = ifl.search(rec, budget=10, samples=5, meter=meter)
    assert module_score(rec, found, samples=5, meter=meter).minimum == pytest.approx(
        meter(found.partition, "ncut").weighted
    )
    assert ifl.exchange(rec, found, donors=10, contexts=10).partition == found.partition
    assert ifl.agreement(found, found.partition) == 1.0
    assert ifl.search(rec, budget=1, starts=[found], samples=5, meter=meter).trail.shape[1] == 3


def test_silent_units_are_divided_only_where_too_few_others_are_left(rec):
    flow = np.zeros((7, 7))
    flow[0, 4] = flow[1, 5] = 1.0
    meter = ExchangeMeter(rec, traffic=Traffic(flow, np.ones(7), flow > 0))
    active = np.isin(np.arange(7), [0, 1, 4, 5])
    assert np.array_equal(divided_units(meter, 4), active)
    assert np.array_equal(divided_units(meter, 5), ~rec.units.unused)
