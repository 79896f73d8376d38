"""Flow between all pairs of units is the flow of each pair."""

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow.information.shuffle import information_with_each
from tests import oracles_information as oracle


@pytest.fixture(scope="module")
def rec():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU())
    with torch.no_grad():
        net[0].weight[2], net[0].bias[2] = 0.0, -1.0  # a dead unit
    return ifl.record(net, ["1", "3"], torch.randn(300, 5))


@pytest.mark.parametrize("given_context", [False, True])
def test_each_entry_is_the_flow_of_that_pair(rec, given_context):
    flows = ifl.unit_flow(rec, given_context=given_context, donors=20, contexts=15, seed=3)
    for i in (0, 1, 3):
        for j in (4, 5, 6):
            pair = ifl.flow(rec, [i], [j], donors=20, contexts=15, seed=3)
            expected = pair.bits_given_context if given_context else pair.bits
            assert flows[i, j] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("given_context", [False, True])
def test_nothing_flows_upstream_sideways_to_itself_or_from_a_dead_unit(rec, given_context):
    flows = ifl.unit_flow(rec, given_context=given_context, donors=20, contexts=20)
    assert rec.units.unused[2]
    assert (flows[2] == 0).all()
    assert (flows[:4, :4] == 0).all()
    assert (flows[4:] == 0).all()
    assert (flows[[0, 1, 3], 4:] != 0).any(1).all()


@pytest.mark.parametrize("given_context", [False, True])
def test_a_dead_unit_that_an_intervention_revives_still_receives_nothing(given_context):
    """Off on every sample, since h0 is never on without h1; on where h0 alone is set."""
    net = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU())
    with torch.no_grad():
        net[0].weight.fill_(1.0)
        net[0].bias.zero_()
        net[2].weight.copy_(torch.tensor([[1.0, -1.0], [1.0, 0.0]]))
        net[2].bias.zero_()
    rec = ifl.record(net, ["1", "3"], torch.linspace(-1, 1, 60)[:, None])
    assert rec.units.unused.tolist() == [False, False, True, False]
    found = ifl.unit_flow(rec, given_context=given_context, donors=10, contexts=10)
    assert (found[:, 2] == 0).all()
    assert found[0, 3] > 0


def test_the_answer_does_not_depend_on_the_batch_size(rec):
    small = ifl.record(rec.model, ["1", "3"], rec.inputs[0], batch_size=11)
    assert (ifl.unit_flow(rec) == ifl.unit_flow(small)).all()


def test_information_with_each_column_is_that_of_the_pair():
    rng = np.random.default_rng(0)
    a, columns = rng.integers(4, size=500), rng.integers(4, size=(500, 3))
    columns[:, 0] = a
    found = information_with_each(a, columns, 4)
    for t in range(3):
        b = columns[:, t]
        cells = [len(set(a)), len(set(b)), len(set(zip(a, b, strict=True)))]  # 16 / 500 < 0.05
        correction = (cells[0] + cells[1] - cells[2] - 1) / (2 * 500) / np.log(2)
        expected = oracle.information(a.tolist(), b.tolist()) + correction
        assert found[t] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"bins": 1}, "bins: expected an integer of at least 2"),
        ({"donors": 1}, "donors: expected an integer of at least 2"),
        ({"contexts": 0}, "contexts: expected an integer of at least 2"),
    ],
)
def test_options_are_checked(rec, options, text):
    with pytest.raises(ValueError, match=text):
        ifl.unit_flow(rec, given_context=True, **options)
