"""What stands at padded positions changes no number, and padding of nothing changes none either."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import infoflow as ifl
from infoflow.interventions import Mean
from tests.nets import normal, seeded

K, T, D = 14, 5, 4
LENGTHS = torch.tensor([5, 3, 2, 4, 1, 5, 2, 3, 4, 5, 1, 2, 3, 4])
MASK = torch.arange(T) < LENGTHS[:, None]
Y = torch.arange(K) % 3
FEW = {"donors": 6, "contexts": 6}


class Attends(nn.Module):
    """Tokens that see the real ones among them only; a class for the sample, or one a token."""

    def __init__(self, per_token: bool = False) -> None:
        super().__init__()
        self.fc1, self.act, self.mix = nn.Linear(D, 6), nn.Tanh(), nn.Linear(6, 6)
        self.fc2, self.head = nn.Linear(6, 4), nn.Linear(4, 3)
        self.per_token = per_token

    def forward(self, x, attention_mask):
        real = attention_mask.bool()
        h = self.act(self.fc1(x))
        scores = (self.mix(h) @ h.transpose(1, 2)).masked_fill(~real[:, None], -torch.inf)
        h = self.fc2(h + scores.softmax(-1) @ h)
        if self.per_token:
            return self.head(torch.tanh(h))
        weights = real[..., None] / real.sum(1)[:, None, None]
        return self.head((torch.tanh(h) * weights).sum(1))


LAYERS = ["fc1", "act", "fc2"]


def inputs(seed: int):
    """The same real tokens, other padding."""
    x, noise = normal(K, T, D), normal(K, T, D, seed=seed) * 3
    return {"x": torch.where(MASK[..., None], x, noise), "attention_mask": MASK.long()}


def recorded(seed: int = 1, layers=LAYERS, per_token: bool = False, **more):
    net = seeded(lambda: Attends(per_token))
    loss = summed if per_token else F.cross_entropy
    targets = torch.where(MASK, Y[:, None], -100) if per_token else Y
    return ifl.record(net, layers, inputs(seed), targets, loss=loss, **more)


def summed(outputs, targets):
    return F.cross_entropy(outputs.transpose(1, 2), targets, reduction="sum", ignore_index=-100)


def answers(rec) -> dict[str, object]:
    """One number or array of every kind of quantity."""
    labels = np.arange(len(rec.units)) % 2
    first, last = rec.units.layers[0], rec.units.layers[-1]
    return {
        **ifl.similarities(rec),
        **{f"{name}, exact": s for name, s in ifl.similarities(rec, fast=False).items()},
        "spearman": ifl.similarity(rec, "spearman"),
        "matrix": rec.matrix(),
        "unused": rec.units.unused,
        "flow": ifl.flow(rec, first, last, **FEW).bits,
        "flow max": ifl.flow(rec, first, last, pool="max", **FEW).bits_given_context,
        "observed": ifl.flow(rec, first, last, **FEW).observational_bits,
        "unit_flow": ifl.unit_flow(rec, **FEW),
        "module_flow": ifl.module_flow(rec, labels, **FEW).to_numpy(),
        "exchange": ifl.exchange(rec, labels, **FEW).bits,
        "counterfactual": ifl.counterfactual(rec, {first: [0, 2]}, observe=last).mean(2).numpy(),
        "replayed": ifl.counterfactual(
            rec, {first: [0, 2]}, observe=last, replay=False
        ).mean(2).numpy(),
        "mean": ifl.counterfactual(rec, {first: Mean([0, 2])}, observe=last).mean(2).numpy(),
    }  # fmt: skip


def assert_same(found, expected):
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("per_token", [False, True])
def test_what_stands_at_padded_positions_changes_no_number(per_token):
    one, two = (recorded(seed, per_token=per_token) for seed in (1, 2))
    assert not torch.allclose(one["fc1"], two["fc1"])
    assert_same(answers(two), answers(one))


def test_without_the_mask_it_does():
    one, two = (answers(recorded(seed, mask=False)) for seed in (1, 2))
    for name in ("cov", "matrix", "unit_flow"):
        assert not np.allclose(one[name], two[name], rtol=1e-3), name


def test_heads_and_a_basis_leave_padding_out_too():
    layers = [ifl.Site("fc1", heads=3), "fc2"]
    one, two = (recorded(s, layers=layers, basis={"fc2": "pca"}) for s in (1, 2))
    assert_same(answers(two), answers(one))


def test_positions_are_averaged_over_the_real_ones():
    rec = recorded()
    for name in LAYERS:
        h = rec[name].double()
        expected = [h[k, :, : LENGTHS[k]].mean(1) for k in range(K)]
        np.testing.assert_allclose(rec.matrix(name), torch.stack(expected), rtol=1e-6)
    centred = rec.matrix("fc1") - rec.matrix("fc1").mean(0)
    np.testing.assert_allclose(
        ifl.similarity(rec, "cov", layers="fc1"), np.abs(centred.T @ centred) / (K - 1)
    )
    assert list(rec.to_frame().iloc[4]) == pytest.approx(list(rec.matrix()[4]))


def by_hand(rec, k: int) -> dict[str, torch.Tensor]:
    """Jacobian products and Hessian of `act` on one sample, cut to its length."""
    x = inputs(1)["x"][k : k + 1, : LENGTHS[k]]
    mask = torch.ones(1, int(LENGTHS[k]))
    seen = []

    def run(delta, x=x):
        seen.clear()
        hook = rec.model.act.register_forward_hook(lambda m, i, o: seen.append(o) or o + delta)
        y = rec.model(x, mask)
        hook.remove()
        return y

    zero = torch.zeros(6)
    jacobian = torch.autograd.functional.jacobian
    inward = jacobian(lambda x: (run(zero, x), seen[0].mean(1))[1], x)[0].flatten(1)
    outward = jacobian(run, zero)[0]
    curved = torch.autograd.functional.hessian(
        lambda delta: F.cross_entropy(run(delta), Y[k : k + 1]), zero
    )
    return {"i_sens": inward @ inward.T, "o_sens": outward.T @ outward, "hess": curved}


@pytest.mark.parametrize("fast", [True, False])
def test_derivatives_are_those_of_samples_cut_to_their_length(fast):
    rec = recorded()
    alone = [by_hand(rec, k) for k in range(K)]
    for measure in ("i_sens", "o_sens", "hess"):
        expected = torch.stack([one[measure] for one in alone]).mean(0).abs()
        found = ifl.similarity(rec, measure, layers="act", fast=fast)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7, err_msg=measure)


def test_a_flow_is_what_raw_hooks_give_with_means_where_a_donor_is_shorter():
    rec = recorded(layers=["act", "fc2"])
    found = ifl.counterfactual(rec, {"act": [0, 2]}, observe="fc2", seed=5)
    donors = np.random.default_rng(5).permutation(K)
    h = rec["act"]
    means = torch.stack([h[k, :, : LENGTHS[k]].mean(1) for k in range(K)])
    put = torch.where(MASK[:, None], h, means[:, :, None])[donors]

    def swap(_m, _x, out):
        new = out.clone()
        new[:, :, [0, 2]] = put.transpose(1, 2)[:, :, [0, 2]]
        return new

    seen = []
    hooks = [rec.model.act.register_forward_hook(swap)]
    hooks.append(rec.model.fc2.register_forward_hook(lambda m, x, o: seen.append(o.detach())))
    rec.model(**inputs(1))
    for hook in hooks:
        hook.remove()
    right = seen[0].transpose(1, 2)
    real = MASK[:, None].expand_as(right)
    torch.testing.assert_close(found[real], right[real])


def test_a_mask_of_equal_lengths_is_no_mask():
    net, x = seeded(Attends), normal(K, T, D)
    given = {"x": x, "attention_mask": torch.ones(K, T)}
    one, two = (
        ifl.record(net, LAYERS, given, Y, loss=F.cross_entropy, mask=m)
        for m in (torch.ones(K, T, dtype=torch.bool), False)
    )
    assert repr(one) == repr(two)
    found = answers(one)
    for name, value in answers(two).items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_a_mask_can_be_given_and_is_said():
    taken = recorded()
    assert "37% padding by attention_mask left out at fc1, act, fc2" in repr(taken)
    given = recorded(mask=MASK.numpy().tolist())
    assert "padding by mask left out" in repr(given)
    np.testing.assert_array_equal(given.matrix(), taken.matrix())
    assert "padding" not in repr(recorded(mask=False))
    placed = ifl.record(seeded(Attends), LAYERS, tuple(inputs(1).values()))
    np.testing.assert_array_equal(placed.matrix(), taken.matrix())
    assert "the outputs" in repr(recorded(per_token=True))


class Halved(Attends):
    """Looks at every second token as well."""

    def __init__(self):
        super().__init__()
        self.second = nn.Linear(D, 3)

    def forward(self, x, attention_mask):
        return super().forward(x, attention_mask) + self.second(x[:, ::2]).mean(1)


def test_a_site_that_the_mask_does_not_fit_is_said():
    with pytest.warns(
        RuntimeWarning, match=r"attention_mask has 5 positions.*\{'second': 3\}"
    ) as w:
        rec = ifl.record(seeded(Halved), ["fc1", "second"], inputs(1))
    assert [one.filename for one in w] == [__file__]
    assert "left out at fc1, not at second" in repr(rec)
    with pytest.warns(RuntimeWarning, match="mask=False"):
        assert ifl.record(seeded(Halved), "second", inputs(1)).padding is None


def test_a_position_that_is_real_on_all_samples_can_be_a_site():
    rec = recorded(layers=[ifl.Site("act", positions=[0]), "fc2"])
    np.testing.assert_allclose(rec.matrix("act@0"), rec["act@0"][:, :, 0])
    with pytest.raises(
        ValueError, match=r"samples \[1, .* no real position in attention_mask at 'act@-1'"
    ):
        recorded(layers=[ifl.Site("act", positions=[-1]), "fc2"])


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(K, T + 1), "expected a mask .14, positions.*'fc1': 5.*got .14, 6."),
        (MASK[:5], r"got \(5, 5\)"),
        (MASK * 0.5, "True or 1"),
        (MASK & (torch.arange(K) > 0)[:, None], r"samples \[0\] have no real position"),
    ],
)
def test_a_mask_that_cannot_be_right_is_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        recorded(mask=mask)


def test_positions_one_by_one_are_refused_where_some_are_padding():
    rec = recorded()
    with pytest.raises(ValueError, match=r"some of layers .'fc1'. are padding"):
        ifl.similarity(rec, "cov", layers="fc1", positions="each")
    with pytest.raises(ValueError, match=r"some of layers .'fc2'. are padding"):
        ifl.flow(rec, [0], "fc2", pool="positions", **FEW)


WORDS = torch.randint(1, 40, (K, T), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["BERT", "GPT-2, padded left"])
def test_padding_tokens_of_a_language_model_change_no_number(kind):
    transformers = pytest.importorskip("transformers")
    small = {"vocab_size": 40, "initializer_range": 0.5}
    if kind == "BERT":
        config = transformers.BertConfig(
            hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=8,
            max_position_embeddings=16, num_labels=3, **small)  # fmt: skip
        net, layers, mask = transformers.BertForSequenceClassification, "intermediate.dense", MASK
        layers = [f"bert.encoder.layer.{i}.{layers}" for i in (0, 1)]
    else:
        config = transformers.GPT2Config(
            n_positions=8, n_embd=12, n_layer=2, n_head=3, n_inner=8, bos_token_id=0,
            eos_token_id=0, **small)  # fmt: skip
        net, layers, mask = transformers.GPT2LMHeadModel, ["transformer.h.*.mlp.c_fc"], MASK.flip(1)
    model = seeded(lambda: net(config))
    found = []
    for seed in (1, 2):
        other = torch.randint(1, 40, (K, T), generator=torch.Generator().manual_seed(seed))
        given = {"input_ids": torch.where(mask, WORDS, other), "attention_mask": mask.long()}
        rec = ifl.record(model, layers, given)
        labels = np.arange(len(rec.units)) % 2
        found.append(
            {
                "cov": ifl.similarity(rec, "cov"),
                "o_sens": ifl.similarity(rec, "o_sens"),
                "unit_flow": ifl.unit_flow(rec, **FEW),
                "exchange": ifl.exchange(rec, labels, **FEW).bits,
            }
        )
    assert found[0]["unit_flow"].any()
    assert_same(found[1], found[0])


def test_outputs_of_tokens_are_masked_even_where_no_site_has_positions():
    class Pooled(Attends):
        def forward(self, x, attention_mask):
            h = self.fc1((x * attention_mask[..., None]).sum(1))
            return self.head(torch.tanh(self.fc2(h))[:, None] * x)  # a class a token

    one, two = (ifl.record(seeded(Pooled), "fc1", inputs(seed)) for seed in (1, 2))
    assert "left out at the outputs" in repr(one)
    s = [ifl.similarity(rec, "o_sens") for rec in (one, two)]
    np.testing.assert_allclose(s[0], s[1], rtol=1e-5)


class Scores(Attends):
    """One number a token, or as many of a sample; the latter with weights for T tokens only."""

    def __init__(self, kind: str) -> None:
        super().__init__(per_token=True)
        self.kind = kind
        self.head = nn.Linear(4, {"classes": T}.get(kind, 1))
        self.places = nn.Parameter(torch.zeros(T, 1))

    def forward(self, x, attention_mask):
        y = super().forward(x + (self.places if self.kind == "fixed" else 0), attention_mask)
        if self.kind == "classes":
            return (y * attention_mask[..., None]).sum(1)
        return y.squeeze(-1)


def scores(kind: str, seed: int, **more):
    return ifl.record(seeded(lambda: Scores(kind)), LAYERS, inputs(seed), **more)


def test_one_number_a_token_is_masked_and_as_many_of_a_sample_are_not():
    one, two = (scores("tokens", seed) for seed in (1, 2))
    assert one.outputs.shape == (K, T) and "the outputs" in repr(one)
    assert_same(ifl.similarities(two, ["o_sens"]), ifl.similarities(one, ["o_sens"]))
    by_hand = scores("tokens", 1, output=lambda y: y.unsqueeze(-1))
    assert_same(ifl.similarities(by_hand, ["o_sens"]), ifl.similarities(one, ["o_sens"]))
    one, two = (scores("classes", seed) for seed in (1, 2))
    assert one.outputs.shape == (K, T) and "the outputs" not in repr(one)
    assert_same(ifl.similarities(two, ["o_sens"]), ifl.similarities(one, ["o_sens"]))


def test_where_it_cannot_be_told_what_outputs_are_this_is_said():
    with pytest.warns(RuntimeWarning, match=r"output=lambda y: y.unsqueeze\(-1\)"):
        rec = scores("fixed", 1)
    assert "the outputs" not in repr(rec)
    assert "the outputs" in repr(scores("fixed", 1, output=lambda y: y.unsqueeze(-1)))
