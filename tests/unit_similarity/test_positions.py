"""Positions that have nothing to do with each other are differentiated together, and only those."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import infoflow as ifl
from infoflow._safety import evaluating
from infoflow.unit_similarity import similarities, similarities_by_layer
from infoflow.unit_similarity.locality import (
    Reach,
    groups_apart,
    groups_by_curvature,
    groups_by_input,
    reaches,
)
from infoflow.unit_similarity.perturbed import run_perturbed
from infoflow.unit_similarity.request import make_request
from infoflow.unit_similarity.structure import read_structure
from tests.unit_similarity import networks as nets

BASES = frozenset({"i_sens", "o_sens", "hess"})


class ConvResidual(nn.Module):
    """Two ways of different reach, added."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(3, 3, (1, 3), padding=(0, 1))

    def forward(self, x):
        return torch.tanh(self.inner(x)) + 2 * x


class Excite(nn.Module):
    """Every position is scaled by what all of them are."""

    def forward(self, x):
        return x * torch.sigmoid(x.mean((2, 3), keepdim=True))


def conv_net(*middle, act=nn.Tanh, size=7):
    """Site "2" is a map, on which the maps of site "5" depend only from near by."""
    net = nets.sequential(
        lambda: nn.Conv2d(1, 3, 3, padding=1), act, nn.Identity, *middle,
        lambda: nn.Conv2d(3, 2, 3), act, nn.Identity, nn.Flatten, lambda: nn.LazyLinear(3),
    )  # fmt: skip
    net(data(size)[0])
    return net


def data(size=7, count=4):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 1, size, size + 1, generator=generator, dtype=torch.float64)
    return x, torch.randint(3, (count,), generator=generator)


def recording(net, *layers):
    sites = [ifl.Site(layer, unit_dim=1) for layer in layers]
    return ifl.record(net, sites, *data(), loss=F.cross_entropy, batch_size=3)


def request_of(rec, positions="each"):
    return make_request(rec, rec.units.layers, BASES, across=True, positions=positions)


MIDDLES = {
    "nothing": lambda: nn.Identity(),
    "average": lambda: nn.AvgPool2d(2),
    "maximum": lambda: nn.MaxPool2d(3, stride=2, padding=1),
    "stride": lambda: nn.Conv2d(3, 3, (2, 3), stride=(2, 1), padding=(1, 0)),
    "dilation": lambda: nn.Conv2d(3, 3, 2, dilation=2),
    "groups": lambda: nn.Conv2d(3, 3, 2, groups=3),
    "residual": ConvResidual,
    "norm": lambda: nn.BatchNorm2d(3),
    "factor": lambda: nn.Hardtanh(-0.4, 0.4),
}


@pytest.mark.parametrize("name", MIDDLES)
def test_the_reach_read_off_the_graph_is_where_the_jacobian_is_not_zero(name):
    net = conv_net(MIDDLES[name], act=nn.Identity).eval()
    (x, _), stop = data(), 5
    x = x[:1].clone().requires_grad_()
    last = net[:stop](x)
    leaf = torch.autograd.graph.get_gradient_edge(x).node
    reach = reaches(last.grad_fn, {leaf: Reach.same(*x.shape[2:])})[last.grad_fn]
    claimed = torch.einsum("yv,xu->yxvu", reach.rows.double(), reach.columns.double()) > 0
    jacobian = torch.autograd.functional.jacobian(net[:stop], x)
    true = (jacobian != 0).any(1).any(0).flatten(2, 3)[..., 0, :, :]
    assert true.shape == claimed.shape and not (true & ~claimed).any()
    if name not in ("maximum", "factor"):  # these cut off some of it, by their values
        assert (true == claimed).all()


