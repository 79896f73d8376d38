"""Sites name outputs of layers; a unit space lists their units."""

from __future__ import annotations

from collections import OrderedDict, namedtuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from infoflow.units import Site, UnitSpace, unknown_name

Pair = namedtuple("Pair", "first second")


def space() -> UnitSpace:
    return UnitSpace((Site("fc1"), Site("fc2")), (3, 2), np.array([0, 1, 0, 0, 0], bool))


@pytest.mark.parametrize(
    ("layer", "shape", "dim"),
    [
        (nn.Linear(3, 4), (2, 4), 1),
        (nn.Linear(3, 4), (2, 7, 4), 2),
        (nn.LayerNorm(4), (2, 7, 4), 2),
        (nn.Embedding(5, 4), (2, 7, 4), 2),
        (nn.Conv2d(3, 4, 3), (2, 4, 8, 8), 1),
        (nn.BatchNorm2d(4), (2, 4, 8, 8), 1),
        (nn.Conv1d(3, 4, 3), (2, 4, 9), 1),
        (nn.ReLU(), (2, 4), 1),
    ],
)
def test_units_lie_where_the_layers_type_says(layer, shape, dim):
    assert Site("x").resolved(layer, torch.zeros(shape)).unit_dim == dim


def test_an_axis_that_cannot_be_known_is_never_guessed():
    with pytest.raises(ValueError, match=r"which dimension holds the units\? Say.*unit_dim=1"):
        Site("act").resolved(nn.ReLU(), torch.zeros(2, 4, 8, 8))
    assert Site("act", unit_dim=-3).resolved(nn.ReLU(), torch.zeros(2, 4, 8, 8)).unit_dim == 1


@pytest.mark.parametrize("dim", [0, -2, 2, -3, 5])
def test_the_batch_dimension_and_dimensions_that_do_not_exist_are_refused(dim):
    with pytest.raises(ValueError, match=f"unit_dim={dim} of layer 'x'"):
        Site("x", unit_dim=dim).resolved(nn.Linear(3, 4), torch.zeros(2, 4))


def test_an_output_without_a_unit_dimension_is_refused():
    with pytest.raises(ValueError, match="batch dimension and a unit dimension"):
        Site("x").resolved(nn.Linear(3, 1), torch.zeros(2))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_fused_recurrent_layer_says_what_can_and_cannot_be_reached(kind):
    layer = kind(3, 4, batch_first=True)
    value = layer(torch.zeros(2, 5, 3))
    with pytest.raises(ValueError, match=rf"fused nn.{kind.__name__}.*{kind.__name__}Cell"):
        Site("rnn").resolved(layer, value)
    assert Site("rnn", output=0, unit_dim=-1).resolved(layer, value).read(value).shape == (2, 4, 5)


def test_a_layer_that_returns_no_tensor_asks_for_the_output():
    with pytest.raises(TypeError, match=r"returned a tuple of 2, expected a tensor.*output="):
        Site("x").tensor((torch.zeros(2, 3), None))
    with pytest.raises(TypeError, match=r"returned a dict with keys \['a'\]"):
        Site("x").tensor({"a": torch.zeros(2, 3)})
    with pytest.raises(TypeError, match="has no output 'b'"):
        Site("x", output="b").tensor({"a": torch.zeros(2, 3)})
    with pytest.raises(TypeError, match="returned a NoneType"):
        Site("x", output=1).tensor((torch.zeros(2, 3), None))


