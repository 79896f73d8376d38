"""Every fast path gives what differentiation one unit at a time gives, and is taken only where
its rule holds."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import infoflow as ifl
from infoflow._safety import evaluating
from infoflow.unit_similarity import similarities, similarities_by_layer
from infoflow.unit_similarity.graph import batched_vjp, through_images
from infoflow.unit_similarity.perturbed import run_perturbed
from infoflow.unit_similarity.request import make_request
from infoflow.unit_similarity.structure import read_structure
from tests import oracles_similarity as oracle
from tests.unit_similarity import networks as nets

# torch.func.hessian's forward mode compiles its decompositions with torch's own deprecated jit
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

BASES = frozenset({"i_sens", "o_sens", "hess"})


def data(*shape, seed=0, classes=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, generator=generator, dtype=dtype)
    return x, torch.randint(classes, (shape[0],), generator=generator)


def recording(net, layers, x, y, loss=F.cross_entropy, batch_size=7):
    return ifl.record(net, layers, x, y, loss=loss, batch_size=batch_size)


def request_of(rec, across=True):
    return make_request(rec, rec.units.layers, BASES, across=across)


def structure_of(rec, across=True, index=slice(0, 4)):
    with evaluating(rec.model):
        batch = run_perturbed(request_of(rec, across), index)
    return read_structure(batch, BASES, across=across)


def assert_same(found, expected, rtol=1e-12):
    assert set(found) == set(expected)
    for name, matrix in expected.items():
        worst = np.abs(found[name] - matrix).max() / np.abs(matrix).max()
        assert worst <= rtol, f"{name}: {worst:.1e}"


LAYERS = {
    "two": ["2", "5"],
    "before the nonlinearity": ["0", "3"],
    "all": ["0", "1", "3", "4", "6"],
}


@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("act", [nn.ReLU, nn.GELU, nn.Softplus])
@pytest.mark.parametrize("inputs", [3, 20])
def test_chains_have_closed_forms(act, layers, inputs):
    net, (x, y) = nets.mlp(act, inputs=inputs), data(20, inputs)
    rec = recording(net, layers, x, y)
    assert "carried" in structure_of(rec).names
    assert_same(similarities(rec), oracle.similarities(net, layers, x, y, F.cross_entropy))


@pytest.mark.parametrize("act", [nn.LeakyReLU, nn.Tanh])
@pytest.mark.parametrize("layers", [["0", "4", "7"], ["2"], ["5", "8", "9"]])
def test_closed_forms_hold_in_deep_chains_with_any_steps_in_a_row(act, layers):
    net, (x, y) = nets.deep_mlp(act), data(15, 9, classes=2)
    rec = recording(net, layers, x, y)
    assert "carried" in structure_of(rec).names
    assert_same(similarities(rec), oracle.similarities(net, layers, x, y, F.cross_entropy))


@pytest.mark.parametrize("loss", [
    lambda y, t: F.mse_loss(y, F.one_hot(t, 3).double()),
    lambda y, t: (y.exp() * t[:, None]).sum(),
    lambda y, t: F.relu(1 + y - y.gather(1, t[:, None])).sum(1).mean(),
    lambda y, t: (y[:, 0] * y[:, 1] - y[:, 2] ** 3 + 0 * t).mean(),
], ids=["mse", "exponential", "piecewise linear", "indefinite"])  # fmt: skip
@pytest.mark.parametrize("make", [nets.mlp, lambda: nets.conv_net()])
def test_any_loss_gets_its_own_hessian(make, loss):
    net = make()
    conv = isinstance(net[0], nn.Conv2d)
    x, y = data(8, 1, 6, 6) if conv else data(8, 5)
    layers = [ifl.Site("2", unit_dim=1), ifl.Site("5", unit_dim=1)] if conv else ["2", "5"]
    found = similarities(recording(net, layers, x, y, loss), ["hess"])["hess"]
    expected = oracle.similarities(net, ["2", "5"], x, y, loss)["hess"]
    assert found == pytest.approx(expected, rel=1e-11, abs=1e-13)


CASES = {
    "conv ReLU": (lambda: nets.conv_net(), True),
    "conv tanh": (lambda: nets.conv_net(nn.Tanh), False),
    "conv GELU": (lambda: nets.conv_net(nn.GELU), False),
    "residual ReLU": (
        lambda: nets.sequential(lambda: nn.Linear(8, 6), lambda: nets.Residual(6), nn.Identity,
                                lambda: nets.Residual(6), lambda: nn.Linear(6, 3)), True),
    "residual tanh": (
        lambda: nets.sequential(lambda: nn.Linear(8, 6), lambda: nets.Residual(6, torch.tanh),
                                nn.Identity, lambda: nets.Residual(6, torch.tanh),
                                lambda: nn.Linear(6, 3)), False),
    "gate": (
        lambda: nets.sequential(lambda: nn.Linear(8, 6), nn.ReLU, lambda: nn.Linear(6, 5),
                                lambda: nets.Gate(5), lambda: nn.Linear(5, 3)), False),
    "attention": (
        lambda: nets.sequential(lambda: nn.Linear(8, 6), nn.ReLU, lambda: nn.Linear(6, 8),
                                nets.Attention, lambda: nn.Linear(8, 3)), False),
    "layer norm": (
        lambda: nets.sequential(lambda: nn.Linear(8, 6), nn.ReLU, nn.Identity,
                                lambda: nn.LayerNorm(6), lambda: nn.Linear(6, 3)), False),
    "false name": (
        lambda: nets.sequential(lambda: nn.Linear(8, 6), nets.Attention, nn.Identity, nets.ReLU,
                                lambda: nn.Linear(6, 3)), False),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_piecewise_linear_hessian_is_used_only_where_the_network_is(case):
    make, piecewise_linear = CASES[case]
    net = make()
    conv = case.startswith("conv")
    layers = ["2", "5"] if conv else ["0", "2"]
    x, y = data(8, 1, 6, 6) if conv else data(8, 8)
    sites = [ifl.Site(layer, unit_dim=1) for layer in layers]
    rec = recording(net, sites, x, y, batch_size=3)
    holds = structure_of(rec)
    assert holds.piecewise_linear == piecewise_linear
    assert_same(
        similarities(rec), oracle.similarities(net, layers, x, y, F.cross_entropy), rtol=1e-11
    )


def test_gram_trick_is_used_when_a_linear_layer_is_the_only_way_in():
    net, (x, y) = CASES["layer norm"][0](), data(8, 8)
    assert structure_of(recording(net, ["0", "2"], x, y)).entrance
    bypass = nets.sequential(
        lambda: nets.Residual(8), lambda: nn.Linear(8, 6), nn.Identity, lambda: nn.Linear(6, 3)
    )
    rec = recording(bypass, ["1", "2"], x, y)
    assert not structure_of(rec).entrance
    assert_same(similarities(rec), oracle.similarities(bypass, ["1", "2"], x, y, F.cross_entropy))


@pytest.mark.parametrize("options, taken", [
    ({"padding": 1}, True), ({}, True), ({"padding": (0, 2)}, True), ({"padding": "same"}, True),
    ({"padding": 1, "stride": 2}, False), ({"padding": 2, "dilation": 2}, False),
    ({"padding": 1, "groups": 2}, False), ({"padding": 3}, False),
], ids=str)  # fmt: skip
def test_a_convolution_as_the_only_way_in_is_taken_back_by_a_convolution(options, taken):
    net = nets.sequential(
        lambda: nn.Conv2d(2, 4, 3, **options), nn.Tanh, lambda: nn.Conv2d(4, 3, 2), nn.Flatten,
        lambda: nn.LazyLinear(3),
    )  # fmt: skip
    x, y = data(5, 2, 5, 6)
    net(x)
    sites = [ifl.Site("1", unit_dim=1), ifl.Site("2", unit_dim=1)]
    rec = recording(net, sites, x, y, batch_size=3)
    assert (structure_of(rec).entrance is not None) == taken
    assert_same(
        similarities(rec), oracle.similarities(net, ["1", "2"], x, y, F.cross_entropy), rtol=1e-11
    )
    each = similarities(rec, "i_sens", layers="1", positions="each")
    slow = similarities(rec, "i_sens", layers="1", positions="each", fast=False)
    assert_same(each, slow)


def test_functions_count_and_not_layers():
    torch.manual_seed(0)
    net, (x, y) = nets.Functional().double(), data(20, 2, 3)
    rec = recording(net, ["fc1", "fc2"], x, y)
    assert "carried" in structure_of(rec).names
    assert_same(similarities(rec), similarities(rec, fast=False))


def test_a_function_of_the_users_own_is_not_guessed_at():
    net, (x, y) = nets.mlp(nets.AddsHiddenSquare), data(20, 5)
    rec = recording(net, ["2", "5"], x, y)
    holds = structure_of(rec)
    assert not holds.piecewise_linear and holds.inward is None and holds.outward is None
    seen = nets.mlp(type("Seen", (nn.Module,), {"forward": lambda _self, v: v + v * v}))
    seen.load_state_dict(net.state_dict())
    assert_same(similarities(rec), oracle.similarities(seen, ["2", "5"], x, y, F.cross_entropy))


def test_in_place_nonlinearities_are_right():
    net, (x, y) = nets.mlp(lambda: nn.ReLU(inplace=True)), data(20, 5)
    rec = recording(net, ["0", "5"], x, y)
    plain = nets.mlp(nn.ReLU)
    assert_same(similarities(rec), oracle.similarities(plain, ["0", "5"], x, y, F.cross_entropy))


def test_a_model_that_branches_is_judged_batch_by_batch():
    torch.manual_seed(0)
    net, (x, y) = nets.Branching().double(), data(20, 5)
    rec = recording(net, ["fc1"], x, y, batch_size=1)
    with evaluating(net):
        batches = [run_perturbed(request_of(rec), slice(k, k + 1)) for k in range(20)]
        ways = {read_structure(b, BASES, across=True).outward is None for b in batches}
    assert ways == {True, False}
    assert_same(similarities(rec), similarities(rec, fast=False))


@pytest.mark.parametrize("make", [nets.mlp, lambda: nets.mlp(nn.GELU), lambda: nets.conv_net()])
def test_layers_one_by_one_in_one_pass_are_the_diagonal_blocks(make):
    net = make()
    conv = isinstance(net[0], nn.Conv2d)
    x, y = data(12, 1, 6, 6) if conv else data(12, 5)
    rec = recording(net, [ifl.Site(layer, unit_dim=1) for layer in ("2", "5")], x, y)
    assert structure_of(rec, across=False).names == structure_of(rec, across=True).names
    together = similarities(rec)
    for layer, found in similarities_by_layer(rec).items():
        block = np.ix_(rec.units.indices(layer), rec.units.indices(layer))
        for name, matrix in found.items():
            assert matrix == pytest.approx(together[name][block], rel=1e-10, abs=1e-14)


@pytest.mark.parametrize("act", [nn.ReLU, nn.GELU])
def test_float32_is_within_2e_5_of_float64(act):
    net, (x, y) = nets.mlp(act, inputs=30, width=40, outputs=10), data(600, 30, classes=10)
    exact = similarities(recording(net, ["2", "5"], x, y))
    rec = recording(net.float(), ["2", "5"], x.float(), y)
    assert "carried" in structure_of(rec).names
    assert_same(similarities(rec), exact, rtol=2e-5)
    for layer, found in similarities_by_layer(rec).items():
        block = np.ix_(rec.units.indices(layer), rec.units.indices(layer))
        assert_same(found, {name: matrix[block] for name, matrix in exact.items()}, rtol=2e-5)


def test_a_leaf_outside_the_graph_has_a_zero_for_every_row():
    leaf, other = torch.ones(4, 2, requires_grad=True), torch.ones(4, 3, requires_grad=True)
    found, none = batched_vjp(leaf * 2, (leaf, other), torch.ones(5, 4, 2))
    assert found.shape == (5, 4, 2) and (found == 2).all()
    assert none.shape == (5, 4, 3) and not none.any()


def test_rows_go_one_by_one_only_where_images_come_between():
    x = torch.ones(2, 1, 6, 6, requires_grad=True, dtype=torch.float64)
    net = nets.conv_net().eval()
    first = net[0](x)
    features = net[1:7](first)
    y = net[7](features)
    assert through_images(y, (x,)) and through_images(features, (x,))
    assert through_images(features, (first,)) and through_images(y, (x, features))
    assert not through_images(y, (features,)) and not through_images(net[1:3](first), (first,))
