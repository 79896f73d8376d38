"""Exchange: sums of flows between modules, weighted."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow import toys
from infoflow.exchanges import ExchangeMeter
from infoflow.exchanges.weighting import Traffic, weigh
from infoflow.measured import SCORE, WEIGHTINGS, Objective
from infoflow.searching import module_score

EXACT = {"donors": "all", "contexts": "all", "bins": "unique"}


@pytest.fixture(scope="module")
def rec():
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU())
    return ifl.record(net, ["1", "3"], torch.randn(200, 6))


HALVES = [0, 1, 0, 1, 0, 1, 0, 1, 0]


@pytest.mark.parametrize("correction", ["miller_madow", "auto", "none"])
def test_exchange_is_the_sum_of_flows_measured_one_by_one(rec, correction):
    options = {"donors": 30, "contexts": 20, "coding": "units", "correction": correction}
    ex = ifl.exchange(rec, HALVES, **options)
    a, b = ex.partition.modules
    there, back = ifl.flow(rec, a, b, **options), ifl.flow(rec, b, a, **options)
    assert ex.flow[0, 1] == pytest.approx(there.bits, abs=1e-12)
    assert ex.flow_given_context[1, 0] == pytest.approx(back.bits_given_context, abs=1e-12)
    assert ex.bits == pytest.approx(there.bits + back.bits, abs=1e-12)
    assert ex.flow_se[0, 1] == pytest.approx(there.se, abs=1e-12)


def test_exchange_search_and_score_correct_alike(rec):
    options = {"donors": 30, "contexts": 20, "seed": 4}
    meter, ex = ExchangeMeter(rec, replace(SCORE, **options)), ifl.exchange(rec, HALVES, **options)
    measured = meter(HALVES, ex.weighting)
    assert ex.flow.tolist() == measured.flow.tolist()
    assert (ex.bits, ex.se, ex.weighted) == (measured.bits, measured.se, measured.weighted)
    counted = meter.values([HALVES], ex.weighting)
    assert counted.weighted == pytest.approx(ex.weighted, rel=1e-12)
    assert counted.bits == pytest.approx(ex.amount, rel=1e-12)
    assert module_score(rec, HALVES, samples=2, meter=meter).minimum == ex.weighted
    found = ifl.search(rec, budget=5, samples=2, **options)
    again = ifl.exchange(rec, found.partition, **{**options, "seed": meter.fresh().draws.seed})
    assert again.bits_given_context == found.exchange.bits_given_context
    joint = ifl.module_flow(rec, HALVES, **options)
    assert (
        joint.to_numpy()
        == ExchangeMeter(rec, replace(SCORE, coding="joint", **options))(HALVES).flow
    ).all()


def test_an_unknown_correction_is_refused(rec):
    with pytest.raises(ValueError, match="unknown correction 'miller'"):
        ifl.exchange(rec, HALVES, correction="miller")


def test_module_flow_has_a_row_per_sender(rec):
    frame = ifl.module_flow(rec, HALVES, donors=20, contexts=20)
    assert frame.index.name == "source"
    assert frame.columns.name == "target"
    assert np.diag(frame.to_numpy()).tolist() == [0.0, 0.0]


def test_isolated_tracks_exchange_exactly_nothing():
    toy = toys.load_modules("isolated_tracks")
    ex = ifl.exchange(toy.record(), toy.planted[0], weighting="none")
    assert ex.bits == 0.0
    assert ex.bits_given_context == 0.0
    assert ex.se == 0.0


def test_labels_that_name_the_same_modules_are_measured_once(rec):
    meter = ExchangeMeter(rec, replace(SCORE, donors=10, contexts=10))
    first = meter(HALVES)
    again = meter([9 if label else 4 for label in HALVES])
    assert again is first
    assert meter.evaluations == 1


def test_a_dead_unit_is_left_out_of_its_module(rec):
    net = deepcopy(rec.model)
    with torch.no_grad():
        net[0].bias[0] = -1e3
    dead = ifl.record(net, ["1", "3"], rec.inputs[0])
    assert dead.units.unused[0]
    ex = ifl.exchange(dead, HALVES, weighting="min_size", donors=10, contexts=10)
    assert ex.partition.labels[0] == -1
    assert ex.weighted == pytest.approx(ex.bits_given_context / 4)


def test_each_weighting_divides_by_what_it_says():
    flow = np.array([[0.0, 3.0], [1.0, 0.0]])
    partition = ifl.Partition([0, 0, 1, 1, 1, -1])
    unit_flow = np.zeros((6, 6))
    unit_flow[0, 3], unit_flow[1, 2] = 2.0, 3.0
    connected = np.zeros((6, 6), dtype=bool)
    connected[:3, 3:] = True
    traffic = Traffic(unit_flow, np.array([1.0, 2.0, 2.0, 0.5, 0.0, 9.0]), connected)
    values = {w: weigh(w, flow, partition, lambda: traffic, lambda: (8.0, 2.0)) for w in WEIGHTINGS}
    assert values == {
        "none": 4.0,
        "min_size": 4.0 / 2,
        "pairs": 4.0 / 12,
        "min_entropy": 4.0 / 2.5,
        "cut_connections": 4.0 / 4,
        "conductance": 4.0 / 2.5,  # 2 and 3 receive 3 and 2 bits, of entropies 2 and .5
        "ncut": 4.0 / 5.0 + 4.0 / 2.5,
        "size_null": 4.0 / 8.0,
        "size_z": (4.0 - 8.0) / 2.0,
    }


def test_a_unit_receives_no_more_than_it_can_take_up():
    """Eight senders that say much the same; the receiver alone exchanges what it has traffic of."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 2), nn.Tanh())
    with torch.no_grad():
        net[2].weight[0], net[2].weight[1] = 1.0, torch.arange(8.0)
    meter = ExchangeMeter(
        ifl.record(net, ["1", "3"], torch.randn(300, 1)), replace(SCORE, donors=30, contexts=30)
    )
    traffic = meter.traffic
    alone = [np.arange(10) == unit for unit in (8, 9)]
    received = [meter([*labels.astype(int)]).bits_given_context for labels in alone]
    assert (traffic.unit_flow[:, 8:].sum(0) > np.array(received) * 1.5).all()
    assert traffic.per_unit[8:] == pytest.approx(received, rel=0.25)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_every_weighting_is_finite_on_a_real_network(rec, weighting):
    ex = ifl.exchange(rec, HALVES, weighting=weighting, donors=10, contexts=10)
    assert np.isfinite(ex.weighted)
    assert ex.weighting == weighting


