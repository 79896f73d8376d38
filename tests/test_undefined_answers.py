"""What is undefined is refused or said: unused units, saturated codes, nothing downstream; and a
partition may come in any form."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import infoflow as ifl
from infoflow import plot, study, toys
from infoflow._replay.prepare import Replays
from infoflow.clustering import significance
from infoflow.data import load
from infoflow.measured import WEIGHTINGS
from infoflow.oracle import coarse
from infoflow.units import UnknownName
from tests.nets import normal, seeded

FEW = {"donors": 10, "contexts": 10}
LABELS = [7, 7, 3, 3, 7, 3, 7, 3, 7, 3]


@pytest.fixture(scope="module")
def rec() -> ifl.Recording:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 4)).eval()
    with torch.no_grad():  # one dead unit
        net[0].weight[0], net[0].bias[0] = 0, -1
    x = torch.randn(100, 6)
    return ifl.record(net, ["1", "2"], x, net(x).argmax(1), loss=cross_entropy)


@pytest.fixture(scope="module")
def found(rec: ifl.Recording) -> ifl.SearchResult:
    return ifl.search(rec, n_modules=2, budget=5, samples=3, **FEW)


def test_every_result_says_how_many_units_are_unused(rec, found):
    modules = ifl.find_modules(ifl.similarity(rec, "cov"))
    results = [
        rec,
        modules,
        modules.partition,
        ifl.flow(rec, {"1": [0, 1]}, {"2": [0]}, **FEW),
        ifl.exchange(rec, LABELS, **FEW),
        found,
        ifl.compare(rec, budget=5, samples=3, **FEW),
    ]
    assert [" 1 unused" in repr(result) for result in results] == [True] * 7


def test_a_partition_comes_in_any_form(rec, found):
    S = ifl.similarity(rec, "cov")
    takers = [
        lambda p: ifl.modularity(S, p),
        lambda p: ifl.agreement(p, LABELS),
        lambda p: ifl.exchange(rec, p, **FEW).bits,
        lambda p: ifl.module_flow(rec, p, **FEW).to_numpy().sum(),
        lambda p: ifl.search(rec, n_modules=2, budget=1, samples=2, starts=[p], **FEW).evaluations,
        lambda p: study.encode(p),
        lambda p: coarse.from_partition(rec, p, codes=2, input_codes=2).modules,
        lambda p: len(plot.similarity_matrix(S, p).images),
    ]
    held = ifl.exchange(rec, LABELS, **FEW)
    for take in takers:
        first, *others = [
            take(p) for p in (LABELS, tuple(LABELS), np.array(LABELS), ifl.Partition(LABELS))
        ]
        assert all(other == first for other in others)
        assert take(found) is not None and take(held) is not None


def test_a_partition_among_seeds_is_sent_where_it_belongs(rec):
    with pytest.raises(ValueError, match="starts="):
        ifl.search(rec, n_modules=2, seeds=[ifl.Partition(LABELS)], **FEW)


def test_where_nothing_lies_downstream_nobody_says_a_number_without_a_word(rec):
    x = torch.randn(60, 6)
    alone = ifl.record(rec.model, ["2"], x, rec.model(x).argmax(1), loss=cross_entropy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for ask in (ifl.search, ifl.compare):
            with pytest.raises(ValueError, match="downstream"):
                ask(alone, **FEW)
        assert not ifl.flow(alone, [0], [1, 2], **FEW).reachable
        assert "no module reaches another" in repr(ifl.exchange(alone, [0, 0, 1, 1], **FEW))
    with pytest.warns(RuntimeWarning, match="no module reaches another"):
        ifl.module_flow(alone, [0, 0, 1, 1], **FEW)
    for given_context in (False, True):
        with pytest.warns(RuntimeWarning, match="record layers that follow one another"):
            assert not ifl.unit_flow(alone, given_context=given_context, **FEW).any()


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_an_exchange_of_one_layer_is_flagged_whatever_it_is_divided_by(rec, weighting):
    alone = ifl.record(rec.model, ["2"], torch.randn(60, 6))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a division by zero is not left to NumPy to tell
        found = ifl.exchange(alone, [0, 0, 1, 1], weighting=weighting, **FEW)
    assert not found.reachable and found.weighted in (0.0, np.inf)


@pytest.mark.parametrize(
    "ask",
    [
        lambda rec, word: ifl.similarity(rec, word),
        lambda rec, word: ifl.find_modules(np.ones((3, 3)), method=word),
        lambda rec, word: significance(np.ones((3, 3)), shuffle=word),
        lambda rec, word: ifl.agreement([0, 1], [0, 1], measure=word),
        lambda rec, word: load(word),
        lambda rec, word: toys.load(word),
    ],
)
def test_an_unknown_name_is_the_same_error_everywhere(rec, ask):
    with pytest.raises(UnknownName, match=r"'copi'.*Known: "):
        ask(rec, "copi")


@pytest.fixture(scope="module")
def wire() -> ifl.Recording:
    """One unit handed on as it is: far more levels than bins, and all of them sent."""
    net = nn.Sequential(nn.Identity(), nn.Linear(1, 2, bias=False))
    nn.init.ones_(net[1].weight)
    return ifl.record(net, ["0", "1"], torch.linspace(0, 1, 200)[:, None])


def test_a_joint_code_that_is_the_limit_is_said_with_what_to_do(wire):
    full = ifl.exchange(wire, [4, 9, 9], coding="joint", bins=4, donors=60, contexts=40)
    assert full.saturated == ((0, 1),)
    assert "saturated code from 4 to 9 (raise bins=" in repr(full)
    with pytest.warns(RuntimeWarning, match="saturated code from 4 to 9"):
        ifl.module_flow(wire, [4, 9, 9], bins=4, donors=60, contexts=40)


def test_a_code_that_holds_all_there_is_to_say_is_not_flagged(wire):
    x = (torch.arange(80) % 4).float()[:, None]
    four = ifl.record(wire.model, ["0", "1"], x)
    found = ifl.exchange(four, [0, 1, 1], coding="joint", bins=4, donors=60, contexts=40)
    assert found.bits == pytest.approx(2.0, abs=0.1) and found.saturated == ()


class SingleThenDouble(nn.Module):
    """Two branches in single precision; one goes on in double precision, and reads no other."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(30, 6), nn.Linear(30, 100), nn.Linear(100, 8).double()

    def forward(self, x):
        h = torch.tanh(self.a(x))
        return self.c(torch.relu(self.b(x)).double()) + h.double().sum(1, keepdim=True)


@pytest.mark.parametrize("size", [512, 7])
def test_what_single_precision_rounds_away_is_no_information_in_double_precision(size):
    net, x = seeded(SingleThenDouble), normal(6, 30)[torch.arange(600) % 6]
    rec = ifl.record(net, ["a", "c"], x, batch_size=size)
    few = {"donors": 30, "contexts": 30, "correction": "none"}
    f = ifl.flow(rec, {"a": range(5)}, {"c": range(8)}, coding="units", **few)
    assert (f.bits, f.bits_given_context) == (0, 0)  # 6.6 given the context in batches of 7
    with pytest.warns(RuntimeWarning, match="changes the code of no other"):
        assert ifl.unit_flow(rec, donors=30, contexts=30).max() == 0
    assert not rec.kept(Replays).reasons
