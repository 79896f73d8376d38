"""Models as people write them: replay beside raw hooks, row by row, unchanged models."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import infoflow as ifl
from infoflow.interventions import resample
from tests.nets import normal, seeded
from tests.oracles_intervene import raw_hook_resample


class UsedAgain(nn.Module):
    """The activation works in place on a value that is added later."""

    def __init__(self, act=None, f=False):
        super().__init__()
        self.a, self.f, self.head = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.act, self.through = act or nn.LeakyReLU(0.2, inplace=True), f

    def forward(self, x):
        z = self.a(x)
        h = self.act(z)
        return self.head(torch.tanh(self.f(h)) + z if self.through else torch.relu(z + h))


class InBlock(nn.Module):
    """A block that changes its own argument and returns something else."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.f, self.act = nn.Linear(6, 6), nn.ReLU(inplace=True)

        def forward(self, x):
            return self.f(self.act(x))

    def __init__(self):
        super().__init__()
        self.a, self.block, self.g, self.head = (
            nn.Linear(4, 6), self.Block(), nn.Linear(6, 6), nn.Linear(6, 3))  # fmt: skip

    def forward(self, x):
        h = self.a(x)
        z = self.block(h)
        return self.head(h + self.g(torch.tanh(z)))


class ThroughAView(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.flat, self.act = nn.Conv1d(2, 3, 2), nn.Flatten(), nn.ReLU(inplace=True)
        self.f, self.head = nn.Linear(9, 6), nn.Linear(6, 3)

    def forward(self, x):
        z = self.a(x)
        h = self.f(self.act(self.flat(z)))
        return self.head(torch.tanh(h)) + z.sum(2)


class ThroughData(nn.Module):
    """A write that hides from version counters."""

    class Clamp(nn.Module):
        def forward(self, x):
            x.data.clamp_(min=0.1)
            return torch.zeros(len(x), 1)

    def __init__(self):
        super().__init__()
        self.a, self.clamp, self.f, self.head = (
            nn.Linear(4, 6), self.Clamp(), nn.Linear(6, 6), nn.Linear(6, 3))  # fmt: skip

    def forward(self, x):
        h = self.a(x)
        extra = self.clamp(h)
        return self.head(torch.tanh(self.f(h + extra)) + h)


class Bottleneck(nn.Module):
    """A ResNet with in-place ReLU after every sum."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv3, self.bn3 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(4, 3)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        for conv, bn in ((self.conv2, self.bn2), (self.conv3, self.bn3)):
            y = bn(conv(x))
            y += x
            x = self.relu(y)
        return self.head(x.mean((2, 3)))


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.embed, self.rnn = nn.Linear(3, 5), kind(5, 6, batch_first=True)
        self.mid, self.head = nn.Linear(6, 5), nn.Linear(5, 2)

    def forward(self, x):
        out, _ = self.rnn(torch.tanh(self.embed(x)))
        return self.head(torch.relu(self.mid(out[:, -1])))


class Routed(nn.Module):
    """A rare sample goes through an expert of its own."""

    def __init__(self, bar=1.5):
        super().__init__()
        self.a, self.f, self.expert, self.head = (
            nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3))  # fmt: skip
        self.bar = bar

    def forward(self, x):
        h = torch.tanh(self.a(x))
        out = torch.zeros_like(h)
        rare = x[:, 0] > self.bar
        out[rare] = self.expert(h[rare])
        return self.head(out + torch.relu(self.f(h)))


def lstm():
    return Recurrent(nn.LSTM)


def gru():
    return Recurrent(nn.GRU)


def clipped():
    return UsedAgain(nn.Hardtanh(-2, 2, inplace=True), f=True)


CASES = {
    "in place first": (UsedAgain, (4,), ["act", "head"], {"act": (1, [0, 1, 2])}, "head"),
    "rare clipping": (clipped, (4,), ["f", "head"], {"f": (1, [0])}, "head"),
    "in place in a block": (InBlock, (4,), ["g", "head"], {"g": (1, [0, 2])}, "head"),
    "from the block's inside": (
        InBlock, (4,), ["block.f", "head"], {"block.f": (1, [0, 2])}, "head"),
    "in place through a view": (ThroughAView, (2, 4), ["f", "head"], {"f": (1, [0])}, "head"),
    "in place through .data": (ThroughData, (4,), ["f", "head"], {"f": (1, [0])}, "head"),
    "ResNet": (Bottleneck, (1, 5, 5), ["bn2", "bn3", "head"], {"bn2": (1, [0, 2])}, "head"),
    "ResNet, late": (Bottleneck, (1, 5, 5), ["bn2", "bn3", "head"], {"bn3": (1, [3])}, "bn3"),
    "LSTM": (lstm, (4, 3), ["mid", "head"], {"mid": (1, [0, 2])}, "head"),
    "GRU": (gru, (4, 3), ["mid", "head"], {"mid": (1, [1])}, "head"),
    "LSTM, before": (
        lstm, (4, 3), [ifl.Site("embed", unit_dim=-1), "head"], {"embed": (2, [1])}, "head"),
}  # fmt: skip


def beside_raw_hooks(net, args, sites, source, observe, n=200):
    """Replay and full passes against raw hooks."""
    rec = ifl.record(net, sites, args)
    rng = np.random.default_rng(0)
    donors, contexts = rng.integers(len(rec), size=(2, n))
    calls = raw_hook_resample(
        net, args, source, torch.as_tensor(donors), torch.as_tensor(contexts), observe
    )
    right = rec.units.site(observe).read(calls[0])
    units = {name: found for name, (_, found) in source.items()}
    for replay in (True, False):
        runs = resample(rec, units, donors, contexts, [observe], replay=replay)
        found = torch.cat([seen[observe] for _, seen in runs])
        torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_replay_is_exact_and_needs_no_full_pass(case):
    build, shape, sites, source, observe = CASES[case]
    beside_raw_hooks(seeded(build), (normal(400, *shape),), sites, source, observe)


@pytest.mark.parametrize("bar", [1.5, 0.0])
@pytest.mark.parametrize("source", ["f", "a"])
def test_samples_routed_to_an_expert_are_right(bar, source):
    x = normal(300, 4)
    x[:2, 0] = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        beside_raw_hooks(Routed(bar), (x,), ["a", "f", "head"], {source: (1, [0])}, "head")


def test_a_large_output_hides_no_error_in_another():
    from infoflow._replay.chunks import alike

    right = torch.stack([torch.full((8,), 1e4), torch.linspace(-1, 1, 8), torch.zeros(8)], 1)
    wrong = right.clone()
    wrong[3, 1] += 1e-2
    assert alike(right + 1e-7, right)
    assert not alike(wrong, right)
    assert not alike(wrong.double(), right.double(), step=torch.finfo(torch.float32).eps)
    assert alike(right.double() + 1e-7, right.double(), step=torch.finfo(torch.float32).eps)
    assert not alike(right.double() + 1e-7, right.double())


class SeesOnlyInterventions(nn.Module):
    """Keeps to itself what differs from the normal run only under an intervention."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.count = [0]

    def forward(self, x):
        h = torch.tanh(self.a(x))
        z = self.b(h)
        odd = (z[:, :1] - nn.functional.linear(h, self.b.weight, self.b.bias)[:, :1]).abs() > 1e-3
        return self.head(z + odd * len(x))  # the batch's size shows under an intervention only


def test_a_batch_that_goes_wrong_only_under_an_intervention_is_redone_in_full():
    net, x = seeded(SeesOnlyInterventions), normal(300, 4)
    rec = ifl.record(net, ["b", "head"], x, batch_size=4)
    rows = np.arange(300)
    with pytest.warns(RuntimeWarning, match="under the intervention") as said:
        fast = torch.cat(
            [s["head"] for _, s in resample(rec, {"b": [0]}, rows[::-1], rows, ["head"])]
        )
        resample(rec, {"b": [0]}, rows[::-1], rows, ["head"])
    slow = torch.cat(
        [s["head"] for _, s in resample(rec, {"b": [0]}, rows[::-1], rows, ["head"], replay=False)]
    )
    torch.testing.assert_close(fast, slow)
    assert len(said) == 1


def tiny(name: str, **config) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    model = getattr(transformers, name)
    return model(model.config_class(**config)).eval()


def gpt2() -> nn.Module:
    return tiny("GPT2LMHeadModel", vocab_size=50, n_positions=16, n_embd=12, n_layer=2, n_head=3,
                bos_token_id=0, eos_token_id=0)  # fmt: skip


def bert() -> nn.Module:
    return tiny("BertForMaskedLM", vocab_size=50, hidden_size=12, num_hidden_layers=2,
                num_attention_heads=3, intermediate_size=20,
                max_position_embeddings=16)  # fmt: skip


TRANSFORMERS = {
    "GPT-2, activation": (gpt2, "transformer.h.0.mlp.act", "transformer.h.1.mlp.act"),
    "GPT-2, attention": (gpt2, "transformer.h.0.attn.c_proj", "transformer.h.1.mlp.c_fc"),
    "GPT-2, block": (gpt2, "transformer.h.0", "lm_head"),
    "BERT, intermediate": (
        bert,
        "bert.encoder.layer.0.intermediate",
        "bert.encoder.layer.1.output",
    ),
    "BERT, attention": (
        bert,
        "bert.encoder.layer.0.attention.output",
        "bert.encoder.layer.1.intermediate",
    ),
}


@pytest.mark.parametrize("case", TRANSFORMERS)
def test_transformers_by_their_config(case):
    build, source, observe = TRANSFORMERS[case]
    x = torch.randint(50, (30, 7), generator=torch.Generator().manual_seed(0))
    sites = [ifl.Site(name, unit_dim=-1) for name in (source, observe)]
    beside_raw_hooks(seeded(build), (x,), sites, {source: (2, [0, 5])}, observe, n=60)


def test_units_of_gpt2s_activation_are_shuffled_and_their_flow_measured():
    x = torch.randint(50, (30, 7), generator=torch.Generator().manual_seed(0))
    names = "transformer.h.0.mlp.act", "transformer.h.1.mlp.act"
    rec = ifl.record(seeded(gpt2), [ifl.Site(name, unit_dim=-1) for name in names], x)
    fast, slow = (
        ifl.counterfactual(rec, {names[0]: [0]}, observe=names[1], replay=r) for r in (True, False)
    )
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-6)
    assert ifl.flow(rec, {names[0]: [0]}, {names[1]: [0]}, donors=8, contexts=8).bits >= 0.0


