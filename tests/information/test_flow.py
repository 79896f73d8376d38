"""Flow in small networks whose answer is known, and what is refused."""

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from tests import oracles_information as oracle

EXACT = {"donors": "all", "contexts": "all", "bins": "unique", "correction": "none"}


class Parity(nn.Module):
    """Hidden units copy the two inputs; a unit of the next layer is their exclusive or."""

    def __init__(self):
        super().__init__()
        self.copy = nn.Linear(2, 2, bias=False)
        self.mix = nn.Linear(2, 2)
        self.out = nn.Linear(2, 1, bias=False)
        with torch.no_grad():
            self.copy.weight.copy_(torch.eye(2))
            self.mix.weight.fill_(1.0)
            self.mix.bias.copy_(torch.tensor([0.0, -1.0]))
            self.out.weight.copy_(torch.tensor([[1.0, -2.0]]))

    def forward(self, x):
        return self.out(self.mix(self.copy(x)).relu())


BITS = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


@pytest.fixture(scope="module")
def parity():
    return ifl.record(Parity(), ["copy", "out"], BITS)


@pytest.fixture(scope="module")
def mixed():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU())
    return ifl.record(net, ["1", "3"], torch.randn(400, 8))


def test_an_exclusive_or_shows_only_when_the_context_is_known(parity):
    found = ifl.flow(parity, {"copy": [0]}, {"out": [0]}, **EXACT)
    assert (found.bits, found.bits_given_context, found.synergy) == (0.0, 1.0, 1.0)
    assert found.observational_bits == pytest.approx(0.0, abs=1e-12)
    both = ifl.flow(parity, {"copy": [0, 1]}, {"out": [0]}, **EXACT)
    assert both.bits == pytest.approx(1.0)


def test_a_common_cause_is_correlation_and_not_flow():
    net = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Identity())
    nn.init.ones_(net[0].weight)
    rec = ifl.record(net, ["0"], torch.arange(8.0)[:, None])
    found = ifl.flow(rec, {"0": [0]}, {"0": [1]}, **EXACT)
    assert found.observational_bits == pytest.approx(3.0)
    assert found.bits == 0.0
    assert found.bits_given_context == 0.0


def test_enumeration_is_the_information_of_all_donors_in_all_contexts(mixed):
    small = ifl.record(mixed.model, ["1", "3"], mixed.inputs[0][:12])
    found = ifl.flow(small, {"1": [0, 2, 3]}, {"3": [1, 4]}, **EXACT)
    codes = np.empty((12, 12), dtype=int)
    seen = {}
    for donor in range(12):
        values = small["1"][donor, [0, 2, 3]]
        with torch.no_grad(), ifl.do(small.model, {"1": ([0, 2, 3], values)}):
            out = small.model(small.inputs[0])[:, [1, 4]]
        for context in range(12):
            row = tuple(np.round(out[context].numpy(), 5).tolist())
            codes[donor, context] = seen.setdefault(row, len(seen))
    assert found.bits == pytest.approx(oracle.plain_flow(codes), abs=1e-12)
    assert found.bits_given_context == pytest.approx(oracle.context_flow(codes), abs=1e-12)


@pytest.mark.parametrize("coding", ["joint", "units"])
@pytest.mark.parametrize("source", [[0], [0, 1, 2]])
def test_the_answer_does_not_depend_on_the_batch_size(mixed, source, coding):
    answers = [
        ifl.flow(
            ifl.record(mixed.model, ["1", "3"], mixed.inputs[0], batch_size=size),
            {"1": source},
            "3",
            donors=20,
            contexts=15,
            coding=coding,
            n_null=20,
        )
        for size in (7, 64, 512)
    ]
    assert answers[0] == answers[1] == answers[2]


def test_the_same_seed_gives_the_same_answer_and_another_seed_another(mixed):
    one, two, other = (
        ifl.flow(mixed, {"1": [0, 1]}, "3", donors=20, contexts=20, seed=s) for s in (3, 3, 4)
    )
    assert one == two
    assert one.bits != other.bits


def test_nothing_flows_upstream(mixed):
    for source in ([0], [0, 1, 2]):
        found = ifl.flow(mixed, {"3": source}, "1", donors=20, contexts=20, n_null=19)
        assert (found.bits, found.bits_given_context, found.se) == (0.0, 0.0, 0.0)
        assert found.p_value == 1.0
        assert found.observational_bits > 0.3


def test_a_strong_flow_is_significant_and_above_its_detection_floor(mixed):
    for source in ([0], [0, 1, 2, 3]):
        found = ifl.flow(mixed, {"1": source}, "3", donors=60, contexts=40, n_null=99)
        assert found.p_value is not None
        assert found.floor is not None
        if found.bits > 0.2:
            assert found.p_value == 0.01
            assert found.floor < found.bits


def test_a_joint_code_never_sends_more_than_the_units_it_stands_for_in_sum(parity):
    joint = ifl.flow(parity, {"copy": [0, 1]}, "out", **EXACT)
    units = ifl.flow(parity, {"copy": [0, 1]}, "out", **{**EXACT, "coding": "units"})
    assert joint.bits <= units.bits + 1e-12