@pytest.mark.parametrize(
    ("value", "output"),
    [
        ((torch.zeros(2, 3), torch.ones(2, 3)), 0),
        ((torch.zeros(2, 3), torch.ones(2, 3)), -1),
        ([torch.zeros(2, 3), "kept"], 0),
        ({"h": torch.zeros(2, 3), "rest": 5}, "h"),
        (OrderedDict(h=torch.zeros(2, 3)), "h"),
        (Pair(torch.zeros(2, 3), torch.ones(2, 3)), 1),
    ],
)
def test_writing_into_a_container_replaces_that_tensor_and_nothing_else(value, output):
    site = Site("x", unit_dim=1, output=output)
    old = site.tensor(value).clone()
    new = site.write(value, torch.tensor([1]), torch.full((2, 1), 9.0))
    assert type(new) is type(value)
    assert len(new) == len(value)
    assert torch.equal(site.tensor(value), old), "the layer's own output must stay"
    assert site.tensor(new)[:, 1].tolist() == [9.0, 9.0]
    assert torch.equal(site.tensor(new)[:, [0, 2]], old[:, [0, 2]])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (7.0, [[7, 7], [7, 7]]),
        (torch.tensor([1.0, 2.0]), [[1, 2], [1, 2]]),
        (torch.tensor([[1.0, 2.0], [3.0, 4.0]]), [[1, 2], [3, 4]]),
    ],
)
def test_values_may_be_a_scalar_one_per_unit_or_one_per_sample_and_unit(values, expected):
    for shape in [(2, 3), (2, 3, 4), (2, 3, 4, 5)]:
        site = Site("x", unit_dim=1)
        out = site.read(site.write(torch.zeros(shape), torch.tensor([0, 2]), values))
        for position in out.flatten(2).unbind(2) if out.ndim > 2 else [out]:
            assert position[:, [0, 2]].tolist() == expected
            assert position[:, 1].tolist() == [0, 0]


def test_values_per_position_keep_their_places():
    site = Site("x", unit_dim=3)
    new = torch.arange(2 * 1 * 6.0).reshape(2, 1, 6)
    out = site.write(torch.zeros(2, 2, 3, 4), torch.tensor([2]), new)
    assert torch.equal(site.read(out)[:, [2]], new)
    assert torch.equal(out[..., 2], new.reshape(2, 2, 3))


def test_values_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"do not fit layer 'x'.*expected a scalar, \(2,\)"):
        Site("x", unit_dim=1).write(torch.zeros(5, 3), torch.tensor([0, 1]), torch.zeros(5, 3))


def test_an_infinity_in_another_unit_stays_an_infinity_there():
    value = torch.tensor([[1.0, float("inf")], [float("nan"), 2.0]])
    out = Site("x", unit_dim=1).write(value, torch.tensor([0]), 0.0)
    assert out.tolist() == [[0.0, float("inf")], [0.0, 2.0]]


def test_flat_indices_count_site_by_site():
    units = space()
    assert len(units) == 5
    assert units.indices().tolist() == [0, 1, 2, 3, 4]
    assert units.indices(["fc2", "fc1"]).tolist() == [3, 4, 0, 1, 2]
    assert units.flat({"fc2": [-1], "fc1": [0]}).tolist() == [4, 0]
    assert units.flat({"fc1": np.array([True, False, True])}).tolist() == [0, 2]
    assert units.flat("fc2").tolist() == [3, 4]
    assert units.table["layer"].tolist() == ["fc1"] * 3 + ["fc2"] * 2
    assert units.table["index"].tolist() == [0, 1, 2, 0, 1]
    assert repr(units) == "UnitSpace(5 units; fc1: 3, fc2: 2; 1 unused)"


@given(st.sets(st.integers(0, 4), min_size=1))
def test_by_layer_and_flat_are_inverse(chosen):
    units = space()
    order = sorted(chosen)
    assert units.flat(units.by_layer(order)).tolist() == order


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ([], "at least one unit"),
        ({}, "at least one unit"),
        ({"fc1": []}, "at least one unit"),
        ([5], "out of range: the recording has 5 units"),
        ({"fc1": [3]}, "layer 'fc1' has 3 units"),
        ([1, 1], "more than once"),
        ([0, -5], "more than once"),
        ([0.5], "unit indices of the recording"),
        ([[0, 1]], "unit indices of the recording"),
        ([True, False], "unit indices of the recording"),
    ],
)
def test_bad_units_are_named_at_the_door(units, message):
    with pytest.raises(ValueError, match=message):
        space().flat(units)


@pytest.mark.parametrize("units", [3, np.int64(3), range(3, 4), {3}, torch.tensor([3])])
def test_units_may_be_named_in_any_form_of_integers(units):
    assert space().flat(units).tolist() == [3]


def test_an_unknown_layer_names_its_near_misses():
    with pytest.raises(KeyError, match=r"unknown recorded layer 'fc3'; did you mean 'fc"):
        space().flat({"fc3": [0]})
    assert "did you mean" not in unknown_name("layer", "zzz", ["encoder", "head"])
