"""The eight measures against closed forms and against `torch.func`, one sample at a time."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import infoflow as ifl
from infoflow.unit_similarity import DOWNSTREAM, MEASURES, UPSTREAM, similarities, similarity
from tests import oracles_similarity as oracle
from tests.unit_similarity.networks import conv_net, mlp

# torch.func.hessian's forward mode compiles its decompositions with torch's own deprecated jit
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


CHANNELS = [ifl.Site("2", unit_dim=1), ifl.Site("5", unit_dim=1)]


def data(*shape, seed=0, classes=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, generator=generator, dtype=dtype)
    return x, torch.randint(classes, (shape[0],), generator=generator)


def assert_same(found, expected, rtol=1e-12):
    assert set(found) == set(expected)
    for name, matrix in expected.items():
        worst = np.abs(found[name] - matrix).max() / np.abs(matrix).max()
        assert worst <= rtol, f"{name}: {worst:.1e}"


@pytest.mark.parametrize("act", [nn.ReLU, nn.Tanh, nn.GELU, nn.Sigmoid, nn.LeakyReLU])
def test_all_eight_match_torch_func_over_two_layers_together(act):
    net, (x, y) = mlp(act), data(20, 5)
    rec = ifl.record(net, ["2", "5"], x, y, loss=F.cross_entropy, batch_size=7)
    assert_same(similarities(rec), oracle.similarities(net, ["2", "5"], x, y, F.cross_entropy))


@pytest.mark.parametrize("act", [nn.ReLU, nn.Tanh])
def test_all_eight_match_torch_func_on_a_conv_net_with_channels_as_units(act):
    net, (x, y) = conv_net(act), data(8, 1, 6, 6)
    rec = ifl.record(net, CHANNELS, x, y, loss=F.cross_entropy, batch_size=3)
    assert_same(similarities(rec), oracle.similarities(net, ["2", "5"], x, y, F.cross_entropy))


def test_a_layer_alone_is_its_block_of_all_layers_together():
    net, (x, y) = mlp(nn.Tanh), data(20, 5)
    rec = ifl.record(net, ["2", "5"], x, y, loss=F.cross_entropy)
    together = similarities(rec)
    for layer in ("2", "5"):
        block = np.ix_(rec.units.indices(layer), rec.units.indices(layer))
        for name, matrix in similarities(rec, layers=layer).items():
            assert matrix == pytest.approx(together[name][block], rel=1e-10, abs=1e-14)


def test_layers_come_in_the_order_asked_for():
    net, (x, y) = mlp(nn.Tanh), data(20, 5)
    rec = ifl.record(net, ["2", "5"], x, y, loss=F.cross_entropy)
    order = rec.units.indices(["5", "2"])
    for name, matrix in similarities(rec, layers=["5", "2"]).items():
        assert matrix == pytest.approx(similarities(rec)[name][np.ix_(order, order)])


@pytest.mark.parametrize("batch_size", [1, 7, 20])
def test_batch_size_does_not_matter(batch_size):
    net, (x, y) = mlp(), data(20, 5)
    rec = ifl.record(net, ["2", "5"], x, y, loss=F.cross_entropy, batch_size=batch_size)
    whole = ifl.record(net, ["2", "5"], x, y, loss=F.cross_entropy, batch_size=1000)
    assert_same(similarities(rec), similarities(whole))


@pytest.mark.parametrize("name", MEASURES)
def test_matrices_are_symmetric_non_negative_float64_with_their_diagonal(name):
    net, (x, y) = mlp(dtype=torch.float32), data(20, 5, dtype=torch.float32)
    matrix = similarity(ifl.record(net, ["2", "5"], x, y, loss=F.cross_entropy), name)
    assert matrix.dtype == np.float64 and matrix.shape == (11, 11)
    assert (matrix == matrix.T).all() and (matrix >= 0).all() and np.isfinite(matrix).all()
    assert np.diag(matrix).max() > 0


def test_families_split_the_eight_in_halves():
    assert set(UPSTREAM) | set(DOWNSTREAM) == set(MEASURES) and len(MEASURES) == 8
    assert set(UPSTREAM) == {"cov", "cov_norm", "i_sens", "i_sens_norm"}


def test_linear_network_has_its_closed_forms():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)).double()
    x, _ = data(30, 4)
    rec = ifl.record(net, ["0"], x, torch.zeros(30, 2).double(), loss=F.mse_loss)
    found = similarities(rec)
    w1, w2 = (layer.weight.detach().numpy() for layer in net)
    assert found["i_sens"] == pytest.approx(np.abs(w1 @ w1.T))
    assert found["o_sens"] == pytest.approx(np.abs(w2.T @ w2))
    assert found["hess"] == pytest.approx(np.abs(w2.T @ w2))  # mean over 2 outputs of y²
    assert found["cov"] == pytest.approx(np.abs(w1 @ np.cov(x.numpy(), rowvar=False) @ w1.T))


def test_covariance_of_a_unit_with_mean_300_and_variance_1e_7_is_right():
    x = 300 + 1e-3 * torch.randn(4000, 1, dtype=torch.float64) * 0.1**0.5
    net = nn.Sequential(nn.Identity(), nn.Linear(1, 1).double())
    found = similarity(ifl.record(net, ["0"], x, batch_size=64), "cov")
    assert found[0, 0] == pytest.approx(float(x.var()), rel=1e-6)
    assert found[0, 0] == pytest.approx(1e-7, rel=0.1)


def test_normalised_magnitude_survives_a_negative_hessian_diagonal():
    net = nn.Sequential(nn.Identity(), nn.Identity())
    x, _ = data(10, 2)
    rec = ifl.record(
        net, ["0"], x, torch.zeros(10), loss=lambda y, t: -(y[:, 0] ** 2).sum() + 0 * t.sum()
    )
    assert similarity(rec, "hess") == pytest.approx(np.array([[2.0, 0], [0, 0]]))
    assert similarity(rec, "hess_norm") == pytest.approx(np.array([[1.0, 0], [0, 0]]))


def test_a_dead_unit_has_zero_rows_upstream_and_everything_stays_finite():
    net, (x, y) = mlp(), data(20, 5)
    with torch.no_grad():
        net[0].weight[2], net[0].bias[2] = 0, -1
    found = similarities(ifl.record(net, ["2", "5"], x, y, loss=F.cross_entropy))
    for name in UPSTREAM:
        assert (found[name][2] == 0).all()
    assert all(np.isfinite(matrix).all() for matrix in found.values())


def test_model_leaves_as_it_came():
    net, (x, y) = mlp(), data(20, 5)
    net.train()
    rec = ifl.record(net, ["2"], x, y, loss=F.cross_entropy)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    similarities(rec)
    assert all(module.training for module in net.modules())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert not any(module._forward_hooks for module in net.modules())
    assert all((value == before[name]).all() for name, value in net.state_dict().items())
    assert (torch.get_rng_state() == state).all()
