"""A model that is recorded and run comes back as it was; one that was changed since is refused."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow._replay.calls import Memory
from infoflow._unchanged import Attributes, Unchanged
from tests.nets import normal, seeded

K = 24


class Leaky(nn.Module):
    """Writes to everything it can reach."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x):
        self.a.weight.data.clamp_(-0.2, 0.2)
        with torch.no_grad():
            self.b.bias.clamp_(-0.1, 0.1)
        self.count.data.add_(1.0)
        random.random()
        np.random.rand()  # noqa: NPY002
        torch.rand(1)
        return self.b(torch.tanh(self.a(x)))


def test_what_a_forward_pass_writes_is_put_back():
    net, x = seeded(Leaky).train(), normal(K, 4)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    legacy = np.random.get_state()[1].copy()  # noqa: NPY002
    states = random.getstate(), legacy, torch.get_rng_state()

    def unchanged() -> bool:
        after = net.state_dict()
        same = all(torch.equal(before[name], after[name]) for name in before)
        same &= random.getstate() == states[0]
        same &= bool((np.random.get_state()[1] == states[1]).all())  # noqa: NPY002
        return bool(same and torch.equal(torch.get_rng_state(), states[2]) and net.training)

    rec = ifl.record(net, ["a", "b"], x)
    assert unchanged()
    ifl.counterfactual(rec, {"a": [0]}, observe="b")
    assert unchanged()
    ifl.flow(rec, {"a": [0]}, {"b": [0]}, donors=8, contexts=8)
    assert unchanged()


class Clamped(nn.Module):
    """Keeps its weights in a range that they are in already."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        with torch.no_grad():
            self.b.weight.clamp_(-10, 10)
        return self.b(torch.tanh(self.a(x)))


def test_a_pass_that_writes_what_is_there_is_no_change_since_the_recording():
    rec = ifl.record(seeded(Clamped), ["a", "b"], normal(K, 4))
    assert ifl.flow(rec, {"a": [0, 1]}, {"b": [0]}, donors=8, contexts=8).bits_given_context > 0
    assert ifl.similarity(rec, "o_sens").max() > 0


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("make", [torch.jit.script, lambda m: torch.jit.trace(m, normal(2, 4))])
def test_a_net_with_a_compiled_part_comes_back_as_it_was(make):
    part = seeded(lambda: nn.Sequential(nn.Linear(4, 4), nn.Tanh()))
    net = nn.Sequential(
        nn.Linear(4, 4), make(part), nn.Dropout(0.5), nn.BatchNorm1d(4), nn.Linear(4, 2)
    ).train()
    modes = [m.training for m in net.modules()]
    rec = ifl.record(net, ["0", "4"], normal(K, 4))
    moved = [
        ifl.counterfactual(rec, {"0": [0]}, observe="4", replay=replay) for replay in (True, False)
    ]
    torch.testing.assert_close(*moved)
    assert [m.training for m in net.modules()] == modes
    assert net[3].num_batches_tracked == 0


def normalised() -> nn.Module:
    return nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)
    ).eval()


def train_on(net):
    net.train()(normal(50, 4) * 5 + 3)
    net.eval()


def swap_two_entries(net):
    flat = net[0].weight.data.view(-1)
    flat[[0, 5]] = flat[[5, 0]]


def write_beneath(net):
    net[3].bias.detach().numpy()[0] += 1.0  # neither torch's edit count nor autograd notices


CHANGES = {
    "two entries swapped": swap_two_entries,
    "through NumPy": write_beneath,
    "a buffer through .data": lambda net: net[1].running_mean.data.add_(1.0),
    "another parameter": lambda net: setattr(net[3], "weight", nn.Parameter(torch.randn(6, 8))),
    "statistics of BatchNorm": train_on,
    "a weight through .data": lambda net: net[5].weight.data.mul_(2),
    "another tensor as .data": lambda net: setattr(net[3].weight, "data", torch.randn(6, 8)),
    "a layer replaced": lambda net: net.__setitem__(4, nn.Tanh()),
    "an attribute": lambda net: setattr(net[1], "eps", 1.0),
}


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", [(8, 4), (300, 400)])
def test_a_write_that_leaves_no_trace_is_seen_by_content(kind, shape):
    layer = nn.Linear(*shape, dtype=kind)
    known = Unchanged(layer, ())
    assert known
    assert known
    layer.weight.data[0, 0] += 1.0  # entries of more than 2^16 are sampled; the first is among them
    assert not known
    layer.weight.data[0, 0] -= 1.0
    layer.extra = 1
    assert not known


def test_a_weight_turned_over_in_its_place_is_seen():
    layer = nn.Linear(6, 6)
    known = Unchanged(layer, ())
    layer.weight.data = layer.weight.data.t()
    assert not known


def test_a_model_that_draws_from_numpy_leaves_its_state_also_in_short_runs():
    rec = ifl.record(seeded(Leaky), ["a", "b"], normal(K, 4))
    before = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    for _ in range(3):
        ifl.counterfactual(rec, {"a": [0]}, observe="b")
    assert random.getstate() == before[0]
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


@pytest.mark.parametrize("change", CHANGES)
def test_a_model_that_was_changed_since_is_refused(change):
    net = seeded(normalised)
    rec = ifl.record(net, ["2", "5"], normal(K, 4))
    for _ in range(2):
        ifl.counterfactual(rec, {"2": [0, 3]}, observe="5")
    CHANGES[change](net)
    with pytest.raises(RuntimeError, match="record again"):
        ifl.counterfactual(rec, {"2": [0, 3]}, observe="5")


def test_a_model_run_by_its_user_is_not_changed_by_that():
    net = seeded(normalised)
    rec = ifl.record(net, ["2", "5"], normal(K, 4))
    net.train().eval()(normal(3, 4))
    ifl.counterfactual(rec, {"2": [0, 3]}, observe="5")


def test_attributes_are_the_same_only_under_the_same_names_in_the_same_place():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    known = Attributes(net)
    assert known.same
    net[0].weight, net[1].weight = net[1].weight, net[0].weight
    assert not known.same
    net[0].weight, net[1].weight = net[1].weight, net[0].weight
    assert known.same
    net._modules["2"] = net._modules.pop("1")
    assert not known.same
    known.restore()
    assert known.same
    net[1].__dict__ = dict(net[1].__dict__, weight_norm=True)
    assert not known.same
    known.restore()
    assert not hasattr(net[1], "weight_norm")


def test_tracing_a_model_does_not_import_the_compiler():
    # torch wraps the method in one that imports torch._dynamo, which takes two seconds
    assert not hasattr(Memory.__torch_dispatch__, "__wrapped__")