def test_a_module_without_traffic_is_never_the_best():
    traffic = Traffic(np.zeros((2, 2)), np.zeros(2), np.zeros((2, 2), dtype=bool))
    partition = ifl.Partition([0, 1])
    assert (
        weigh("conductance", np.zeros((2, 2)), partition, lambda: traffic, lambda: (1.0, 1.0))
        == np.inf
    )


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_many_partitions_at_once_are_what_they_are_one_by_one(rec, weighting):
    one, many = (ExchangeMeter(rec, replace(SCORE, donors=15, contexts=12)) for _ in range(2))
    rng = np.random.default_rng(0)
    partitions = [ifl.Partition(rng.integers(-1, k, 9)) for k in (2, 2, 3, 4)] + [HALVES] * 2
    values = many.values(partitions, weighting)
    measured = [one(p, weighting) for p in partitions]
    amounts = [m.amount for m in measured]
    assert values.weighted == pytest.approx([m.weighted for m in measured], rel=1e-9, abs=1e-9)
    assert values.bits == pytest.approx(amounts, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("given_context", [True, False])
@pytest.mark.parametrize(
    "build",
    [
        lambda: (nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)), ["0", "1", "2"], None),
        lambda: (Branches(), ["a", "b", "c"], None),
        lambda: (nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)), ["1", "2"], "pca"),
        lambda: (nn.Sequential(nn.Linear(5, 6), nn.ReLU()).double(), ["0", "1"], None),
    ],
)
def test_modules_measured_by_themselves_give_the_tables_of_all_architectures(build, given_context):
    torch.manual_seed(5)
    net, layers, basis = build()
    x = torch.randn(80, 5, dtype=next(net.parameters()).dtype)
    rec = ifl.record(net, layers, x, basis=basis)
    meter = ExchangeMeter(
        rec, replace(SCORE, donors=12, contexts=9), Objective("none", given_context)
    )
    rng = np.random.default_rng(1)
    for _ in range(6):
        partition = ifl.Partition(rng.integers(0, 3, len(rec.units)))
        counted = meter.values([partition]).weighted
        assert counted == pytest.approx(meter(partition).amount, abs=1e-9)


class Branches(nn.Module):
    """Two branches side by side and one after them, called out of the order of their names."""

    def __init__(self):
        super().__init__()
        self.c, self.b, self.a = nn.Linear(3, 3), nn.Linear(5, 3), nn.Linear(5, 3)

    def forward(self, x):
        return self.c(torch.relu(self.b(x)) * torch.sigmoid(self.a(x)))


def test_a_moved_unit_costs_two_interventions_however_many_modules(rec):
    meter = ExchangeMeter(rec, replace(SCORE, donors=10, contexts=10))
    meter.values([[0, 1, 2, 3, 0, 1, 2, 3, 0]])
    before = meter._sender.interventions
    meter.values([[0, 1, 2, 3, 0, 1, 2, 3, 1]])
    assert meter._sender.interventions - before == 2