@pytest.mark.parametrize("positions", ["each", 9])
@pytest.mark.parametrize("name", MIDDLES)
def test_groups_of_positions_give_what_each_by_itself_gives(name, positions):
    net = conv_net(MIDDLES[name])
    rec = recording(net, "2", "5")
    found = similarities_by_layer(rec, positions=positions)
    slow = similarities_by_layer(rec, positions=positions, fast=False)
    for layer in ("2", "5"):
        for measure, matrix in slow[layer].items():
            assert found[layer][measure] == pytest.approx(matrix, rel=1e-10, abs=1e-14)


def test_few_groups_are_needed_where_maps_are_large():
    rec = recording(conv_net(), "2")
    with evaluating(rec.model):
        batch = run_perturbed(request_of(rec), slice(0, 2))
    assert batch.positions == 7 * 8
    assert read_structure(batch, BASES, across=True).apart
    # inputs are shared two steps away, and so are the positions of the next kernel
    assert len(groups_by_input(batch)) == len(groups_by_curvature(batch)) == 9


@pytest.mark.parametrize("middle", [
    Excite, lambda: nn.Softmax(3), lambda: nn.Upsample(scale_factor=2),
    lambda: nn.ConvTranspose2d(3, 3, 2), lambda: nn.InstanceNorm2d(3), nets.AddsHiddenSquare,
    lambda: nn.Sequential(nn.Flatten(2), nn.Unflatten(2, (7, 8))),
], ids=["excite", "softmax", "upsample", "transposed", "norm", "hidden", "flat"])  # fmt: skip
def test_where_dependence_cannot_be_read_off_positions_go_one_by_one(middle):
    net = conv_net(middle)
    behind, before = recording(net, "6"), recording(net, "2")
    with evaluating(net):
        batch = run_perturbed(request_of(behind), slice(0, 2))
        assert len(groups_by_input(batch)) == batch.positions
        assert groups_by_curvature(run_perturbed(request_of(before), slice(0, 2))) is None
    for rec in (behind, before):
        fast, slow = (similarities(rec, positions=4, fast=fast) for fast in (True, False))
        for measure, matrix in slow.items():
            assert fast[measure] == pytest.approx(matrix, rel=1e-10, abs=1e-14)


def test_layers_together_share_their_positions():
    net = conv_net(ConvResidual)
    rec = recording(net, "2", "3")
    fast, slow = (similarities(rec, positions=9, fast=fast) for fast in (True, False))
    for measure, matrix in slow.items():
        assert fast[measure] == pytest.approx(matrix, rel=1e-10, abs=1e-14)


@pytest.mark.parametrize("act", [nn.ReLU, nn.GELU])
def test_float32_is_within_2e_5_of_float64(act):
    net = conv_net(act=act)
    exact = similarities_by_layer(recording(net, "2", "5"), positions="each")
    (x, y), sites = data(), [ifl.Site("2", unit_dim=1), ifl.Site("5", unit_dim=1)]
    rec = ifl.record(net.float(), sites, x.float(), y, loss=F.cross_entropy)
    for layer, found in similarities_by_layer(rec, positions="each").items():
        for measure, matrix in found.items():
            assert abs(matrix - exact[layer][measure]).max() <= 2e-5 * exact[layer][measure].max()


def test_maps_cut_off_from_the_input_have_no_sensitivity():
    class Constant(nn.Module):
        def forward(self, x):
            return torch.ones_like(x[:, :, :4, :4]).repeat(1, 2, 1, 1)

    net = nn.Sequential(Constant(), nn.Flatten(), nn.Linear(32, 3)).double()
    found = similarities(recording(net, "0"), positions="each")
    assert not found["i_sens"].any() and not found["cov"].any() and found["o_sens"].all()


def test_no_two_of_a_group_meet_and_none_is_left_out():
    generator = torch.Generator().manual_seed(0)
    meet = torch.rand(30, 30, generator=generator) < 0.2
    meet = meet | meet.T | torch.eye(30, dtype=torch.bool)
    groups = groups_apart(meet)
    assert sorted(torch.cat(groups).tolist()) == list(range(30))
    for group in groups:
        assert meet[group][:, group].sum() == len(group)
