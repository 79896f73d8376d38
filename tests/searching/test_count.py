"""How many modules: what the test rests on, written out, and what it answers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow import plot
from infoflow.exchanges import ExchangeMeter
from infoflow.measured import SEARCH, Objective
from infoflow.searching.count import division_p_value, structure_test
from infoflow.searching.flow_graph import FlowGraph, shares
from infoflow.searching.tree import hierarchy


def tracks(sizes, cross=0.05, seed=0, depth=2):
    """Tanh network of linked tracks, recorded, and the track of every unit."""
    generator = torch.Generator().manual_seed(seed)
    track = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    below, layers = torch.arange(len(sizes)).repeat_interleave(2), []
    for _ in range(depth):
        layer = nn.Linear(len(below), len(track))
        with torch.no_grad():
            draw = torch.randn(layer.weight.shape, generator=generator)
            layer.weight.copy_(draw * torch.where(track[:, None] == below, 1.0, cross))
        layers += [layer, nn.Tanh()]
        below = track
    x = torch.randn(300, 2 * len(sizes), generator=generator)
    rec = ifl.record(nn.Sequential(*layers), [str(2 * d + 1) for d in range(depth)], x)
    return rec, ifl.Partition(track.repeat(depth).numpy())


def dense(seed, rows=8, columns=9):
    """Unit flows of a layer to the next, of which nothing but sender and receiver is to be told."""
    rng = np.random.default_rng(seed)
    n = rows + columns
    flow = np.zeros((n, n))
    sent, received = rng.lognormal(size=rows) ** 0.7, rng.lognormal(size=columns) ** 0.7
    flow[:rows, rows:] = np.outer(sent, received) * rng.exponential(size=(rows, columns))
    return FlowGraph.of(flow, np.repeat([0, 1], [rows, columns]), np.ones(n, bool))


def test_every_shuffle_sends_and_receives_what_the_graph_does_and_is_another():
    graph = dense(0)
    drawn = graph.shuffled(5, np.random.default_rng(0))
    assert np.allclose(drawn, drawn.swapaxes(1, 2))
    assert np.allclose(drawn.sum(1), graph.links.sum(0), rtol=5e-3)
    assert (drawn >= 0).all()
    assert np.abs(drawn - graph.links).max(axis=(1, 2)).min() > 0.1 * graph.links.max()
    assert not drawn[:, graph.links == 0].any()


def test_shares_are_those_of_the_singular_values_of_the_scaled_block():
    graph = dense(1)
    block = graph.flow[:8, 8:]
    scaled = block / np.sqrt(np.outer(block.sum(1), block.sum(0)))
    energy = np.linalg.svd(scaled)[1] ** 2
    assert energy[0] == pytest.approx(1.0)
    expected = np.cumsum(energy[1:]) / energy[1:].sum()
    assert np.allclose(shares(graph.links, 7), expected)


def test_a_flow_through_a_layer_between_is_left_out_and_one_around_it_is_not():
    flow = np.triu(np.ones((4, 4)), 1)
    chain = FlowGraph.of(flow, np.array([0, 1, 2, 3]), np.ones(4, bool))
    assert np.array_equal(chain.flow, np.eye(4, k=1))
    beside = np.array([[0, 0, 1, 1], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]], float)
    graph = FlowGraph.of(beside, np.array([0, 1, 2, 3]), np.ones(4, bool))
    assert np.array_equal(graph.flow, beside)


def test_where_nothing_is_planted_small_p_values_are_as_rare_as_they_say():
    p = np.array(
        [
            structure_test(dense(seed), 99, np.random.default_rng(seed)).p_value
            for seed in range(120)
        ]
    )
    assert (p <= 0.1).sum() <= 20  # of 12 expected: a chance of 2 % where the test is exact
    assert p.mean() > 0.4


def test_the_test_stops_early_only_where_the_p_value_is_clear():
    assert len(structure_test(dense(3), 399, np.random.default_rng(0)).values) == 99
    rec, _ = tracks((5, 5))
    assert len(ifl.how_many(rec, n_null=199).test.values) == 199


@pytest.mark.parametrize("sizes", [(9,), (5, 5), (4, 8, 5), (5, 5, 5, 5, 5)])
def test_as_many_modules_as_tracks_are_counted(sizes):
    rec, planted = tracks(sizes, seed=1)
    count = ifl.how_many(rec)
    assert count.n_modules == len(sizes)
    if len(sizes) > 1:
        used = ~count.partition.unused
        assert ifl.agreement(count.partition.restrict(used), planted.restrict(used)) > 0.95
        assert count.p_value <= 0.005
    assert (count.inside[~np.isnan(count.inside)] > 0.005).all()


def test_a_network_without_modules_has_one_and_no_score_and_says_so():
    rec, _ = tracks((9,), seed=1)
    found = ifl.search(rec, n_modules=None, budget=20, samples=5)
    assert found.partition.n_modules == 1
    assert found.count.p_value > 0.005
    assert found.exchange.bits == found.exchange.weighted == 0.0
    assert np.isnan(found.score.ratio)
    assert not found.score.isolated
    assert "no modules found" in repr(found)
    assert "no modules" in repr(found.count)
    assert len(found.history) == found.evaluations == 0
    assert len(found.to_frame()) == 1
    assert plot.search_history(found) is not None
    assert plot.module_flow(found.exchange, units=rec.units) is not None


def test_parts_without_any_flow_between_are_modules_whatever_the_test_says():
    rec, planted = tracks((2, 2, 2), cross=0.0)
    count = ifl.how_many(rec)
    assert count.partition == planted
    assert count.isolated == 3
    assert count.to_frame()["units"].tolist() == [4, 4, 4]


def test_the_count_is_the_same_for_plain_bits_and_whatever_meter_asks():
    rec, _ = tracks((5, 5), seed=2)
    plain = ExchangeMeter(rec, SEARCH, Objective("ncut", given_context=False))
    assert ifl.how_many(rec, meter=plain).n_modules == ifl.how_many(rec).n_modules == 2


def test_the_tree_does_not_divide_what_has_no_modules_although_a_search_would():
    rec, _ = tracks((8,), seed=1)
    tree = hierarchy(rec, budget=20, samples=5, donors=20, contexts=20)
    assert tree.children == ()
    assert tree.p_value > 0.05


def test_units_that_are_alike_are_not_divided_however_clear_their_differences():
    flow = np.zeros((16, 16))
    halves = np.kron(np.eye(2), np.ones((4, 4)))
    flow[:8, 8:] = 1 + 0.01 * halves + 0.001 * np.random.default_rng(0).random((8, 8))
    graph = FlowGraph.of(flow, np.repeat([0, 1], 8), np.ones(16, bool))
    rng = np.random.default_rng(0)
    assert structure_test(graph, 99, rng).p_value == 0.01
    assert graph.strength == pytest.approx(0.005, abs=0.001)
    assert division_p_value(graph, 99, rng) == 1.0
    flow[:8, 8:] = 1 + 3 * halves
    assert FlowGraph.of(flow, graph.layer, np.ones(16, bool)).strength == pytest.approx(0.6)


def test_a_false_division_is_not_followed_by_others():
    """At a level this lax three of five isolated tracks are divided; where the units were then
    divided anew without regard to that, there were eleven modules."""
    rec, _ = tracks((6,) * 5, cross=0.0, seed=5)
    assert ifl.how_many(rec, alpha=0.1, n_null=99).n_modules <= 8


def test_a_single_layer_cannot_be_asked():
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU())
    with pytest.raises(ValueError, match="downstream of others, got none"):
        ifl.how_many(ifl.record(net, ["1"], torch.randn(60, 4)))


@pytest.mark.parametrize("alpha", [0.0, 1.0, 0.001])
def test_a_level_that_no_shuffles_can_tell_is_refused(alpha):
    rec, _ = tracks((4, 4))
    with pytest.raises(ValueError, match="alpha"):
        ifl.how_many(rec, alpha=alpha)


def test_confidence_is_the_share_of_searches_that_agree():
    rec, _ = tracks((4, 4), cross=0.1, seed=3)
    found = ifl.search(rec, n_modules=2, budget=20, samples=5, donors=20, contexts=20, confidence=3)
    sure = found.confidence
    again = []
    for number in (1, 2, 3):
        meter = ExchangeMeter(
            rec, replace(SEARCH, donors=20, contexts=20, seed=number), Objective()
        )
        again.append(
            ifl.search(rec, n_modules=2, budget=20, samples=5, meter=meter, seed=number).partition
        )
    a, b = np.flatnonzero(~found.partition.unused)[[0, 5]]
    expected = np.mean([p.labels[a] == p.labels[b] for p in again])
    assert sure.together[a, b] == expected
    assert sure.n_modules == (2, 2, 2)
    assert list(sure.to_frame()) == ["unit", "module", "confidence", "sure", "nowhere"]
    assert "units sure" in repr(found)
    assert plot.confidence(found) is not None


def test_a_unit_that_changes_company_is_not_sure_and_one_that_has_none_is_nowhere():
    labels = [[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 0], [0, 0, 0, 1, 1, 2], [0, 0, 0, 1, 1, 2]]
    first, *again = map(ifl.Partition, labels)
    sure = ifl.Confidence.of(first, again)
    assert sure.unit.round(3).tolist() == [0.833, 0.833, 0.667, 0.5, 0.5, 0.0]
    assert np.flatnonzero(sure.nowhere).tolist() == [5]
    assert sure.core.n_modules == 0


def test_confidence_needs_more_than_one_search():
    rec, _ = tracks((4, 4))
    with pytest.raises(ValueError, match="at least 2 searches"):
        ifl.search(rec, confidence=1)
    with pytest.raises(ValueError, match="confidence=20"):
        plot.confidence(ifl.search(rec, budget=10, samples=3))
