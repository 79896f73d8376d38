"""Data sets as people have them: whatever form they come in, the model gets the same arguments."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import infoflow as ifl
from infoflow._inputs import collect
from tests.nets import mlp, normal, seeded

K = 10
X, Y = normal(K, 6), torch.arange(K) % 3


class Tokens(nn.Module):
    """Takes tokens and a mask by keyword, and has a loss of its own, like a language model."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.fc, self.head = nn.Embedding(7, 4), nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, ids=None, scale=None, labels=None):
        h = self.fc(self.embed(ids))
        h = h if scale is None else h * scale[:, None, None]
        logits = self.head(torch.tanh(h).mean(1))
        if labels is None:
            return {"logits": logits}
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


TOKENS = torch.randint(7, (K, 4), generator=torch.Generator().manual_seed(0))
SCALE = 1 + normal(K, seed=1).abs()
SAMPLES = [
    {"ids": ids, "scale": scale, "labels": label}
    for ids, scale, label in zip(TOKENS, SCALE, Y, strict=True)
]


@pytest.fixture
def tokens_net():
    return seeded(Tokens)


@pytest.mark.parametrize(
    "inputs",
    [
        X.numpy(),
        X.double().numpy(),
        X.tolist(),
        list(X),
        list(X.numpy()),
        (X.numpy(),),
        (X, None),
        {"input": X, "nothing": None},
        ({"input": X.numpy()},),
        DataLoader(TensorDataset(X), batch_size=3),
        [(X[:4],), (X[4:],)],
        (batch for batch in X.split(3)),
        [{"input": X[:4]}, {"input": X[4:].numpy()}],
    ],
    ids=lambda v: type(v).__name__,
)
def test_every_form_of_one_argument_gives_the_same_recording(inputs):
    net = mlp()
    rec = ifl.record(net, ["2", "4"], inputs)
    plain = ifl.record(net, ["2", "4"], X)
    for name in plain.units.layers:
        torch.testing.assert_close(rec[name], plain[name])
    torch.testing.assert_close(rec.inputs[0], X)
    moved = [ifl.counterfactual(r, {"2": [0, 1]}, observe="4") for r in (rec, plain)]
    torch.testing.assert_close(*moved)


def test_targets_may_be_arrays_or_lists():
    net, loss = mlp(), nn.functional.cross_entropy
    plain = ifl.similarity(ifl.record(net, "2", X, Y, loss=loss), "hess")
    for targets in (Y.numpy(), Y.numpy().astype(np.int32), Y.tolist()):
        found = ifl.similarity(ifl.record(net, "2", X, targets, loss=loss), "hess")
        np.testing.assert_allclose(found, plain)


@pytest.mark.parametrize(
    "inputs",
    [
        {"ids": TOKENS, "scale": SCALE, "labels": Y},
        {"scale": SCALE.numpy(), "ids": TOKENS.tolist(), "labels": Y.tolist()},
        (TOKENS, {"scale": SCALE, "labels": Y}),
        [{"ids": i, "scale": s, "labels": y} for i, s, y in [(TOKENS, SCALE, Y)]],
        [({"ids": TOKENS[k], "scale": SCALE[k]}, Y[k]) for k in (slice(4), slice(4, K))],
        DataLoader(SAMPLES, batch_size=3),
    ],
)
def test_named_arguments_reach_the_model_by_name_and_labels_are_the_targets(tokens_net, inputs):
    rec = ifl.record(tokens_net, ["fc", "head"], inputs, loss=nn.functional.cross_entropy)
    torch.testing.assert_close(rec.outputs, tokens_net(TOKENS, SCALE)["logits"].detach())
    assert rec.targets is not None
    assert torch.equal(rec.targets, Y)
    plain = ifl.record(tokens_net, ["fc", "head"], (TOKENS, SCALE))
    for replay in (True, False):
        one, two = (
            ifl.counterfactual(r, {"fc": [0, 1]}, observe="head", replay=replay)
            for r in (rec, plain)
        )
        torch.testing.assert_close(one, two)
    assert ifl.check(rec).ok


def test_a_batch_encoding_is_a_mapping_like_others():
    transformers = pytest.importorskip("transformers")
    net = seeded(Tokens)
    encoded = transformers.BatchEncoding({"ids": TOKENS.tolist(), "scale": SCALE.tolist()})
    rec = ifl.record(net, "fc", encoded)
    assert rec.keywords == ("ids", "scale")
    torch.testing.assert_close(rec["fc"], ifl.record(net, "fc", (TOKENS, SCALE))["fc"])
    assert list(ifl.sites(net, encoded)["layer"]) == ["embed", "fc", "head"]