@pytest.mark.parametrize("pool", ["mean", "positions"])
@pytest.mark.parametrize("correction", ["auto", "grassberger", "none"])
def test_what_is_counted_is_what_tables_give_under_every_correction(pool, correction):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Conv1d(3, 2, 1), nn.Tanh())
    rec = ifl.record(net, ["1", "3"], torch.randn(40, 2, 6))
    options = {"donors": 9, "contexts": 8, "pool": pool, "correction": correction}
    meter, halves = ExchangeMeter(rec, replace(SCORE, **options)), [0, 1, 1, 0, 1]
    assert meter.values([halves]).bits[0] == pytest.approx(meter(halves).amount, abs=1e-12)
    a, b = meter(halves).partition.modules
    alone = ifl.flow(rec, a, b, coding="units", **options)
    assert meter(halves).flow[0, 1] == pytest.approx(alone.bits, abs=1e-12)
    assert meter(halves).flow_se[0, 1] == pytest.approx(alone.se, abs=1e-12)


def test_chance_of_a_size_is_that_of_the_units_that_are_divided(rec):
    first, second = [0, 0, 0, 1, 1, 1, 1, 1, -1], [-1, 0, 0, 1, 1, 1, 1, 1, 0]
    meter, other = (ExchangeMeter(rec, replace(SCORE, donors=10, contexts=10)) for _ in range(2))
    meter.values([first], "size_null")
    ratios = [m.values([second], "size_null").weighted[0] for m in (meter, other)]
    assert ratios[0] == ratios[1]


def test_chance_of_a_size_does_not_depend_on_which_partition_asked(rec):
    meter, other = (ExchangeMeter(rec, replace(SCORE, donors=10, contexts=10)) for _ in range(2))
    first, second = [0, 0, 0, 1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 1, 0, 1, 1]
    meter.values([first], "size_null")
    ratios = [m.values([second], "size_null").weighted[0] for m in (meter, other)]
    assert ratios[0] == ratios[1]


def test_differences_on_common_draws_are_sharper_than_values():
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh())
    wide = ifl.record(net, ["1", "3"], torch.randn(300, 6))
    moved = np.arange(24) % 2
    moved[13] = 0
    drawn = [
        ExchangeMeter(wide, replace(SCORE, donors=12, contexts=12, seed=seed)) for seed in range(20)
    ]
    values = np.array([meter.values([np.arange(24) % 2, moved]).weighted for meter in drawn])
    assert np.diff(values).std() < 0.5 * values.std(0).min()


def test_silent_units_are_those_that_neither_send_nor_receive():
    toy = toys.load_modules("isolated_tracks")
    rec = toy.record()
    assert not ExchangeMeter(rec).traffic.silent.any()
    alone = ifl.record(rec.model, ["layer2"], rec.inputs[0])
    assert ExchangeMeter(alone).traffic.silent.all()


def test_nearly_dead_units_are_silent_however_many_they_are():
    flow = np.zeros((7, 7))
    flow[0, 3], flow[1, 4], flow[2, 5] = 1.0, 0.2, 1.4
    flow[6, 3:6] = 0.03  # told from nothing, and little beside what the others send
    connected = flow > 0
    traffic = Traffic(flow, np.ones(7), connected, floor=0.01)
    assert np.flatnonzero(traffic.silent).tolist() == [6]
    quiet = Traffic(0.03 * connected, np.ones(7), connected, floor=0.01)
    assert not quiet.silent.any()


def test_to_frame_has_a_row_per_ordered_pair(rec):
    frame = ifl.exchange(rec, [0, 1, 2] * 3, donors=10, contexts=10).to_frame()
    assert len(frame) == 6
    assert list(frame.columns) == ["source", "target", "bits", "se", "bits_given_context"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], "one label for each of the 9"),
        ([0] * 9, "at least two modules"),
        ([-1] * 9, "at least two modules"),
    ],
)
def test_partitions_that_cannot_be_measured_are_refused(rec, labels, message):
    with pytest.raises(ValueError, match=message):
        ifl.exchange(rec, labels)


def test_an_unknown_weighting_names_its_near_misses(rec):
    with pytest.raises(ValueError, match="conductance"):
        ifl.exchange(rec, HALVES, weighting="conductence")


def test_modules_keep_the_labels_that_the_caller_gave_them(rec):
    labels = [7, 7, *[3] * (len(rec.units) - 2)]
    assert ifl.module_flow(rec, labels, donors=6, contexts=6).index.tolist() == [7, 3]
    frame = ifl.exchange(rec, labels, donors=6, contexts=6).to_frame()
    assert list(zip(frame["source"], frame["target"], strict=True)) == [(7, 3), (3, 7)]
