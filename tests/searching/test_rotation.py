"""Directions in which modules come apart."""

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow.searching.rotation import separating_rotations


def hidden(seed):
    """Two isolated tracks seen through a random rotation of each layer; and these rotations."""
    rng = np.random.default_rng(seed)
    turns = [torch.from_numpy(np.linalg.qr(rng.normal(size=(6, 6)))[0]).float() for _ in "ab"]
    track = torch.arange(6) // 3
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 6, bias=False),
        nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6, bias=False),
    )  # fmt: skip
    with torch.no_grad():
        net[0].weight.normal_(0, 1.5).mul_(track[:, None] == torch.arange(2))
        net[3].weight.normal_(0, 1.0).mul_(track[:, None] == track)
        net[3].weight.copy_(net[3].weight @ turns[0].T)
        for place, turn in zip((2, 5), turns, strict=True):
            net[place].weight.copy_(turn)
    return net, torch.randn(200, 2), [turn.T.numpy() for turn in turns]


LABELS = [0, 0, 0, 1, 1, 1] * 2


def test_the_cut_is_that_of_flows_written_out_and_the_planted_directions_have_none():
    net, x, planted = hidden(0)
    rec = ifl.record(net, ["2", "5"], x)
    starts = {"2": planted[0], "5": planted[1]}
    assert separating_rotations(rec, LABELS, starts=starts, steps=0).cut[0] < 1e-6
    found = separating_rotations(rec, LABELS, steps=0, samples=3)
    from infoflow.unit_similarity.jacobians import unit_jacobians

    jacobians, spread = unit_jacobians(rec, 3), rec.matrix().std(0, ddof=1)
    flows = np.zeros((12, 12))
    for j in range(12):
        for i in range(12):
            told = 10 * jacobians[:, j, i] * spread[i] / spread[j]
            flows[j, i] = np.mean(0.5 * np.log2(1 + told**2))
    same = np.equal.outer(LABELS, LABELS)
    cut = 0.0
    for module in (0, 1):
        own = np.array(LABELS) == module
        touching = flows[own].sum() + flows[:, own].sum()
        across = flows[own][:, ~own].sum() + flows[~own][:, own].sum()
        cut += across / touching
    assert found.cut[0] == pytest.approx(cut)
    assert same.any()


def test_directions_that_were_hidden_are_found_and_exchange_less_when_measured():
    net, x, _ = hidden(1)
    rec = ifl.record(net, ["2", "5"], x)
    found = separating_rotations(rec, LABELS, steps=80)
    assert found.cut[1] < 0.3 * found.cut[0]
    for basis in found.bases.values():
        assert basis @ basis.T == pytest.approx(np.eye(6), abs=1e-8)
    turned = ifl.record(net, ["2", "5"], x, basis=dict(found.bases))
    how = {"donors": 30, "contexts": 20}
    before, after = (ifl.exchange(r, LABELS, **how).weighted for r in (rec, turned))
    assert after < 0.8 * before


def test_what_cannot_be_turned_is_refused():
    net, x, _ = hidden(2)
    rec = ifl.record(net, ["2", "5"], x)
    with pytest.raises(ValueError, match="two modules"):
        separating_rotations(rec, [0] * 12)
    with pytest.raises(ValueError, match="recorded in a basis"):
        separating_rotations(ifl.record(net, ["2", "5"], x, basis="pca"), LABELS)
    with pytest.raises(ValueError, match="orthonormal directions"):
        separating_rotations(rec, LABELS, starts={"2": np.ones((6, 6))})
    with pytest.raises(ValueError, match="nothing flows"):
        separating_rotations(ifl.record(net, ["5"], x), [0, 0, 0, 1, 1, 1])