def test_a_source_or_target_that_never_varies_gives_zero_bits_and_says_so():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        net[0].weight[0], net[0].bias[0] = 0.0, 1.0
        net[2].weight[1], net[2].bias[1] = 0.0, 1.0
    rec = ifl.record(net, ["1", "2"], torch.randn(60, 2))
    constant = ifl.flow(rec, {"1": [0]}, {"2": [0]}, donors=20, contexts=20)
    assert constant.bits == 0.0
    assert "constant source" in constant.flags
    deaf = ifl.flow(rec, {"1": [1, 2]}, {"2": [1]}, donors=20, contexts=20)
    assert (deaf.bits, deaf.observational_bits) == (0.0, 0.0)
    assert "constant target" in deaf.flags


def test_identical_donors_send_nothing_and_say_so(mixed):
    inputs = mixed.inputs[0][:1].repeat(30, 1)
    inputs[0] += 1.0  # a recording needs more than one value
    rec = ifl.record(mixed.model, ["1", "3"], inputs)
    found = ifl.flow(rec, {"1": [0, 1, 2]}, "3", donors=5, contexts=5, seed=1)
    assert found.bits == 0.0
    assert "constant source" in found.flags


def test_too_many_codes_for_the_contexts_are_flagged(mixed):
    found = ifl.flow(mixed, {"1": [0, 1, 2]}, "3", donors=20, contexts=5, bins=20)
    assert not found.reliable
    assert "too many codes" in found.flags
    assert ifl.flow(mixed, {"1": [0, 1, 2]}, "3", donors=20, contexts=60, bins=4).reliable


def test_a_single_unit_is_measured_by_whichever_way_is_sharper(mixed):
    shuffled = ifl.flow(mixed, {"1": [0]}, {"3": [0]}, donors=40, contexts=60)
    assert shuffled.estimator == "binned shuffle"
    table = ifl.flow(mixed, {"1": [0]}, {"3": [0]}, donors=60, contexts=60)  # 3600 > 6 x 400
    assert table.estimator == "donors x contexts"
    assert table.bits == pytest.approx(shuffled.bits, abs=4 * (table.se + shuffled.se))
    group = ifl.flow(mixed, {"1": [0, 1]}, {"3": [0]}, donors=40, contexts=60)
    assert group.estimator == "donors x contexts"


def test_source_and_target_must_not_share_units(mixed):
    with pytest.raises(ValueError, match=r"share units \[2\]"):
        ifl.flow(mixed, {"1": [1, 2]}, {"1": [2, 3]})
    with pytest.raises(ValueError, match="share units"):
        ifl.flow(mixed, "1", "1")


@pytest.mark.parametrize("groups", [([], "3"), ("1", []), ({"1": []}, "3")])
def test_an_empty_group_is_an_error(mixed, groups):
    with pytest.raises(ValueError, match="at least one unit"):
        ifl.flow(mixed, *groups)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"donors": 1}, "donors: expected an integer of at least 2"),
        ({"contexts": 1}, "contexts: expected an integer of at least 2"),
        ({"contexts": 2.5}, "contexts: expected an integer of at least 2"),
        ({"donors": "some"}, "at least 2 or 'all', got 'some'"),
        ({"bins": 1}, "at least 2"),
        ({"bins": "many"}, "bins: expected an integer .* or 'unique'"),
        ({"coding": "both"}, "unknown coding"),
        ({"correction": "magic"}, "unknown correction"),
        ({"pool": "sum"}, "unknown pool"),
        ({"n_null": -1}, "n_null: expected an integer of at least 0"),
        ({"n_null": 1}, "n_null >= 2"),
    ],
)
def test_options_are_checked(mixed, options, text):
    with pytest.raises(ValueError, match=text):
        ifl.flow(mixed, {"1": [0, 1]}, "3", **options)


def test_an_unknown_layer_is_named_with_its_near_misses(mixed):
    with pytest.raises(KeyError, match="recorded layer 'fc'"):
        ifl.flow(mixed, "fc", "3")


def test_a_target_that_becomes_nan_is_an_error():
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.pair, self.root = nn.Identity(), nn.Identity()

        def forward(self, x):
            pair = self.pair(x)
            return self.root((pair[:, :1] - pair[:, 1:]).sqrt())

    low = torch.rand(50, 1) * 10
    rec = ifl.record(Root(), ["pair", "root"], torch.cat([low + 1, low], 1))
    with pytest.raises(ValueError, match="not a number"):
        ifl.flow(rec, {"pair": [0]}, {"root": [0]}, donors=20, contexts=20)


def test_to_frame_is_one_row_with_every_number(mixed):
    found = ifl.flow(mixed, {"1": [0, 1]}, "3", donors=10, contexts=10)
    row = found.to_frame().iloc[0]
    assert len(found.to_frame()) == 1
    assert row["bits"] == found.bits
    assert f"{found.bits:.4f}" in repr(found)