def test_a_layer_that_is_taken_functionally_is_no_matter():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.head = nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, x):
            z = self.a(x)
            return self.head(F.relu_(z) + z)

    beside_raw_hooks(seeded(Functional), (normal(60, 4),), ["a", "head"], {"a": (1, [0])}, "head")


class Vmapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.c(self.b(torch.func.vmap(self.a)(x)))


def test_a_layer_under_vmap_is_run_and_not_answered():
    """What it returns shows no storage; there is no warning, as the rest is replayed."""
    beside_raw_hooks(seeded(Vmapped), (normal(60, 4),), ["b", "c"], {"b": (1, [0])}, "c", n=40)


class Refuses(nn.Module):
    def forward(self, x):
        raise ValueError("not this one")


class Falls(nn.Module):
    """Goes another way where a layer raises."""

    def __init__(self):
        super().__init__()
        self.a, self.strict, self.head = nn.Linear(4, 5), Refuses(), nn.Linear(5, 2)

    def forward(self, x):
        h = self.a(x)
        try:
            h = self.strict(h)
        except ValueError:
            h = torch.relu(h)
        return self.head(h)


def test_a_layer_that_raises_where_the_model_catches_it_means_full_passes():
    rec = ifl.record(seeded(Falls), ["a", "head"], normal(12, 4))
    with pytest.warns(RuntimeWarning, match="a layer was called and did not return"):
        fast = ifl.counterfactual(rec, {"a": [0]}, observe="head")
    slow = ifl.counterfactual(rec, {"a": [0]}, observe="head", replay=False)
    assert torch.equal(fast, slow)


class ToSparse(nn.Module):
    def forward(self, x):
        return x.to_sparse()


class Sparse(nn.Module):
    """A layer returns a tensor of which no storage is shown; maybe it is written to later."""

    def __init__(self, written=False):
        super().__init__()
        self.a, self.thin, self.f, self.head = (
            nn.Linear(4, 6), ToSparse(), nn.Linear(6, 6), nn.Linear(6, 3))  # fmt: skip
        self.written = written

    def forward(self, x):
        z = torch.relu(self.a(x))
        thin = self.thin(z)
        f = torch.tanh(self.f(z))
        if self.written:
            thin.mul_(2.0)
        return self.head(f + thin.to_dense())


def test_memory_that_cannot_be_seen_is_run_and_not_answered():
    args = (normal(60, 4),), ["f", "head"], {"f": (1, [0, 2])}, "head"
    beside_raw_hooks(seeded(Sparse), *args, n=80)
    with pytest.warns(RuntimeWarning, match="writes to memory that cannot be seen"):
        beside_raw_hooks(seeded(lambda: Sparse(written=True)), *args, n=80)