def test_labels_stay_an_argument_where_the_model_needs_them_or_targets_are_given(tokens_net):
    class Conditional(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.embed = nn.Linear(6, 4), nn.Embedding(3, 4)

        def forward(self, x, label):
            return self.fc(x) + self.embed(label)

    rec = ifl.record(seeded(Conditional), "fc", {"x": X, "label": Y})
    assert rec.keywords == ("x", "label")
    assert rec.targets is None
    given = collect(tokens_net, {"ids": TOKENS, "labels": Y}, Y + 1)
    assert given.keywords == ("ids", "labels")
    assert given.targets is not None
    assert torch.equal(given.targets, Y + 1)


class Gated(nn.Module):
    """Floats beside tokens and a boolean mask."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.fc = nn.Embedding(7, 3), nn.Linear(6, 3)

    def forward(self, ids, x, keep):
        return torch.tanh(self.fc(x) + self.embed(ids)) * keep[:, None]


@pytest.mark.parametrize("fast", [True, False])
def test_input_sensitivity_is_with_respect_to_the_floats_beside_integers_and_booleans(fast):
    net, ids, keep = seeded(Gated), TOKENS[:, 0], torch.arange(K) % 4 > 0
    rec = ifl.record(net, "fc", {"keep": keep, "ids": ids, "x": X})
    weight = net.fc.weight.detach().double()
    expected = (weight @ weight.T).abs().numpy()  # h = W x + b, so J = W on every sample
    np.testing.assert_allclose(ifl.similarity(rec, "i_sens", fast=fast), expected, rtol=1e-5)


def test_input_sensitivity_of_tokens_alone_is_refused(tokens_net):
    rec = ifl.record(tokens_net, "fc", {"ids": TOKENS})
    with pytest.raises(ValueError, match="differentiates with respect to the inputs"):
        ifl.similarity(rec, "i_sens")


def test_every_measure_runs_on_named_arguments(tokens_net):
    given = {"ids": TOKENS, "scale": SCALE, "labels": Y}
    rec = ifl.record(tokens_net, ["fc", "head"], given, loss=nn.functional.cross_entropy)
    plain = ifl.record(
        tokens_net, ["fc", "head"], (TOKENS, SCALE), Y, loss=nn.functional.cross_entropy
    )
    for name, matrix in ifl.similarities(rec).items():
        np.testing.assert_array_equal(matrix, ifl.similarities(plain, name)[name])
    one, two = (
        ifl.exchange(r, [0, 0, 0, 1, 1, 0, 1, 1], donors=6, contexts=5) for r in (rec, plain)
    )
    assert one.bits == two.bits


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ([[1.0, 2.0], [3.0]], ValueError, "one shape, got .2, 1.: pad them"),
        ([X[0], X[1, :4]], ValueError, "pad them to one length"),
        ([(X[:4],), (X[4:, :5],)], ValueError, "batches differ in shape"),
        ([(X[:4],), {"input": X[4:]}], ValueError, "batches differ in what they hold"),
        ([(X[0], Y[0]), (X[1], Y[1])], ValueError, "put single samples into a DataLoader"),
        (TensorDataset(X, Y), TypeError, "put it into a torch.utils.data.DataLoader"),
        ({"words": X}, TypeError, r"takes no argument \['words'\].*'input'"),
        (X.to_sparse(), TypeError, "dense tensor, got torch.sparse_coo: use .to_dense"),
        ((None, X), TypeError, "None stands before others: pass them by name"),
        (np.array(["a", "b"]), TypeError, "expected a tensor"),
        (7, TypeError, "expected a tensor.*got int"),
        ([], TypeError, "expected a tensor"),
    ],
)
def test_what_cannot_be_an_input_is_refused_at_the_door(inputs, error, message):
    with pytest.raises(error, match=message):
        ifl.record(mlp(), "2", inputs)


def test_arrays_are_copied_so_that_a_later_edit_does_not_reach_the_recording():
    x = X.numpy().copy()
    rec = ifl.record(mlp(), "2", x)
    x[:] = 0
    assert ifl.check(rec).ok
    torch.testing.assert_close(rec.inputs[0], X)


@pytest.mark.parametrize("look", [ifl.sites, lambda net, x: ifl.record(net, "0", x)])
def test_inputs_of_another_type_than_the_model_are_refused_with_what_to_do(look):
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    with pytest.raises(TypeError, match=r"float64.*float32.*inputs\.to\(torch\.float32\)"):
        look(net, torch.randn(6, 4).double())
    with pytest.raises(TypeError, match=r"inputs\.to\(torch\.bfloat16\)"):
        look(net.bfloat16(), torch.randn(6, 4))


def test_a_model_that_takes_another_type_gets_it():
    class Casts(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, x):
            return self.fc((x - 1e-9).float())

    x = torch.randn(6, 4).double()
    assert ifl.record(Casts(), "fc", x).inputs[0].dtype == torch.float64
