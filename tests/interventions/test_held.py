"""Sources at values of one's own, and units held at their contexts' values, against plain hooks."""

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow.information.blocks import blocks
from infoflow.interventions import resample
from infoflow.measured import Draws

K = 30


class Skip(nn.Module):
    """Three layers, each of which sees all before it."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 5), nn.Linear(9, 6), nn.Linear(15, 3)

    def forward(self, x):
        a = torch.tanh(self.a(x))
        b = torch.relu(self.b(torch.cat([x, a], 1)))
        return self.c(torch.cat([x, a, b], 1))


@pytest.fixture(scope="module")
def rec():
    torch.manual_seed(0)
    return ifl.record(Skip(), ["a", "b", "c"], torch.randn(K, 4))


def by_hand(rec, rows, put_in, held):
    """The last layer's output, every row with `{layer: (units, values)}` set, in one pass."""
    settings = {}
    for name in rec.units.layers:
        units, values = put_in.get(name, ([], torch.zeros(len(rows), 0)))
        stay = held.get(name, [])
        whole = torch.cat([values, rec[name][rows][:, stay]], 1)
        if len(units) + len(stay):
            settings[name] = ([*units, *stay], whole)
    seen = {}
    hook = rec.model.c.register_forward_hook(lambda *args: seen.update(c=args[2]))
    with torch.no_grad(), ifl.do(rec.model, settings):
        rec.model(rec.inputs[0][rows])
    hook.remove()
    return seen["c"]


@pytest.mark.parametrize("replay", [True, False])
@pytest.mark.parametrize("held", [{}, {"b": [0, 2, 3]}, {"a": [1], "b": [0, 1, 2, 3, 4, 5]}])
@pytest.mark.parametrize("own", [True, False])
def test_runs_are_those_of_units_set_by_hand(rec, replay, held, own):
    rng = np.random.default_rng(1)
    source, m = {"a": [0, 3], "b": [4]} if 4 not in held.get("b", []) else {"a": [0, 3]}, 7
    flat = rec.units.flat(source)
    values = None
    donors = rng.integers(K, size=m)
    if own:
        given = rng.normal(size=(m, len(flat))).astype(np.float32)
        (block,) = blocks(rec, Draws(m, "all", do=lambda *_: given), flat)
        donors, values = block.donors, block.values
    contexts = rng.permutation(K)[:5]
    rows = np.repeat(donors, 5), np.tile(contexts, m)
    stay = rec.units.flat(held) if held else None
    runs = resample(rec, flat, *rows, ["c"], values=values, held=stay, replay=replay)
    found = torch.cat([seen["c"] for _, seen in runs])
    table = rec.activations if values is None else values
    put_in = {n: (u, table[n][rows[0]][:, u]) for n, u in source.items()}
    expected = by_hand(rec, torch.as_tensor(rows[1]), put_in, held)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_values_without_positions_are_put_in_at_every_position():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 2, 3, padding=1))
    rec = ifl.record(net, [ifl.Site("1", unit_dim=1), "2"], torch.randn(20, 1, 4, 4))
    source = np.array([1])
    given = np.array([[0.5], [2.0]])
    (block,) = blocks(rec, Draws(2, 4, do=lambda *_: given), source)
    rows = np.repeat(block.donors, 4), np.tile(block.contexts, 2)
    found = torch.cat([s["2"] for _, s in resample(rec, source, *rows, ["2"], values=block.values)])
    for start, value in ((0, 0.5), (4, 2.0)):
        with torch.no_grad(), ifl.do(net, {ifl.Site("1", unit_dim=1): ([1], value)}):
            expected = net(rec.inputs[0][block.contexts]).flatten(2)
        own = found[start : start + 4].flatten(2)
        torch.testing.assert_close(own, expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="do not fit layer '1'"):
        blocks(rec, Draws(2, 4, do=lambda *_: np.zeros((2, 1, 3))), source)
