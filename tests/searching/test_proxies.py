"""Proxies: cheap numbers beside the true exchange."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import infoflow as ifl
from infoflow.exchanges import ExchangeMeter
from infoflow.searching.flow_cut import FlowCut
from infoflow.searching.interface import (
    Scales,
    effective_rank,
    interface,
    jacobian_bits,
    jacobian_dimension,
    mean_hessian,
    output_hessians,
    output_interface,
)
from infoflow.searching.proxy import ncut, proxies
from infoflow.searching.space import Space
from infoflow.searching.starts import STARTS, available, starts_by_name
from infoflow.unit_similarity.jacobians import unit_jacobians


@pytest.fixture(scope="module")
def rec():
    torch.manual_seed(0)
    track = torch.arange(6) // 3
    net = nn.Sequential(
        nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3)
    ).double()
    with torch.no_grad():
        net[0].weight.normal_().mul_(track[:, None] == torch.arange(2))
        net[2].weight.normal_().mul_(track[:, None] == track)
    x = torch.randn(120, 2).double()
    return ifl.record(net, ["1", "3"], x, net(x).argmax(1), loss=cross_entropy)


TRACKS = ifl.Partition([0, 0, 0, 1, 1, 1] * 2)


def test_jacobians_are_those_of_the_function_between_the_layers(rec):
    found = unit_jacobians(rec, samples=5, seed=3)
    assert found.shape == (5, 12, 12)
    upper = torch.nn.Sequential(*rec.model[2:4])
    start = [k for k in range(116) if np.allclose(found[0, 6:, :6], jacobian_at(upper, rec, k))]
    assert len(start) == 1
    for k in range(5):
        assert found[k, 6:, :6] == pytest.approx(jacobian_at(upper, rec, start[0] + k))
    assert not found[:, :6].any()


def jacobian_at(upper, rec, k):
    return torch.autograd.functional.jacobian(upper, rec["1"][k]).numpy()


def test_the_hessian_is_that_of_the_similarity_before_its_absolute_value(rec):
    signed = mean_hessian(rec, samples=120)
    assert np.abs(signed) == pytest.approx(ifl.similarity(rec, "hess"), rel=1e-6, abs=1e-12)
    assert (signed < 0).any()


def test_effective_rank_counts_equal_singular_values():
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(6, 6)))[0] for _ in range(2))
    for rank in range(1, 6):
        block = left[:, :rank] @ right[:rank]
        assert effective_rank(block) == pytest.approx(rank)


def test_jacobian_bits_are_the_log_determinants_pair_by_pair(rec):
    jacobians, scales = unit_jacobians(rec, samples=4), Scales.of(rec)
    spread = rec.matrix().std(0) / 10
    assert scales.floor == pytest.approx(spread)
    labels = np.array([0, 1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0])
    bits, dimensions = 0.0, 0.0
    for a, b in ((0, 1), (1, 0)):
        own, other = np.flatnonzero(labels == a), np.flatnonzero(labels == b)
        covariance = np.cov(rec.matrix()[:, own].T)
        for jacobian in jacobians[:, other[:, None], own]:
            told = (jacobian @ covariance @ jacobian.T) / np.outer(spread[other], spread[other])
            bits += 0.5 * np.log2(np.linalg.det(np.eye(len(other)) + told)) / 4
            dimensions += (np.linalg.eigvalsh(told) > 1).sum() / 4
    assert jacobian_bits(jacobians, scales, labels) == pytest.approx(bits)
    assert jacobian_dimension(jacobians, scales, labels) == dimensions
    assert (
        jacobian_bits(jacobians, scales, TRACKS)
        == jacobian_dimension(jacobians, scales, TRACKS)
        == 0
    )


def test_faint_links_count_for_nothing_above_a_floor_and_as_much_as_any_for_a_rank(rec):
    jacobians, scales = unit_jacobians(rec, samples=4), Scales.of(rec)
    mixed = [0, 1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0]
    faint = 1e-3 * jacobians
    assert interface(faint, mixed) == pytest.approx(interface(jacobians, mixed))
    assert jacobian_dimension(faint, scales, mixed) == 0
    assert jacobian_bits(faint, scales, mixed) < 1e-2 < jacobian_bits(jacobians, scales, mixed)


def test_output_hessians_are_those_of_the_outputs_by_autograd(rec):
    scales = Scales.of(rec)
    found = output_hessians(rec, scales, samples=120)
    assert found.shape == (120, 3, 12, 12)
    lower, upper, net = rec["1"], rec["3"], rec.model
    k, o = 7, 1

    def output(deltas):
        h = net[2:4](lower[k] + deltas[:6]) + deltas[6:]
        return net[4](h)[o] / scales.output_floor[o]

    zero = torch.zeros(12, dtype=torch.float64)
    expected = torch.autograd.functional.hessian(output, zero).numpy()
    assert torch.allclose(net[2:4](lower[k]), upper[k])
    assert found[k, o] == pytest.approx(expected, abs=1e-9)
    assert np.abs(expected).max() > 1e-3


def test_many_outputs_are_mixed_so_that_their_squares_stay_on_average(rec):
    scales = Scales.of(rec)
    each = (output_hessians(rec, scales, samples=120) ** 2).sum(1)
    drawn = [
        (output_hessians(rec, scales, samples=120, outputs=2, seed=s) ** 2).sum(1)
        for s in range(30)
    ]
    assert np.mean(drawn) == pytest.approx(each.mean(), rel=0.2)


def test_outputs_that_add_up_modules_have_no_interface_and_piecewise_linear_ones_no_hessian():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    with torch.no_grad():
        net[2].weight.mul_(torch.eye(4))
    apart = ifl.record(net, ["1", "3"], torch.randn(40, 3))
    scales = Scales.of(apart)
    hessians = output_hessians(apart, scales)
    assert hessians.any()
    assert output_interface(hessians, scales, [0, 1, 2, 3, 0, 1, 2, 3]) == 0
    relu = ifl.record(
        nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), ["1"], torch.randn(40, 3)
    )
    _, missing = proxies(relu)
    assert "piecewise linear" in missing["output_interface"]


def test_isolated_tracks_have_no_jacobian_interface(rec):
    blocks = unit_jacobians(rec)
    assert interface(blocks, TRACKS) == 0.0
    assert interface(blocks, ifl.Partition([0, 1, 0, 1, 0, 1] * 2)) > 1.0


def test_every_proxy_prefers_the_isolated_tracks_to_a_random_division(rec):
    found, missing = proxies(rec)
    assert missing == {}
    assert {"unit_flow_cut", "q_weights", "weight_ncut", "hess_interface"} < set(found)
    assert {"jacobian_bits", "jacobian_dimension", "output_interface"} < set(found)
    mixed = ifl.Partition([0, 1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0])
    for name in (
        "unit_flow_cut", "q_weights", "weight_ncut", "jacobian_interface", "jacobian_bits",
        "jacobian_dimension", "output_interface",
    ):  # fmt: skip
        assert found[name](TRACKS) < found[name](mixed), name


def test_the_cut_of_unit_flows_is_the_exchange_where_units_send_one_by_one(rec):
    meter = ExchangeMeter(rec)
    proxy = FlowCut(meter.traffic, "none")
    flow = meter.traffic.unit_flow
    apart = ifl.Partition(np.arange(12))
    assert proxy(apart) == pytest.approx(flow.sum())
    assert proxy(TRACKS) == 0.0


def test_ncut_is_one_for_each_module_without_links_inside():
    links = np.array([[0, 1.0], [1.0, 0]])
    assert ncut(links, ifl.Partition([0, 1])) == 2.0


@pytest.mark.parametrize("name", STARTS)
def test_seeds_are_partitions_of_the_space(rec, name):
    meter = ExchangeMeter(rec)
    used = np.ones(12, dtype=bool)
    used[4] = False
    space = Space(used, 2, 3)
    found = starts_by_name((name,), meter, space, 0)
    assert found
    assert all(2 <= p.n_modules <= 3 and (p.labels >= 0).tolist() == used.tolist() for p in found)
    if name != "q":  # flows are cut where nothing flows; similarity of units says less
        assert TRACKS.without(~used) in found


class Steered(nn.Module):
    """A numeric input, and an integer that chooses a row of a table."""

    def __init__(self):
        super().__init__()
        self.table, self.fc = nn.Embedding(3, 4), nn.Linear(4, 4)

    def forward(self, x, which):
        return torch.tanh(self.fc(x + self.table(which)))


def test_one_input_that_can_be_differentiated_allows_input_sensitivity():
    mixed = ifl.record(Steered(), ["fc"], (torch.randn(20, 4), torch.arange(20) % 3))
    assert "i_sens" in available(mixed)
    assert set(ifl.similarities(mixed, available(mixed))) == set(available(mixed))
    integers = ifl.record(nn.Sequential(nn.Embedding(3, 4)), ["0"], torch.arange(20) % 3)
    assert "i_sens" not in available(integers)