class Maps(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv1d(1, 3, 1)
        self.b = nn.Conv1d(3, 2, 1)

    def forward(self, x):
        return self.b(self.a(x).relu())


@pytest.fixture(scope="module")
def maps():
    torch.manual_seed(1)
    return ifl.record(Maps(), ["a", "b"], torch.randn(60, 1, 6))


@pytest.mark.parametrize("pool", ["mean", "max", "positions"])
def test_positions_can_be_pooled_or_counted_as_contexts(maps, pool):
    found = ifl.flow(maps, {"a": [0]}, "b", donors=30, contexts=30, pool=pool)
    assert found.bits_given_context > 0.1
    assert found.bits_given_context >= found.bits - 3 * found.se


def test_positions_of_one_context_are_one_sample_for_the_standard_error(maps):
    repeated = ifl.record(maps.model, ["a", "b"], maps.inputs[0][:, :, :1].repeat(1, 1, 6))
    single = ifl.record(maps.model, ["a", "b"], maps.inputs[0][:, :, :1])
    ask = {"source": {"a": [0, 1]}, "target": {"b": [0]}, "donors": 30, "contexts": 30}
    six = ifl.flow(repeated, **ask, pool="positions", correction="none")
    one = ifl.flow(single, **ask, correction="none")
    assert six.bits == pytest.approx(one.bits, abs=1e-9)
    assert six.se == pytest.approx(one.se, rel=1e-6)


def test_a_code_that_is_full_is_flagged_with_what_to_do():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 6))
    rec = ifl.record(net, ["0", "1"], torch.randn(300, 4))
    full = ifl.flow(rec, "0", "1", bins=4, donors=100, contexts=50)
    assert "saturated code" in full.flags
    assert "raise bins=" in repr(full)
    two = torch.tensor([[0.0], [1.0]])  # all there is to tell, in as many codes
    copy = ifl.record(nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)), ["0", "1"], two)
    exact = ifl.flow(copy, "0", "1", donors="all", contexts="all", correction="none")
    assert exact.bits == 1.0
    assert "saturated code" not in exact.flags


def test_a_code_too_coarse_for_what_arrives_is_flagged():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1), nn.Linear(1, 1))
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(2))
        net[1].weight.copy_(torch.tensor([[1.0, 1e-3]]))
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]).repeat(10, 1)
    rec = ifl.record(net, ["0", "1"], x)
    faint = ifl.flow(rec, {"0": [1]}, {"1": [0]}, bins=2, donors=20, contexts=20)
    assert faint.bits_given_context == 0.0
    assert faint.flags == ("coarse code",) and faint.reachable
    assert "coding='units'" in repr(faint)
    fine = ifl.flow(rec, {"0": [1]}, {"1": [0]}, bins="unique", donors=30, contexts=30)
    assert fine.bits_given_context > 0.9 and fine.flags == ()


def test_a_target_that_nothing_reaches_is_flagged():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    rec = ifl.record(net, ["0", "2"], torch.randn(100, 4))
    beside = ifl.flow(rec, {"0": [0, 1]}, {"0": [2, 3]}, donors=20, contexts=20)
    assert not beside.reachable
    assert "out of reach" in repr(beside)
    assert not ifl.flow(rec, "2", "0", donors=20, contexts=20).reachable
    assert ifl.flow(rec, "0", "2", donors=20, contexts=20).reachable
    alone = ifl.exchange(ifl.record(net, ["0"], torch.randn(100, 4)), [0, 0, 0, 1, 1, 1])
    assert not alone.reachable
    assert "no module reaches another" in repr(alone)


def test_positions_of_source_and_target_need_not_be_as_many():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(1, 3, 2), nn.Conv1d(3, 2, 2))
    rec = ifl.record(net, ["0", "1"], torch.randn(40, 1, 8))
    found = ifl.flow(rec, {"0": [0]}, {"1": [0]}, pool="positions", donors=20, contexts=20)
    assert found.estimator == "donors x contexts"
    assert found.bits_given_context > 0
    assert np.isnan(found.observational_bits)


def test_a_code_that_hardly_ever_follows_the_donor_is_flagged_and_not_far_below_zero():
    """One that no donor showed was made up for in the donors' entropies but not in the mixture's:
    ten standard errors below zero."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh())
    with torch.no_grad():
        net[2].weight[:, :2] *= 0.2
    rec = ifl.record(net, ["1", "3"], torch.randn(400, 8))
    few = {"donors": 20, "contexts": 20}
    flows = [ifl.flow(rec, [0, 1], range(16, 32), **few, seed=seed) for seed in range(30)]
    assert all(f.bits >= -2 * f.se for f in flows)
    shy = [f for f in flows if "few changes" in f.flags]
    assert len(shy) > 10
    assert "more contexts=" in repr(shy[0])
    busy = ifl.flow(rec, range(16), range(16, 32), **few)
    assert "few changes" not in busy.flags
    assert "few draws" in busy.flags
    assert "few draws" not in ifl.flow(rec, [0, 1], [20], donors=30, contexts=30).flags
    everything = ifl.flow(rec, [0, 1], range(16, 32), donors=20, contexts="all")
    assert "few changes" not in everything.flags
