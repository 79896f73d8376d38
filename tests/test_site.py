"""A site at chosen positions is the layer there, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from tests.nets import normal, seeded

K, T = 12, 5
X = normal(K, T, 4)
Y = torch.arange(K) % 3


class Mixer(nn.Module):
    """Tokens that are mixed by a causal mean between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.head = nn.Linear(4, 6), nn.Linear(6, 4), nn.Linear(4, 3)

    def forward(self, x):
        h = torch.tanh(self.fc1(x)).cumsum(1)
        return self.head(torch.tanh(self.fc2(h)).mean(1))


@pytest.fixture(scope="module")
def net():
    return seeded(Mixer)


def site(path: str, *positions: int, **more):
    return ifl.Site(path, positions=positions, **more)


def test_only_the_chosen_positions_are_recorded(net):
    whole = ifl.record(net, "fc1", X)["fc1"]
    rec = ifl.record(net, [site("fc1", 0, -1), "fc2"], X)
    assert rec.units.layers == ("fc1@0,-1", "fc2")
    assert torch.equal(rec["fc1@0,-1"], whole[:, :, [0, T - 1]])
    np.testing.assert_array_equal(rec.matrix("fc1@0,-1"), whole[:, :, [0, -1]].double().mean(2))
    assert ifl.check(rec).ok


@pytest.mark.parametrize("replay", [True, False])
@pytest.mark.parametrize("more", [{}, {"heads": 3}])
def test_an_intervention_at_a_position_is_what_a_raw_hook_does_there(net, replay, more):
    unit = 2 if more else 1  # components of a head
    rec = ifl.record(net, [site("fc1", 1, -1, **more), "fc2"], X)
    found = ifl.counterfactual(rec, {"fc1@1,-1": [0, 2]}, observe="fc2", seed=3, replay=replay)
    donors = np.random.default_rng(3).permutation(K)
    columns = [h * unit + i for h in (0, 2) for i in range(unit)]

    def put(_m, _x, out):
        new = out.clone()
        for p in (1, T - 1):
            new[:, p, columns] = out[donors][:, p, columns]
        return new

    seen = []
    hooks = [net.fc1.register_forward_hook(put)]
    hooks.append(net.fc2.register_forward_hook(lambda m, x, o: seen.append(o.detach())))
    net(X)
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(found, seen[0].transpose(1, 2))


@pytest.mark.parametrize("fast", [True, False])
def test_similarity_of_positions_is_the_block_of_all_positions_as_units(net, fast):
    class Spread(nn.Module):
        """The same network, every position of fc1's units a feature of its own."""

        def __init__(self):
            super().__init__()
            self.wide = nn.Identity()

        def forward(self, x):
            h = self.wide(net.fc1(x).flatten(1)).unflatten(1, (T, 6))
            return net.head(torch.tanh(net.fc2(torch.tanh(h).cumsum(1))).mean(1))

    loss = nn.functional.cross_entropy
    rec = ifl.record(net, site("fc1", -2), X, Y, loss=loss)
    spread = ifl.record(Spread(), "wide", X, Y, loss=loss)
    block = slice((T - 2) * 6, (T - 1) * 6)
    everywhere = ifl.similarities(spread)
    for name, matrix in ifl.similarities(rec, fast=fast).items():
        expected = everywhere[name][block, block]
        np.testing.assert_allclose(matrix, expected, rtol=1e-4, atol=1e-7, err_msg=name)


def test_flow_goes_from_earlier_positions_to_later_ones_only(net):
    rec = ifl.record(net, [site("fc1", 2), site("fc2", 1), site("fc2", 3)], X)
    options = {"donors": "all", "contexts": "all", "bins": "unique", "correction": "none"}
    assert ifl.flow(rec, "fc1@2", "fc2@1", **options).bits == 0
    assert ifl.flow(rec, "fc1@2", "fc2@3", **options).bits > 1
    sent = ifl.unit_flow(rec)
    assert (sent[:6, 6:10] == 0).all()
    assert (sent[:6, 10:] > 0).any()
    labels = [0] * 6 + [1] * 4 + [2] * 4
    assert ifl.exchange(rec, labels, donors=8, contexts=8, weighting="none").bits > 0


def test_values_are_put_at_the_chosen_positions_alone(net):
    with torch.no_grad(), ifl.do(net, {site("fc1", 0, unit_dim=-1): ([1], 7.0)}):
        seen = []
        hook = net.fc1.register_forward_hook(lambda m, x, o: seen.append(o))
        net(X)
        hook.remove()
    plain = net.fc1(X).detach()
    plain[:, 0, 1] = 7.0
    torch.testing.assert_close(seen[0], plain)


def test_directions_of_a_basis_at_a_position(net):
    rec = ifl.record(net, [site("fc1", 0), "fc2"], X, basis={"fc1@0": "random"})
    plain = ifl.record(net, [site("fc1", 0), "fc2"], X)
    assert not torch.allclose(rec["fc1@0"], plain["fc1@0"])
    every = range(6)  # all directions are all units
    one, two = (ifl.counterfactual(r, {"fc1@0": every}, observe="fc2") for r in (rec, plain))
    torch.testing.assert_close(one, two)


def test_positions_of_an_image_go_row_by_row():
    net = seeded(lambda: nn.Sequential(nn.Conv2d(1, 3, 3)))
    x = normal(4, 1, 5, 6)
    rec = ifl.record(net, site("0", 5), x)  # the map is 3 x 4
    torch.testing.assert_close(rec["0@5"][:, :, 0], net(x)[:, :, 1, 1].detach())


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([site("fc1", T)], f"among its {T}, each once, got .{T}."),
        ([site("fc1", -1, T - 1)], "each once"),
        ([site("head", 0)], "among its 0"),
        ([site("fc1", -1), site("fc1", 0, T - 1)], "same units at the same positions"),
        (["fc1", site("fc1", 0)], "same units at the same positions"),
    ],
)
def test_positions_that_are_not_there_or_are_taken_twice_are_refused(net, layers, message):
    with pytest.raises(ValueError, match=message):
        ifl.record(net, layers, X)


@pytest.mark.parametrize("positions", [[], [0.5], "last", [[0]]])
def test_positions_are_integers(positions):
    with pytest.raises(ValueError, match="positions: expected"):
        ifl.Site("fc1", positions=positions)
    with pytest.raises(ValueError, match="say call=0"):
        ifl.Site("fc1", positions=[0], call="all")
