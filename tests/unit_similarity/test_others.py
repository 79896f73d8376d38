"""The measures for comparison: weights alone, and rank correlation."""

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow.unit_similarity import MEASURES, OTHERS, similarities, similarity
from tests.unit_similarity import networks as nets


def recording(net, layers, *shape):
    return ifl.record(net, layers, torch.randn(*shape, dtype=torch.float64))


def weights_of(net, *names):
    return [net.get_submodule(name).weight.detach().numpy() for name in names]


def test_others_are_not_among_the_eight():
    assert not set(OTHERS) & set(MEASURES)
    rec = recording(nets.mlp(), ["2", "5"], 9, 5)
    found = similarities(rec, [*OTHERS, "cov"])
    assert list(found) == [*OTHERS, "cov"]
    for matrix in found.values():
        assert matrix.shape == (11, 11) and (matrix == matrix.T).all() and (matrix >= 0).all()


def test_weight_graph_of_an_mlp_has_its_weights_between_layers():
    net = nets.mlp()
    found = similarity(recording(net, ["2", "5", "6"], 9, 5), "weights")
    second, third = weights_of(net, "3", "6")
    assert (found[6:11, :6] == np.abs(second)).all() and (found[11:, 6:11] == np.abs(third)).all()
    assert found.sum() == pytest.approx(2 * (np.abs(second).sum() + np.abs(third).sum()))


def test_weight_graph_sums_over_kernels_and_flattened_maps():
    net = nets.conv_net()
    sites = [ifl.Site("2", unit_dim=1), ifl.Site("5", unit_dim=1), ifl.Site("7")]
    found = similarity(recording(net, sites, 4, 1, 6, 6), "weights")
    conv, linear = weights_of(net, "4", "7")
    assert found[4:7, :4] == pytest.approx(np.abs(conv).sum((2, 3)))
    assert found[7:, 4:7] == pytest.approx(np.abs(linear).reshape(3, 3, 9).sum(2))


def test_incoming_and_outgoing_weights_are_compared_within_layers():
    net = nets.mlp()
    found = similarities(recording(net, ["2", "4"], 9, 5), ["w_in", "w_out", "w_in_norm"])
    first, second, third = weights_of(net, "0", "3", "6")
    assert found["w_in"][:6, :6] == pytest.approx(np.abs(first @ first.T))
    assert found["w_in"][6:, 6:] == pytest.approx(np.abs(second @ second.T))
    assert found["w_out"][:6, :6] == pytest.approx(np.abs(second.T @ second))
    assert found["w_out"][6:, 6:] == pytest.approx(np.abs(third.T @ third))
    assert (found["w_in"][:6, 6:] == 0).all()
    assert np.diag(found["w_in_norm"]) == pytest.approx(1)


def test_in_a_linear_network_incoming_weights_are_input_sensitivity():
    net = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3)).double()
    found = similarities(recording(net, ["0"], 9, 5), ["w_in", "i_sens", "w_out", "o_sens"])
    assert found["w_in"] == pytest.approx(found["i_sens"])
    assert found["w_out"] == pytest.approx(found["o_sens"])


def test_layers_without_weights_of_their_own_are_refused():
    net = nets.sequential(
        lambda: nn.Linear(5, 4), lambda: nets.Residual(4), lambda: nn.Linear(4, 3)
    )
    rec = recording(net, ["1"], 9, 5)
    with pytest.raises(ValueError, match="no single weight matrix feeds layer '1'"):
        similarity(rec, "w_in")
    with pytest.raises(ValueError, match="no two of the layers"):
        similarity(rec, "weights")
    both_ways = recording(net, ["0"], 9, 5)
    with pytest.raises(ValueError, match="no single weight matrix reads layer '0'"):
        similarity(both_ways, "w_out")


def test_spearman_sees_any_monotone_relation_and_leaves_constant_units_at_zero():
    x = torch.randn(50, 1, dtype=torch.float64)
    same = torch.cat([x, -x.exp(), x**3, torch.zeros_like(x)], 1)
    net = nn.Sequential(nn.Identity(), nn.Linear(4, 1).double())
    found = similarity(ifl.record(net, ["0"], same), "spearman")
    assert found[:3, :3] == pytest.approx(1) and (found[3] == 0).all()


def test_spearman_agrees_with_scipy():
    from scipy.stats import spearmanr

    rec = recording(nets.mlp(), ["2", "5"], 30, 5)
    changing = np.flatnonzero(~rec.units.unused)
    expected = np.abs(spearmanr(rec.matrix()[:, changing]).statistic)
    assert similarity(rec, "spearman")[np.ix_(changing, changing)] == pytest.approx(expected)


def test_slopes_are_the_mean_size_of_derivatives_between_layers():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    x = torch.randn(32, 3)
    rec = ifl.record(net, ["1", "3"], x)
    each = torch.func.vmap(torch.func.jacrev(net[2:4]))(net[:2](x))
    expected = np.zeros((9, 9))
    expected[4:, :4] = each.detach().abs().mean(0).numpy() / 2
    assert similarity(rec, "slopes") == pytest.approx(expected + expected.T, abs=1e-6)
    assert not similarity(rec, "slopes", layers="1").any()
