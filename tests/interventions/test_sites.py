"""Inputs, single calls, all calls, and attention heads as sites."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import infoflow as ifl
from infoflow._replay.prepare import Replays
from infoflow.interventions import Zero, resample
from tests.nets import Cells, Encoder, Twice, mlp, normal, seeded
from tests.test_recording import ifl_net

K = 24


class Attention(nn.Module):
    """Heads side by side, as in a decoder block: split, attend, join, project."""

    def __init__(self, width: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.head = nn.Linear(width, 2)

    def forward(self, x):
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, 2)
        )
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.head(x + self.proj(mixed.transpose(1, 2).flatten(2))).mean(1)


def heads_swapped(net, x, head, donors):
    """The heads' joined output with one head from other samples, by a raw pre-hook."""
    normal_input = []
    handle = net.proj.register_forward_pre_hook(lambda m, a: normal_input.append(a[0].clone()))
    net(x)
    handle.remove()
    width = normal_input[0].shape[2] // net.heads

    def put(_m, args):
        new = args[0].clone()
        part = slice(head * width, (head + 1) * width)
        new[:, :, part] = normal_input[0][donors][:, :, part]
        return (new,)

    handle = net.proj.register_forward_pre_hook(put)
    out = net(x)
    handle.remove()
    return out


def test_attention_heads_are_units_of_the_projections_input():
    net, x = seeded(Attention).eval(), normal(K, 5, 12)
    site = ifl.Site("proj", io="input", heads=3)
    rec = ifl.record(net, [site, "head"], x)
    assert site.name == "proj:input"
    assert rec["proj:input"].shape == (K, 3, 4 * 5)
    donors = np.random.default_rng(0).permutation(K)
    with torch.no_grad():
        expected = heads_swapped(net, x, 1, donors)
    for replay in (True, False):
        (seen,) = (
            s
            for _, s in resample(
                rec, {"proj:input": [1]}, donors, np.arange(K), ["head"], replay=replay
            )
        )
        torch.testing.assert_close(seen["head"].mean(2), expected)  # fmt: skip
    with torch.no_grad(), ifl.do(net, {site: Zero([0, 1, 2])}):
        torch.testing.assert_close(net(x), net.head(x + net.proj.bias).mean(1))


def test_an_input_site_is_what_the_layer_is_called_with():
    net, x = mlp(), normal(K, 6)
    rec = ifl.record(net, [ifl.Site("3", io="input"), "1"], x)
    assert torch.equal(rec["3:input"], rec["1"])
    a = ifl.counterfactual(rec, {"3:input": [0, 2]}, observe="3:input")
    b = ifl.counterfactual(rec, {"1": [0, 2]}, observe="1")
    torch.testing.assert_close(a, b)


class Keywords(nn.Module):
    class Inner(nn.Module):
        def forward(self, x, *, scale):
            return x * scale

    def __init__(self):
        super().__init__()
        self.inner, self.fc = self.Inner(), nn.Linear(4, 4)

    def forward(self, x):
        return self.fc(self.inner(x, scale=torch.sigmoid(x)))


def test_a_keyword_argument_can_be_a_site():
    net, x = seeded(Keywords), normal(K, 4)
    site = ifl.Site("inner", io="input", output="scale")
    rec = ifl.record(net, [site, "fc"], x)
    torch.testing.assert_close(rec[site.name], torch.sigmoid(x))
    with torch.no_grad(), ifl.do(net, {site: (range(4), 0.0)}):
        assert torch.equal(net(x), net.fc.bias.expand(K, 4))
    with pytest.raises(TypeError, match="which has no input 'scales'"):
        ifl.record(net, ifl.Site("inner", io="input", output="scales"), x)


@pytest.mark.parametrize("call", [0, 1])
def test_one_call_of_a_layer_called_twice(call):
    net, x = seeded(Twice), normal(K, 4)
    site = ifl.Site("act", call=call)
    rec = ifl.record(net, [site, "b"], x)
    first = torch.relu(net.a(x)).detach()
    torch.testing.assert_close(rec[site.name], [first, net(x).detach()][call])
    donors = np.random.default_rng(0).permutation(K)
    for replay in (True, False):
        found = ifl.counterfactual(rec, {site.name: [0, 3]}, observe="b", replay=replay)
        moved = first.clone()
        moved[:, [0, 3]] = first[donors][:, [0, 3]]
        torch.testing.assert_close(found, net.b(moved if call == 0 else first).detach())
    with torch.no_grad(), ifl.do(net, {site: Zero()}):
        expected = torch.zeros(K, 5) if call else torch.relu(net.b.bias).expand(K, 5)
        torch.testing.assert_close(net(x), expected)


def test_a_call_that_does_not_happen_is_an_error():
    with pytest.raises(RuntimeError, match=r"called 2 times.*no call 2"):
        ifl.record(Twice(), ifl.Site("act", call=2), normal(4, 4))


def test_all_calls_of_a_cell_are_positions_in_time():
    net, x = seeded(Cells), normal(K, 6, 3)
    rec = ifl.record(net, [ifl.Site("cell", call="all"), ifl.Site("cell", call=2)], x)
    state = net.cell(x[:, 0])
    for step in (1, 2):
        state = net.cell(x[:, step], state)
    torch.testing.assert_close(rec["cell"][:, :, 2], state.detach())
    torch.testing.assert_close(rec["cell#2"], state.detach())
    assert rec["cell"].shape == (K, 5, 6)


