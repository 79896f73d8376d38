"""Directions carried forward through networks that branch and add give what differentiation one
unit at a time gives, and are carried only through steps that are understood."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import infoflow as ifl
from infoflow._safety import evaluating
from infoflow.unit_similarity import similarities, similarities_by_layer
from infoflow.unit_similarity.perturbed import run_perturbed
from infoflow.unit_similarity.request import make_request
from infoflow.unit_similarity.structure import read_structure
from tests import oracles_similarity as oracle
from tests.unit_similarity import networks as nets

# torch.func.hessian's forward mode compiles its decompositions with torch's own deprecated jit
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

BASES = frozenset({"i_sens", "o_sens", "hess"})


class TwoWays(nn.Module):
    """Sums, differences, one tensor used three times, and a factor of its own."""

    def __init__(self, width):
        super().__init__()
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        return 0.5 * (self.a(x).tanh() - F.softplus(self.b(x))) + x - x.sigmoid()


class Widened(nn.Module):
    """Half of the way in higher precision."""

    def forward(self, x):
        return (x.double().tanh() + x).to(x.dtype)


def residual(act, middle=nn.Identity):
    return nets.sequential(
        lambda: nn.Linear(8, 6), lambda: nets.Residual(6, act), middle,
        lambda: nets.Residual(6, act), lambda: nn.Linear(6, 3),
    )  # fmt: skip


def data(seed=0, count=21):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 8, generator=generator, dtype=torch.float64)
    return x, torch.randint(3, (count,), generator=generator)


def recording(net, layers, loss=F.cross_entropy):
    return ifl.record(net, layers, *data(), loss=loss, batch_size=6)


def structure_of(rec, bases=BASES, across=False):
    with evaluating(rec.model):
        request = make_request(rec, rec.units.layers, bases, across=across)
        return read_structure(run_perturbed(request, slice(0, 4)), bases, across=across)


def assert_same(found, expected, rtol=1e-12):
    assert set(found) == set(expected)
    for name, matrix in expected.items():
        worst = np.abs(found[name] - matrix).max() / np.abs(matrix).max()
        assert worst <= rtol, f"{name}: {worst:.1e}"


NETWORKS = {
    "residual GELU": lambda: residual(F.gelu),
    "residual tanh": lambda: residual(torch.tanh),
    "two ways": lambda: nets.sequential(
        lambda: nn.Linear(8, 6), lambda: TwoWays(6), nn.Tanh, lambda: TwoWays(6),
        lambda: nn.Linear(6, 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("layers", [["0", "1"], ["1", "2", "3"], ["2"]], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_that_branch_and_add_match_one_sample_at_a_time(name, layers):
    net = NETWORKS[name]()
    rec = recording(net, layers)
    holds = structure_of(rec)
    assert holds.inward is not None and holds.outward is not None
    expected = oracle.similarities(net, layers, *data(), F.cross_entropy)
    assert_same(similarities(rec), expected)
    for layer, found in similarities_by_layer(rec).items():
        block = np.ix_(rec.units.indices(layer), rec.units.indices(layer))
        assert_same(found, {measure: matrix[block] for measure, matrix in expected.items()})


@pytest.mark.parametrize("loss", [
    lambda y, t: F.mse_loss(y, F.one_hot(t, 3).double()),
    lambda y, t: (y[:, 0] * y[:, 1] - y[:, 2] ** 3 + 0 * t).mean(),
    lambda y, t: (y.sum(1) + 0 * t).mean(),
], ids=["mse", "indefinite", "linear"])  # fmt: skip
def test_the_loss_has_its_own_curvature(loss):
    net = residual(F.gelu)
    rec = recording(net, ["0", "2"], loss)
    assert "carried" in structure_of(rec).names
    expected = oracle.similarities(net, ["0", "2"], *data(), loss)
    assert_same(similarities(rec, "hess"), {"hess": expected["hess"]}, rtol=1e-11)


@pytest.mark.parametrize("middle", [
    lambda: nets.Gate(6), nets.Attention, lambda: nn.LayerNorm(6), nets.AddsHiddenSquare,
    lambda: nn.Softmax(1), lambda: nn.Sequential(nn.Unflatten(1, (2, 3)), nn.Flatten(), nn.Tanh()),
], ids=["gate", "attention", "layer norm", "hidden", "softmax", "reshaped"])  # fmt: skip
def test_other_steps_are_not_carried_through_and_are_right(middle):
    net = residual(F.gelu, middle)
    before, after = recording(net, ["0", "1"]), recording(net, ["3"])
    for rec, bases in ((before, {"o_sens", "hess"}), (after, {"i_sens"})):
        assert "carried" not in structure_of(rec, frozenset(bases), across=True).names
        assert_same(similarities(rec), similarities(rec, fast=False), rtol=1e-10)


def test_few_units_behind_a_wide_entrance_are_differentiated_backward():
    net = nets.sequential(
        lambda: nn.Linear(8, 7), lambda: nets.Residual(7, F.gelu), lambda: nn.Linear(7, 3)
    )
    rec = recording(net, ["2"])
    expected = oracle.similarities(net, ["2"], *data(), F.cross_entropy)
    assert_same(similarities(rec), expected, rtol=1e-11)


def test_float32_is_within_2e_5_of_float64():
    net = residual(F.gelu)
    exact = similarities(recording(net, ["0", "1"]))
    x, y = data()
    rec = ifl.record(net.float(), ["0", "1"], x.float(), y, loss=F.cross_entropy)
    assert "carried" in structure_of(rec).names
    assert_same(similarities(rec), exact, rtol=2e-5)


@pytest.mark.parametrize("make", [residual, lambda act, middle: nets.mlp(middle, inputs=8)])
def test_part_of_the_way_may_be_in_another_precision(make):
    net = make(torch.tanh, Widened)
    x, y = data()
    exact = similarities(ifl.record(net, ["0", "3"], x, y, loss=F.cross_entropy))
    rec = ifl.record(net.float(), ["0", "3"], x.float(), y, loss=F.cross_entropy)
    assert_same(similarities(rec), exact, rtol=2e-5)
