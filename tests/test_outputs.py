"""What the model's output is: one tensor of what it returns, and said where it was a choice."""

from __future__ import annotations

import warnings
from dataclasses import make_dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import infoflow as ifl
from tests.nets import mlp, normal, seeded

K = 9
X, Y = normal(K, 4), torch.arange(K) % 3


class Returns(nn.Module):
    """Two heads on one trunk; `make(a, b)` is what it returns of them."""

    def __init__(self, make) -> None:
        super().__init__()
        self.fc, self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 3), nn.Linear(5, 2)
        self.make = [make]

    def forward(self, x):
        h = torch.tanh(self.fc(x))
        return self.make[0](self.a(h), self.b(h))


def net(make):
    return seeded(lambda: Returns(make))


FORMS = [
    (lambda a, b: (a, b), 0, 1),
    (lambda a, b: [a, b], 0, 1),
    (lambda a, b: {"last_hidden_state": a, "pooled": b}, "last_hidden_state", "pooled"),
]


@pytest.mark.parametrize(("make", "first", "second"), FORMS)
def test_a_choice_that_was_not_forced_is_said_once_and_in_the_repr(make, first, second):
    model = net(make)
    with pytest.warns(RuntimeWarning, match="several tensors.*output=") as said:
        rec = ifl.record(model, "fc", X)
    assert [w.filename for w in said] == [__file__]
    assert f"output {first!r} (also returned: {second!r})" in repr(rec)
    for key, layer in ((first, model.a), (second, model.b)):
        chosen = ifl.record(model, "fc", X, output=key)
        expected = layer(torch.tanh(model.fc(X))).detach()
        torch.testing.assert_close(chosen.outputs, expected)
        assert f"output {key!r}" in repr(chosen)


@pytest.mark.parametrize(
    "make",
    [
        lambda a, b: a,
        lambda a, b: {"y": a},
        lambda a, b: (a,),
        lambda a, b: {"aux": b, "logits": a},
        lambda a, b: (a, None),
    ],
)
def test_the_only_tensor_and_logits_are_taken_without_a_word(make):
    model = net(make)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rec = ifl.record(model, "fc", X)
    torch.testing.assert_close(rec.outputs, model.a(torch.tanh(model.fc(X))).detach())


@pytest.mark.parametrize(
    ("make", "output", "message"),
    [
        (lambda a, b: {"a": a, "b": b}, None, r"'a' \(Tensor\), 'b'.*output='a'"),
        (lambda a, b: {"a": a, "b": b}, "c", "output='c'.*'a' .Tensor., 'b'"),
        (lambda a, b: (a, b), 2, "output=2"),
        (lambda a, b: a, 0, "output=0"),
        (lambda a, b: (a, b), lambda o: o, "expected a tensor"),
        (make_dataclass("Both", ["a", "b"]), None, r"'a' \(Tensor\), 'b'.*output='a'"),
        (lambda a, b: None, None, "no single output tensor"),
    ],
)
def test_an_output_that_is_not_there_is_refused_with_what_there_is(make, output, message):
    with pytest.raises(TypeError, match=message):
        ifl.record(net(make), "fc", X, output=output)


def test_two_heads_joined_by_a_function_are_what_one_network_of_both_gives():
    def loss(y, t):
        return F.cross_entropy(y[:, :3], t) + y[:, 3:].square().sum(1).mean()

    layers = ["fc", "a", "b"]
    two = ifl.record(
        net(lambda a, b: (a, b)), layers, X, Y, loss=loss, output=lambda o: torch.cat(o, 1)
    )
    one = ifl.record(net(lambda a, b: torch.cat((a, b), 1)), layers, X, Y, loss=loss)
    torch.testing.assert_close(two.outputs, one.outputs)
    for name, matrix in ifl.similarities(one).items():
        np.testing.assert_allclose(ifl.similarities(two, name)[name], matrix, err_msg=name)
    for replay in (True, False):
        found = [ifl.counterfactual(r, {"fc": [0]}, observe="b", replay=replay) for r in (one, two)]
        torch.testing.assert_close(*found)
    labels = [0, 1] * 5
    assert (
        ifl.exchange(two, labels, donors=6, contexts=5).bits
        == ifl.exchange(one, labels, donors=6, contexts=5).bits
    )
    assert ifl.check(two).ok


def test_of_one_head_alone_units_that_feed_the_other_have_no_output_sensitivity():
    rec = ifl.record(net(lambda a, b: (a, b)), ["a", "b"], X, output=1)
    s = ifl.similarity(rec, "o_sens")
    assert (s[:3] == 0).all()
    np.testing.assert_allclose(s[3:, 3:], np.eye(2))


@pytest.mark.parametrize(
    ("make", "key", "read"),
    [
        (lambda a, b: {"logits": a, "aux": b}, None, lambda out: out.logits),
        (lambda a, b: {"logits": a, "aux": b}, "aux", lambda out: out["aux"]),
        (lambda a, b: (b, a), 1, lambda out: out[1]),
        (lambda a, b: a, None, lambda out: out),
    ],
)
def test_a_loss_of_what_the_model_returns_is_that_of_its_output(make, key, read):
    classes = Y % 2
    raw = ifl.record(net(make), "fc", X, classes, output=key, loss_of="raw",
                     loss=lambda out, y: F.cross_entropy(read(out), y))  # fmt: skip
    plain = ifl.record(net(make), "fc", X, classes, output=key, loss=F.cross_entropy)
    for fast in (True, False):
        one, two = (ifl.similarity(rec, "hess", fast=fast) for rec in (raw, plain))
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-9)


def test_a_raw_loss_of_more_than_the_output_is_refused():
    made = net(lambda a, b: {"logits": a, "aux": b})
    rec = ifl.record(
        made, "fc", X, Y, loss_of="raw", loss=lambda o, y: o.logits.sum() + o.aux.sum()
    )
    with pytest.raises(ValueError, match=r"asks for 'aux'.*only the output, 'logits'"):
        ifl.similarity(rec, "hess")
    with pytest.raises(ValueError, match="let the loss take what the function makes"):
        ifl.record(
            made, "fc", X, Y, loss_of="raw", loss=F.cross_entropy, output=lambda o: o["logits"]
        )
    with pytest.raises(ValueError, match="unknown loss_of 'both'"):
        ifl.record(made, "fc", X, Y, loss_of="both")


def test_the_repr_says_the_loss():
    assert repr(ifl.record(mlp(), "2", normal(5, 6), loss=F.cross_entropy)).endswith(
        "loss cross_entropy)"
    )


def test_a_bare_bert_gives_its_last_hidden_state_or_what_is_asked_for():
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=12,
    )
    model = seeded(lambda: transformers.BertModel(config)).eval()
    ids = torch.randint(20, (K, 5), generator=torch.Generator().manual_seed(0))
    with pytest.warns(RuntimeWarning, match="'last_hidden_state' is taken.*pooler_output"):
        rec = ifl.record(model, "encoder.layer.0.output.dense", {"input_ids": ids})
    assert rec.outputs.shape == (K, 5, 8)
    pooled = ifl.record(
        model, "encoder.layer.0.output.dense", {"input_ids": ids}, output="pooler_output"
    )
    with torch.no_grad():
        torch.testing.assert_close(pooled.outputs, model(input_ids=ids).pooler_output)
    assert np.isfinite(ifl.similarity(pooled, "o_sens")).all()
