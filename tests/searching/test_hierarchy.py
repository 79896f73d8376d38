"""Modules within modules, and what chance gives."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow.exchanges import ExchangeMeter
from infoflow.measured import SCORE, Null
from infoflow.searching.null import shuffled_units
from infoflow.searching.tree import hierarchy


def nested(weak=0.1, seed=0):
    """Four tracks of 4 units in each of two layers; tracks 0 and 1, 2 and 3 are weakly linked."""
    generator = torch.Generator().manual_seed(seed)
    track = torch.arange(16) // 4
    net = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh())
    same, pair = track[:, None] == track, track[:, None] // 2 == track // 2
    with torch.no_grad():
        for layer in (net[0], net[2]):
            draw = torch.randn(16, 16, generator=generator)
            layer.weight.copy_(draw * torch.where(same, 1.0, torch.where(pair, weak, 0.0)))
    x = torch.randn(300, 16, generator=generator)
    return ifl.record(net, ["1", "3"], x), track.repeat(2).numpy()


SMALL = {"budget": 60, "samples": 10, "donors": 20, "contexts": 20}


@pytest.fixture(scope="module")
def tree():
    rec, _ = nested()
    return hierarchy(rec, **SMALL)


def test_the_tree_finds_the_outer_modules_and_the_inner_ones(tree):
    _, track = nested()
    assert tree.level(1) == ifl.Partition(track // 2)
    assert tree.level(2) == ifl.Partition(track)


def test_the_tree_prints_and_plots_and_tabulates_every_module(tree):
    text = repr(tree)
    assert text.splitlines()[0].startswith("32 units: log2 score")
    assert text.count("├─") == text.count("└─") >= 3
    frame = tree.to_frame()
    assert len(frame) == len(text.splitlines())
    assert frame["units"].iloc[0] == 32
    assert tree.leaves.sizes.sum() == 32
    assert len(tree.plot().patches) == len(frame)


def test_a_fully_mixed_layer_is_not_divided():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh())
    with torch.no_grad():
        net[2].weight.fill_(0.3)
    tree = hierarchy(ifl.record(net, ["1", "3"], torch.randn(200, 4)), alpha=0.02, **SMALL)
    assert tree.children == ()
    assert "no significant division" in tree.why


def test_within_a_module_the_other_units_send_and_receive_nothing():
    rec, track = nested()
    meter = ExchangeMeter(rec, replace(SCORE, donors=15, contexts=15))
    half = np.flatnonzero(track < 2)
    inside = meter.within(half)
    labels = np.where(track < 2, track, 5)
    assert inside.checked(labels).unused.sum() == 16
    assert inside.values([labels]).bits[0] == pytest.approx(
        meter.values([np.where(track < 2, track, -1)]).bits[0]
    )
    outside = np.setdiff1d(np.arange(32), half)
    assert inside.traffic.silent[outside].all()
    assert inside.fresh().left_out[outside].all()


def test_planted_modules_beat_every_shuffle_and_random_ones_do_not():
    rec, track = nested()
    meter = ExchangeMeter(rec, replace(SCORE, donors=15, contexts=15))
    assert shuffled_units(meter, track // 2, n=39).p_value == 1 / 40
    chance = np.random.default_rng(0).permutation(track // 2)
    assert shuffled_units(meter, chance, n=39).p_value > 1 / 40


def test_p_value_counts_the_observed_one_in():
    null = np.array([1.0, 2.0, 3.0])
    assert Null(0.5, null, True, "x").p_value == 1 / 4
    assert Null(2.0, null, True, "x").p_value == 3 / 4
    assert Null(2.5, null, False, "x").p_value == 2 / 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rec: hierarchy(rec, alpha=0.001), "99 shuffles"),
        (lambda rec: shuffled_units(ExchangeMeter(rec), [0, 1] * 16, n=0), "n >= 1"),
    ],
)
def test_what_cannot_be_tried_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(nested()[0])
