"""Recurrent layers unrolled: the same outputs, and states that can be set step by step."""

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow.interventions import Zero, resample
from tests.any_models import Recurrent
from tests.nets import normal, seeded

KINDS = {
    "LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN,
    "ReLU": lambda *a, **o: nn.RNN(*a, nonlinearity="relu", **o),
}  # fmt: skip
OPTIONS = [
    {},
    {"batch_first": True},
    {"num_layers": 2, "bidirectional": True},
    {"num_layers": 3, "batch_first": True, "bias": False, "dropout": 0.5},
]


def tensors(value):
    return [value] if isinstance(value, torch.Tensor) else [t for v in value for t in tensors(v)]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_unrolled_layer_gives_what_the_fused_one_gives(kind, options):
    net = seeded(lambda: KINDS[kind](3, 4, **options)).eval()
    steps, x = ifl.unrolled(net), normal(5, 6, 3)
    batch = 5 if options.get("batch_first") else 6
    h = normal(net.num_layers * (1 + net.bidirectional), batch, 4, seed=1)
    for args in ((x,), (x, (h, 2 * h) if kind == "LSTM" else h)):
        for ours, theirs in zip(tensors(steps(*args)), tensors(net(*args)), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_parameters_and_their_names_are_the_model_s():
    net = seeded(lambda: Recurrent(nn.LSTM, num_layers=2)).eval()
    before = [name for name, _ in net.named_modules()]
    steps = ifl.unrolled(net)
    own, theirs = dict(steps.named_parameters()), dict(net.named_parameters())
    assert own.keys() == theirs.keys() and all(own[name] is theirs[name] for name in own)
    assert steps.state_dict().keys() == net.state_dict().keys()
    assert [name for name, _ in net.named_modules()] == before
    assert isinstance(net.rnn, nn.LSTM) and not isinstance(steps.rnn, nn.LSTM)
    x = normal(7, 4, 3)
    torch.testing.assert_close(steps(x), net(x), rtol=1e-6, atol=1e-6)


HIDDEN = ifl.Site("rnn.layer0.hidden", call="all")


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_halves_of_a_state_that_the_fused_layer_hides_send_each_other_bits(kind):
    net, x = seeded(lambda: Recurrent(kind)).eval(), normal(60, 4, 3)
    fused = ifl.record(net, ifl.Site("rnn", output=0, unit_dim=-1), x)
    f = ifl.flow(fused, {"rnn[0]": [0, 1]}, {"rnn[0]": [2, 3, 4]}, donors=9, contexts=9)
    assert f.bits == 0 and not f.reachable
    rec = ifl.record(ifl.unrolled(net), [HIDDEN, "head"], x)
    torch.testing.assert_close(rec["rnn.layer0.hidden"], fused["rnn[0]"], rtol=1e-5, atol=1e-6)
    halves = {"rnn.layer0.hidden": [0, 1]}, {"rnn.layer0.hidden": [2, 3, 4]}
    f = ifl.flow(rec, *halves, coding="units", donors=30, contexts=30)
    assert f.bits_given_context > 0.5 and f.reachable
    alone = ifl.record(ifl.unrolled(net), HIDDEN, x)
    ex = ifl.exchange(alone, [0, 0, 1, 1, 1], donors=30, contexts=30)
    assert ex.flow_given_context[0, 1] == pytest.approx(
        f.bits_given_context, rel=0.02
    )  # other correction
    assert ifl.search(alone, budget=3, samples=2, donors=6, contexts=6).partition.n_modules == 2


@pytest.mark.parametrize("name", ["forget_gate", "cell", "hidden"])
def test_a_gate_set_at_one_step_is_that_of_the_formula(name):
    net, x = seeded(lambda: nn.LSTM(3, 4, batch_first=True)), normal(8, 5, 3)
    where = ifl.Site(f"layer0.{name}", call=2)
    rec = ifl.record(ifl.unrolled(net), [where, ifl.Site("layer0.hidden", call=4)], x)
    donors, h, c = torch.arange(8).flip(0), torch.zeros(8, 4), torch.zeros(8, 4)
    w_ih, w_hh, b = net.weight_ih_l0, net.weight_hh_l0, net.bias_ih_l0 + net.bias_hh_l0
    for step in range(5):
        i, f, g, o = (x[:, step] @ w_ih.T + h @ w_hh.T + b).chunk(4, 1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        if step == 2 and name == "forget_gate":
            f = torch.cat([f[donors][:, :2], f[:, 2:]], 1)
        c = f * c + i * g
        if step == 2 and name == "cell":
            c = torch.cat([c[donors][:, :2], c[:, 2:]], 1)
        h = o * c.tanh()
        if step == 2 and name == "hidden":
            h = torch.cat([h[donors][:, :2], h[:, 2:]], 1)
    runs = resample(rec, {where.name: [0, 1]}, donors.numpy(), np.arange(8), ["layer0.hidden#4"])
    found = torch.cat([seen["layer0.hidden#4"] for _, seen in runs])
    torch.testing.assert_close(found, h.detach(), rtol=1e-5, atol=1e-6)


class OfMyOwn(nn.LSTM):
    def forward(self, x, state=None):
        return super().forward(2 * x, state)


def hooked():
    net = nn.GRU(3, 4)
    net.register_forward_hook(lambda *a: None)
    return net


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.Linear(2, 2), "no nn.LSTM"),
        (lambda: nn.LSTM(3, 4, proj_size=2), "proj_size=2"),
        (lambda: OfMyOwn(3, 4), "may do more"),
        (lambda: nn.utils.parametrizations.weight_norm(nn.GRU(3, 4), "weight_hh_l0"), "parametr"),
        (hooked, "has hooks"),
    ],
)
def test_what_cannot_be_unrolled_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        ifl.unrolled(build())