def test_an_lstm_cell_gives_hidden_state_and_cell_state_as_two_sites():
    net, x = seeded(lambda: Cells(nn.LSTMCell)), normal(K, 6, 3)
    hidden, inner = (ifl.Site("cell", output=i, call="all") for i in (0, 1))
    rec = ifl.record(net, [hidden, inner, "head"], x)
    donors = np.random.default_rng(0).permutation(K)
    both = {"cell[0]": range(5), "cell[1]": range(5)}
    found = ifl.counterfactual(rec, both, observe="head")
    torch.testing.assert_close(found, rec["head"][donors], msg="the donor's whole trajectory")
    one = ifl.counterfactual(rec, {"cell[0]": [0, 1]}, observe="head")
    slow = ifl.counterfactual(rec, {"cell[0]": [0, 1]}, observe="head", replay=False)
    torch.testing.assert_close(one, slow)
    assert not torch.allclose(one, rec["head"])


def test_residual_stream_and_inside_of_a_fused_encoder_layer():
    net, x = seeded(Encoder), normal(K, 7, 3)
    rec = ifl.record(net, ["layers.0", "layers.0.linear1", "layers.1", "head"], x)
    for source in ({"layers.0": [0, 3]}, {"layers.0.linear1": [0, 3]}):
        fast, slow = (
            ifl.counterfactual(rec, source, observe="head", replay=r) for r in (True, False)
        )
        torch.testing.assert_close(fast, slow)
        assert not torch.allclose(fast, rec["head"])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"io": "inside"}, "unknown io"),
        ({"call": -1}, "call: expected"),
        ({"call": "each"}, "call: expected"),
        ({"heads": 0}, "heads: expected"),
        ({"heads": 2.5}, "heads: expected"),
    ],
)
def test_sites_that_make_no_sense_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ifl.Site("x", **kwargs)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="5 units of layer 'fc1' do not divide into 3 heads"):
        ifl.record(ifl_net(), ifl.Site("fc1", heads=3), normal(4, 4))


def test_a_shared_module_is_found_under_each_of_its_names():
    net = Twice()
    net.alias = net.a
    rec = ifl.record(net, ["alias", "b"], normal(K, 4))
    a = ifl.counterfactual(rec, {"alias": [0]}, observe="b")
    b = ifl.counterfactual(ifl.record(net, ["a", "b"], normal(K, 4)), {"a": [0]}, observe="b")
    torch.testing.assert_close(a, b)


def test_adding_to_the_units_is_differentiable_and_lands_where_they_are_read():
    delta = normal(K, 3, seed=5).requires_grad_()
    for site in (
        ifl.Site("x", unit_dim=2, heads=3),
        ifl.Site("x", unit_dim=1, basis=None),
    ):
        value = normal(K, 3 if site.heads is None else 5, 6)
        moved = site.read(site.add(value, delta)) - site.read(value)
        torch.testing.assert_close(moved, delta[:, :, None].expand_as(moved))
        (slope,) = torch.autograd.grad(moved.sum(), delta)
        torch.testing.assert_close(slope, torch.full((K, 3), float(moved.shape[2])))


@dataclass
class Pair:
    sum: Tensor
    hidden: Tensor


class ReturnsPair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        hidden = torch.tanh(self.a(x))
        return Pair(self.b(hidden), hidden)


class TakesPair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pair, self.head = ReturnsPair(), nn.Linear(6, 2)

    def forward(self, x):
        pair = self.pair(x)
        return self.head(pair.hidden) + pair.sum[:, :2]


@pytest.mark.parametrize("replay", [True, False])
def test_a_field_of_a_dataclass_is_a_site_like_an_entry_of_a_mapping(replay):
    net, x = seeded(TakesPair), normal(K, 4)
    hidden = ifl.Site("pair", output="hidden", unit_dim=1)
    rec = ifl.record(net, [hidden, "head"], x)
    pair = net.pair(x)
    torch.testing.assert_close(rec["pair[hidden]"], pair.hidden.detach())
    donors = np.random.default_rng(0).permutation(K)
    changed = pair.hidden.detach().clone()
    changed[:, 1] = changed[donors, 1]
    expected = net.head(changed)
    with ifl.do(net, {hidden: ([1], changed[:, [1]])}), torch.no_grad():
        torch.testing.assert_close(net(x), (expected + pair.sum[:, :2]).detach())
    (seen,) = resample(rec, {"pair[hidden]": [1]}, donors, np.arange(K), ["head"], replay=replay)
    torch.testing.assert_close(seen[1]["head"], expected.detach())


def test_one_call_is_intervened_on_by_replay_where_all_calls_are_recorded_too():
    rec = ifl.record(
        seeded(Cells),
        [ifl.Site("cell", call="all"), ifl.Site("cell", call=5), "head"],
        normal(K, 6, 3),
    )
    donors, contexts = np.random.default_rng(0).permutation(K), np.arange(K)
    seen = [
        next(iter(resample(rec, {"cell#5": [0, 1]}, donors, contexts, ["head"], replay=fast)))[1]
        for fast in (True, False)
    ]
    torch.testing.assert_close(*(found["head"] for found in seen))
    assert not rec.kept(Replays).reasons  # a warning is an error here, and would have said so
