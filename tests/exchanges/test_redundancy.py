"""Units that are silent one by one and not together are not silent."""

import numpy as np
import pytest
import torch

import infoflow as ifl
from infoflow.exchanges import ExchangeMeter
from infoflow.measured import SEARCH, Objective
from infoflow.searching.space import divided_units
from infoflow.toys import load_modules
from infoflow.toys.system import listed, relu_layer


def meter_of(rec, **how):
    return ExchangeMeter(rec, SEARCH, Objective("ncut", **how))


def votes(copies, more=0):
    """So many copies of a coin and their majority; a second coin and its copy; and units that are
    moved by the input and move nothing."""
    first = [[1, 0]] * copies + [[0, 1]] + [[1, 1]] * more
    need = copies // 2
    told = [[1] * copies + [0] * (1 + more)] * 2 + [[0] * copies + [1] + [0] * more]
    net = torch.nn.Sequential(
        relu_layer(first), relu_layer(told, [-need, -need - 1, 0]),
        relu_layer([[1, -1, 0], [0, 0, 1]]),
    )  # fmt: skip
    return ifl.record(net, ["0", "2"], listed([0, 1], [0, 1]).repeat(10, 1))


@pytest.mark.parametrize("given_context", [True, False])
@pytest.mark.parametrize("copies", [3, 5])
def test_copies_behind_a_vote_are_heard_together(copies, given_context):
    rec = votes(copies)
    flows = ifl.unit_flow(rec, given_context=given_context, donors=20, contexts=20)
    majority = copies + 1
    assert not flows[:copies].any() and not flows[:, majority].any()
    traffic = meter_of(rec, given_context=given_context).traffic
    assert not traffic.silent.any()
    assert (traffic.unit_flow[:copies, majority] > 0.1).all()


def test_units_that_send_nothing_even_together_stay_silent():
    rec = votes(3, more=2)
    meter = meter_of(rec)
    assert np.flatnonzero(meter.traffic.silent).tolist() == [4, 5]
    assert np.flatnonzero(~divided_units(meter, 2)).tolist() == [4, 5]


@pytest.mark.parametrize("objective", ["codes", "gaussian"])
def test_the_search_divides_redundant_tracks_as_they_are(objective):
    toy = load_modules("redundant_tracks")
    found = ifl.search(toy.record(), method="exhaustive", samples=10, objective=objective)
    assert found.partition == toy.planted[0]
    assert found.exchange.bits == found.exchange.bits_given_context == 0