def test_packed_and_unbatched_sequences_are_refused_with_what_to_do():
    steps = ifl.unrolled(nn.GRU(3, 4, batch_first=True))
    packed = nn.utils.rnn.pack_padded_sequence(normal(2, 5, 3), [5, 3], batch_first=True)
    with pytest.raises(TypeError, match="pad_packed_sequence"):
        steps(packed)
    with pytest.raises(ValueError, match=r"got \(5, 3\)"):
        steps(normal(5, 3))


ATTENTION = {
    "plain": {"batch_first": True},
    "time first": {},
    "no bias": {"bias": False, "batch_first": True},
    "extra tokens": {"add_bias_kv": True, "add_zero_attn": True, "batch_first": True},
    "other widths": {"kdim": 3, "vdim": 5, "batch_first": True},
}


def masks(kind):
    causal = torch.ones(4, 6, dtype=torch.bool).triu(1)
    padded = torch.zeros(5, 6, dtype=torch.bool)
    padded[1, 3:] = padded[2, 5:] = True
    if kind == "bool":
        return {"attn_mask": causal, "key_padding_mask": padded}
    scores = normal(10, 4, 6, seed=5)
    return {"attn_mask": scores, "key_padding_mask": normal(5, 6, seed=6)} if kind else {}


@pytest.mark.parametrize("masked", [None, "bool", "float"])
@pytest.mark.parametrize("options", ATTENTION)
def test_unrolled_attention_gives_what_the_fused_one_gives(options, masked):
    said = ATTENTION[options]
    net = seeded(lambda: nn.MultiheadAttention(8, 2, **said)).eval()
    for bias in (net.out_proj.bias, net.in_proj_bias):
        if bias is not None:
            nn.init.normal_(bias)
    steps = ifl.unrolled(net)
    read = normal(5, 4, 8), normal(5, 6, net.kdim, seed=1), normal(5, 6, net.vdim, seed=2)
    read = read if net.batch_first else [x.transpose(0, 1) for x in read]
    for more in ({}, {"need_weights": False}, {"average_attn_weights": False}):
        ours, theirs = (layer(*read, **more, **masks(masked)) for layer in (steps, net))
        torch.testing.assert_close(ours[0], theirs[0], rtol=1e-6, atol=1e-6)
        if theirs[1] is None:
            assert ours[1] is None
        else:
            torch.testing.assert_close(ours[1], theirs[1], rtol=1e-6, atol=1e-6)
    assert steps.state_dict().keys() == net.state_dict().keys()
    assert all(a is b for a, b in zip(steps.parameters(), net.parameters(), strict=True))


@pytest.mark.parametrize("need_weights", [True, False])
def test_a_token_that_may_look_nowhere_comes_out_as_the_fused_layer_gives_it(need_weights):
    net = seeded(lambda: nn.MultiheadAttention(8, 2, batch_first=True)).eval()
    x, nowhere = normal(3, 4, 8), torch.eye(4, dtype=torch.bool)
    nowhere[2] = True
    said = {"attn_mask": nowhere, "need_weights": need_weights}
    ours, theirs = ifl.unrolled(net)(x, x, x, **said)[0], net(x, x, x, **said)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6, equal_nan=True)


def test_an_encoder_with_unrolled_attention_gives_its_outputs_and_its_heads():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net = seeded(lambda: nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)).eval()
    steps, x = ifl.unrolled(net), normal(20, 4, 8)
    torch.testing.assert_close(steps(x), net(x), rtol=1e-6, atol=1e-6)
    site = ifl.Site("layers.0.self_attn.out_proj", io="input", heads=2)
    notes = ifl.sites(steps, x).set_index("layer").note
    assert notes[site.path] == f'attention heads: Site("{site.path}", io="input", heads=2)'
    with torch.no_grad():  # a head without values gives nothing, and its part of out_proj goes
        before = net.layers[0].self_attn.in_proj_weight.clone()
        net.layers[0].self_attn.in_proj_weight[20:] = 0  # the values of the second head
        net.layers[0].self_attn.in_proj_bias[20:] = 0
        with torch.enable_grad():
            expected = net(x)
        net.layers[0].self_attn.in_proj_weight.copy_(before)
    rec = ifl.record(steps, [site, "layers.1"], x)
    found = ifl.counterfactual(rec, {site.name: Zero([1])}, observe="layers.1")
    torch.testing.assert_close(found.movedim(1, 2), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda net: net.register_forward_hook(print), "hooks"),
        (lambda net: nn.utils.parametrizations.weight_norm(net, "in_proj_weight"), "parametrised"),
    ],
)
def test_attention_that_would_change_is_not_unrolled(spoil, message):
    net = nn.MultiheadAttention(8, 2)
    spoil(net)
    with pytest.raises(ValueError, match=message):
        ifl.unrolled(net)
