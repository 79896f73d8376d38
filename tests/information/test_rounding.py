"""Differences that rounding makes are no information."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow.information.binning import fit_unit_bins
from infoflow.rounding import constant_units, levels, snapped

EXACT = {"donors": "all", "contexts": "all", "bins": "unique", "correction": "none"}


class Branches(nn.Module):
    """x → a, and x → b → c, which meet only at the end."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(7, 10), nn.Linear(7, 10), nn.Linear(10, 8)
        self.out = nn.Linear(18, 3)

    def forward(self, x):
        a = torch.relu(self.a(x))
        return self.out(torch.cat([self.c(torch.relu(self.b(x))), a], 1))


@pytest.mark.parametrize("coding", ["units", "joint"])
def test_nothing_flows_to_a_branch_that_is_out_of_reach_however_rows_are_batched(coding):
    torch.manual_seed(0)
    x = torch.randint(0, 2, (8, 7)).float()[torch.randint(0, 8, (500,))]  # 8 different inputs
    for batch_size in (512, 7):
        rec = ifl.record(Branches(), ["a", "c"], x, batch_size=batch_size)
        found = ifl.flow(
            rec, {"a": [0, 1, 2]}, {"c": range(8)}, donors=60, contexts=50, coding=coding
        )
        assert (found.bits, found.bits_given_context) == (0.0, 0.0)
        ex = ifl.exchange(rec, [0] * 10 + [1] * 8, donors=60, contexts=50)
        assert ex.flow_given_context[0, 1] == 0.0


class Odd(nn.Module):
    """The same with widths that no vector instruction divides, and a way on from a."""

    def __init__(self):
        super().__init__()
        self.a, self.a2 = nn.Linear(7, 33), nn.Linear(33, 33)
        self.b, self.norm, self.c = nn.Linear(7, 33), nn.LayerNorm(33), nn.Linear(33, 8)

    def forward(self, x):
        a2, c = self.a2(torch.relu(self.a(x))), self.c(torch.tanh(self.norm(self.b(x))))
        return torch.cat([a2, c], 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_nothing_flows_out_of_reach_in_any_precision_by_odd_numbers_of_rows(dtype):
    torch.manual_seed(1)
    net = Odd().to(dtype)
    x = torch.randint(0, 2, (6, 7)).to(dtype)[torch.randint(0, 6, (300,))]
    for batch_size, donors, contexts in ((512, 19, 31), (33, 23, 7), (7, 23, 7)):
        rec = ifl.record(net, ["a", "a2", "c"], x, batch_size=batch_size)
        few = {"donors": donors, "contexts": contexts}
        for source in ({"a": [0]}, {"a2": range(5)}):
            found = ifl.flow(rec, source, {"c": range(8)}, coding="units", **few)
            assert (found.bits, found.bits_given_context) == (0.0, 0.0)
        ex = ifl.exchange(rec, [0] * 66 + [1] * 8, **few)
        assert not ex.flow.any() and not ex.flow_given_context.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_directions_without_variance_carry_no_bits(dtype):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 12), nn.LayerNorm(12)).to(dtype)
    rec = ifl.record(net, ["1", "3"], torch.randn(300, 4, dtype=dtype), basis={"3": "pca"})
    null = np.flatnonzero(rec["3"].std(0).numpy() < 1e-5)
    assert len(null)
    assert rec.units.unused[6 + null].all()
    found = ifl.flow(rec, {"1": [0, 1, 2]}, {"3": null}, donors=50, contexts=30)
    assert (found.bits, found.bits_given_context, found.observational_bits) == (0.0, 0.0, 0.0)
    assert "constant target" in found.flags


class WithSum(nn.Module):
    """Appends a unit that is 1 but for rounding."""

    def forward(self, h):
        return torch.cat([h, torch.softmax(h, 1).sum(1, keepdim=True)], 1)


def test_a_unit_that_changes_by_rounding_only_is_unused():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), WithSum())
    rec = ifl.record(net, ["1", ifl.Site("2", unit_dim=1)], torch.randn(300, 4))
    assert len(rec["2"][:, 6].unique()) > 1
    assert rec.units.unused[-1]
    assert ifl.flow(rec, {"1": [0, 1]}, {"2": [6]}, **EXACT).bits == 0.0


@pytest.mark.parametrize("scale", [1e4, 1.0, 4e-6])
def test_enumerated_bits_do_not_depend_on_the_scale(scale):
    x = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)))
    copy = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    nn.init.eye_(copy[0].weight)
    copy[1].weight.data = scale * torch.eye(4)
    assert ifl.flow(ifl.record(copy, ["0", "1"], x), "0", "1", **EXACT).bits == 4.0
    torch.manual_seed(0)
    spread = torch.linalg.qr(torch.randn(16, 4))[0]
    add = nn.Sequential(nn.Linear(4, 16, bias=False), nn.Linear(16, 1, bias=False))
    add[0].weight.data, add[1].weight.data = spread, scale * torch.ones(1, 4) @ spread.T
    shares = [math.comb(4, i) / 16 for i in range(5)]
    truth = -sum(p * math.log2(p) for p in shares)
    found = ifl.flow(ifl.record(add, ["0", "1"], x), "0", "1", **EXACT)
    assert found.bits == pytest.approx(truth, abs=1e-9)


def test_a_quiet_unit_beside_a_loud_one_keeps_its_bits():
    values = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    values[:, 0] *= 1e-6
    values[:, 1] *= 1e4
    assert not constant_units([values]).any()
    assert len(np.unique(fit_unit_bins(values.numpy(), 10).encode(values.numpy())[:, 0])) == 10


def test_zero_and_what_rounding_made_of_it_share_a_bin():
    column = np.array([0.0, 1e-8, -1e-8, 0.0, 1.0, 1.0, 2.0, 2.0], np.float32)[:, None]
    assert fit_unit_bins(column, 10).encode(column).ravel().tolist() == [0, 0, 0, 0, 1, 1, 2, 2]


def test_levels_are_groups_and_a_continuum_is_left_as_it_is():
    groups = np.concatenate([level + 1e-9 * np.arange(5) for level in (0.0, 1.0, 5.0)])
    assert levels(groups, 2e-9)[0].tolist() == [0.0, 1.0, 5.0]
    assert len(np.unique(snapped(groups[:, None], np.array([2e-9])))) == 3
    dense = np.linspace(0, 1, 1000)
    assert (levels(dense, 0.01)[0] == dense).all()
