"""The flow into a group taken together: loops, exact cases, and what sums over units get wrong."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow.exchanges import ExchangeMeter
from infoflow.information.donors import table_flow, two_way_se
from infoflow.information.group_flows import (
    GroupFlow,
    RankScale,
    cells_spread,
    gaussian_spread,
    kernel_spread,
)
from infoflow.measured import Draws, Objective

ALL = Draws("all", "all", coding="units")


def kernel_loops(outcomes, width):
    sigma = width / np.sqrt(12)
    logs = []
    for one in outcomes:
        near = [np.exp(-((one - other) ** 2).sum() / (8 * sigma**2)) for other in outcomes]
        logs.append(-np.log2(np.mean(near)))
    return np.mean(logs)


def gaussian_loops(outcomes, width):
    covariance = np.atleast_2d(np.cov(outcomes.T)) / (width**2 / 12)
    return 0.5 * sum(np.log2(1 + value) for value in np.linalg.eigvalsh(covariance))


def cells_loops(outcomes, width):
    names = [tuple(int(value // width) for value in one) for one in outcomes]
    shares = np.array(list(Counter(names).values())) / len(names)
    return -(shares * np.log2(shares)).sum()


@pytest.mark.parametrize("units", [3, 12])  # fewer and more than there are outcomes
@pytest.mark.parametrize(
    ("spread", "loops"),
    [(cells_spread, cells_loops), (kernel_spread, kernel_loops), (gaussian_spread, gaussian_loops)],
)
def test_both_flows_are_differences_of_spreads_set_by_set(spread, loops, units):
    ranks = np.random.default_rng(0).random((7, 5, units))
    flow = GroupFlow(ranks, spread, 0.3)
    order = np.random.default_rng(0).permutation(7)
    mixed = [[ranks[order[(s + k) % 7], k] for k in range(5)] for s in range(7)]
    given = np.mean([loops(ranks[:, k], 0.3) for k in range(5)])
    plain = np.mean([loops(np.array(s), 0.3) for s in mixed]) - np.mean(
        [loops(ranks[m], 0.3) for m in range(7)]
    )
    assert flow.given_context == pytest.approx(given, abs=1e-9)
    assert flow.bits == pytest.approx(plain, abs=1e-9)


def test_given_the_context_the_kernel_counts_cells_that_are_far_apart():
    codes = np.random.default_rng(0).integers(3, size=(30, 20, 2))
    joint = (codes @ [1, 3])[..., None]
    counted = table_flow(joint, 9, estimator="none").given_context[0]
    assert GroupFlow(codes / 3, kernel_spread, 0.01).given_context == pytest.approx(counted)


def test_the_kernel_is_below_and_the_gaussian_above_the_blurred_truth():
    """Noise drawn many times: which outcome it was, by Bayes' rule."""
    rng = np.random.default_rng(0)
    outcomes, sigma = rng.random((20, 2)), 0.2 / np.sqrt(12)
    blurred = outcomes[:, None] + sigma * rng.standard_normal((20, 2000, 2))
    logit = -((blurred[:, :, None] - outcomes) ** 2).sum(3) / (2 * sigma**2)
    right = logit[np.arange(20), :, np.arange(20)] - np.logaddexp.reduce(logit, axis=2)
    truth = np.log2(20) + right.mean() / np.log(2)
    assert kernel_spread(outcomes[None], 0.2).mean() < truth
    assert truth < gaussian_spread(outcomes[None], 0.2).mean()


@pytest.mark.parametrize("spread", [cells_spread, kernel_spread, gaussian_spread])
def test_the_standard_error_is_that_of_other_draws(spread):
    rng = np.random.default_rng(0)

    def drawn():
        donors, contexts = rng.random((30, 1, 2)), rng.random((1, 25, 2))
        return GroupFlow((donors + donors * contexts) / 2, spread, 0.3)

    flows = [drawn() for _ in range(120)]
    for amount, pointwise in (("bits", "pointwise"), ("given_context", "pointwise_given_context")):
        scatter = np.std([getattr(flow, amount) for flow in flows])
        claimed = np.mean([two_way_se(getattr(flow, pointwise)) for flow in flows])
        assert claimed == pytest.approx(scatter, rel=0.3)


def test_ranks_are_shares_of_the_normal_run_and_rounding_moves_none():
    values = np.array([[0.0, 5.0], [0.0, 6.0], [1.0, 7.0], [2.0, 8.0]])
    scale = RankScale(values, np.full(2, 1e-6))
    assert scale(values).tolist() == [[0.25, 0.125], [0.25, 0.375], [0.625, 0.625], [0.875, 0.875]]
    assert scale(values + 1e-7) == pytest.approx(scale(values), abs=1e-6)
    assert scale(np.array([[-9.0, 99.0]])).tolist() == [[0.25, 0.875]]  # out of range: an end
    many = np.random.default_rng(0).standard_normal((2000, 1))
    exact = many[:, 0].argsort().argsort() / 2000
    assert RankScale(many, np.zeros(1))(many)[:, 0] == pytest.approx(exact, abs=1 / 60)


class Bits(nn.Module):
    """Two input bits; the target is (b, b), or (r, b xor r) with r out of the source's hands."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.source, self.target = nn.Identity(), nn.Identity()

    def forward(self, x):
        b = self.source(x[:, :1])
        r = x[:, 1:]
        pair = [b, b] if self.kind == "copies" else [r, b + r - 2 * b * r]
        return self.target(torch.cat(pair, 1))


def bits_recording(kind):
    x = torch.tensor(np.random.default_rng(0).integers(2, size=(200, 2)), dtype=torch.float32)
    names = [ifl.Site("source", unit_dim=1), ifl.Site("target", unit_dim=1)]
    return ifl.record(Bits(kind), names, x)


def measured(kind, estimate, draws=ALL):
    meter = ExchangeMeter(bits_recording(kind), draws, Objective("none", True, estimate, 30))
    return meter([0, 1, 1])


def test_redundant_units_count_once():
    assert measured("copies", "codes").bits_given_context == pytest.approx(2, abs=0.02)
    assert measured("copies", "cells").bits_given_context == pytest.approx(1, abs=0.01)
    assert measured("copies", "kernel").bits_given_context == pytest.approx(1, abs=0.01)
    assert measured("copies", "kernel").bits == pytest.approx(1, abs=0.02)


def test_the_order_of_the_samples_is_of_no_account():
    """Sorted, each donor would meet the contexts that look like it."""
    ranks = np.repeat(np.linspace(0, 1, 40), 40).reshape(40, 40, 1)  # the donor, whatever context
    whole = kernel_spread(ranks[:, :1].transpose(1, 0, 2), 0.3).mean()
    assert GroupFlow(ranks, kernel_spread, 0.3).bits == pytest.approx(whole, abs=1e-6)
    sloped = (ranks + ranks.transpose(1, 0, 2)) / 2
    rng = np.random.default_rng(1)
    shuffled = sloped[rng.permutation(40)][:, rng.permutation(40)]
    expected = GroupFlow(shuffled, kernel_spread, 0.3).bits
    assert GroupFlow(sloped, kernel_spread, 0.3).bits == pytest.approx(expected, abs=0.05)


def test_what_only_the_pair_tells_is_seen():
    """r alone and b xor r alone are independent of b."""
    assert measured("xor", "codes").bits == pytest.approx(0, abs=0.02)
    assert measured("xor", "kernel").bits == pytest.approx(1, abs=0.1)
    assert measured("xor", "kernel").bits_given_context == pytest.approx(1, abs=0.01)
