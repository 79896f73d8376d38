"""Replay computes what lies between the first intervention and the last observation, no more, and
what it computes is what full passes with raw hooks give."""

from __future__ import annotations

import unittest.mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import infoflow as ifl
from infoflow._replay.prepare import Replays
from infoflow._replay.run import Run
from infoflow._replay.swap import Contributions
from infoflow.interventions import resample
from tests.nets import Cells, DictOutput, Encoder, Residual, Twice, mlp, normal, seeded
from tests.oracles_intervene import raw_hook_resample

K = 24


def conv() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(inplace=True), nn.BatchNorm2d(4),
        nn.Conv2d(4, 6, 3, bias=False), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(24, 3),
    )  # fmt: skip


def channels(path, **kwargs):
    return ifl.Site(path, unit_dim=1, **kwargs)


CASES = {
    "mlp": (mlp, (6,), ["1", "3", "6"], {"1": (1, [0, 5])}),
    "mlp, two layers": (mlp, (6,), ["1", "3", "6"], {"1": (1, [0, 5]), "3": (1, [2])}),
    "mlp, from a linear layer": (mlp, (6,), ["0", "3", "6"], {"0": (1, [0, 5, 7])}),
    "conv with in-place ReLU": (
        conv, (1, 8, 8), ["0", "2", "3", channels("4"), "6"], {"0": (1, [1, 2])}),
    "conv into conv": (conv, (1, 8, 8), ["2", "3", "6"], {"2": (1, [1, 3])}),
    "conv, in-place ReLU itself": (
        conv, (1, 8, 8), [channels("4"), "6"], {"4": (1, [0, 3])}),
    "residual": (
        Residual, (1, 5, 5), ["blocks.0.bn1", "blocks.1.bn2", "head"],
        {"blocks.0.bn1": (1, [0, 2])}),
    "residual, late": (
        Residual, (1, 5, 5), ["stem", "blocks.1.conv1", "blocks.2.bn2", "head"],
        {"blocks.1.conv1": (1, [3])}),
    "residual, whole block": (
        Residual, (1, 5, 5), [channels("blocks.0"), channels("blocks.1"), "head"],
        {"blocks.0": (1, [3, 1])}),
    "shared module": (Twice, (4,), ["a", "b"], {"a": (1, [0])}),
    "gru cell over time": (
        Cells, (6, 3), [ifl.Site("cell", call="all"), "head"], {"cell": (1, [0, 3])}),
    "transformer, inside a layer": (
        Encoder, (7, 3), ["layers.0.linear1", "layers.1.linear1", "head"],
        {"layers.0.linear1": (2, [0, 9])}),
    "transformer, residual stream": (
        Encoder, (7, 3), ["embed", "layers.0", "layers.1", "head"], {"layers.0": (2, [1, 2])}),
    "dict output": (DictOutput, (4,), ["a.fc", "b.fc", "head"], {"a.fc": (1, [0, 4])}),
}  # fmt: skip


def recorded(case, **kwargs):
    build, shape, sites, source = CASES[case]
    net = seeded(build)
    x = normal(K, *shape)
    if any(isinstance(m, nn.BatchNorm2d) for m in net.modules()):
        net.train()(x)  # gives the normalisation something to do
    return ifl.record(net, sites, x, **kwargs), x, source


def rows(kind: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    if kind == "table":
        return np.repeat(rng.permutation(K)[:6], 7), np.tile(rng.permutation(K)[:7], 6)
    if kind == "permutation":
        return rng.permutation(K), np.arange(K)
    return rng.integers(K, size=200), rng.integers(K, size=200)


def joined(chunks, name: str) -> torch.Tensor:
    return torch.cat([seen[name] for _, seen in chunks])


@pytest.mark.parametrize("kind", ["table", "permutation", "any"])
@pytest.mark.parametrize("case", CASES)
def test_replay_gives_what_raw_hooks_give(case, kind):
    rec, x, source = recorded(case)
    donors, contexts = rows(kind)
    units = {name: found for name, (_, found) in source.items()}
    names = rec.units.layers
    chunks = list(resample(rec, units, donors, contexts, names))
    full = list(resample(rec, units, donors, contexts, names, replay=False))
    for site in rec.units.sites:
        found = joined(chunks, site.name)
        calls = raw_hook_resample(
            rec.model, (x,), source, *map(torch.as_tensor, (donors, contexts)), site.path
        )
        parts = [site.read(call) for call in calls]
        raw = torch.stack(parts, 2) if site.call == "all" else parts[0]
        torch.testing.assert_close(found, raw)
        torch.testing.assert_close(joined(full, site.name), raw)


@pytest.mark.parametrize("case", CASES)
def test_every_observed_layer_alone_is_the_same(case):
    rec, _, source = recorded(case)
    donors, contexts = rows("any")
    units = {name: found for name, (_, found) in source.items()}
    together = list(resample(rec, units, donors, contexts, rec.units.layers))
    for name in rec.units.layers:
        alone = joined(resample(rec, units, donors, contexts, [name]), name)
        torch.testing.assert_close(alone, joined(together, name))


@settings(max_examples=40, deadline=None)
@given(
    units=st.sets(st.integers(0, 15), min_size=1),
    size=st.integers(1, 60),
    few=st.integers(2, K),
    seed=st.integers(0, 5),
)
def test_any_units_donors_and_contexts_give_what_full_passes_give(units, size, few, seed):
    rec, _, _ = recorded("mlp")
    rng = np.random.default_rng(seed)
    donors, contexts = rng.integers(few, size=size), rng.integers(few, size=size)
    source = np.array(sorted(units))
    for name in rec.units.layers:
        fast = joined(resample(rec, source, donors, contexts, [name]), name)
        slow = joined(resample(rec, source, donors, contexts, [name], replay=False), name)
        torch.testing.assert_close(fast, slow)


def layers_that_ran(rec, source, observe) -> list[str]:
    """Without the guard, which runs all of them on two rows."""
    resample_all = lambda: list(resample(rec, source, *rows("any"), [observe]))  # noqa: E731
    resample_all()  # builds the replay
    names, ran = {m: n for n, m in rec.model.named_modules()}, []
    forwards = []
    for layer in rec.model.modules():
        if not list(layer.children()):
            plain = type(layer).forward
            layer.forward = lambda *a, m=layer, f=plain: (ran.append(names[m]), f(m, *a))[1]
            forwards.append(layer)
    with unittest.mock.patch.object(Run, "_compared", return_value=None):
        resample_all()
    for layer in forwards:
        del layer.forward
    return ran


def test_nothing_upstream_of_the_source_nor_downstream_of_the_observed_layer_is_computed():
    rec, _, _ = recorded("mlp")
    assert layers_that_ran(rec, {"1": [0]}, "3") == ["2", "3"]
    assert layers_that_ran(rec, {"3": [0]}, "1") == []
    rec, _, _ = recorded("residual, late")
    ran = layers_that_ran(rec, {"blocks.1.conv1": [0]}, "blocks.2.bn2")
    assert ran[0] == "blocks.1.bn1"
    assert ran[-1] == "blocks.2.bn2"
    assert not [name for name in ran if name.startswith(("stem", "blocks.0", "head"))]


@pytest.mark.parametrize("case", ["mlp", "residual", "transformer, residual stream"])
def test_no_second_copy_of_what_is_recorded_is_made_and_nothing_else_is_kept(case):
    rec, _, source = recorded(case)
    list(
        resample(
            rec,
            {n: u for n, (_, u) in source.items()},
            *rows("any"),
            ["head"] if case != "mlp" else ["6"],
        )
    )
    (replay,) = (found.replay for found in rec.kept(Replays).built.values())
    kept = [
        leaf.values
        for answer in replay.answers.values()
        for leaf in answer.leaves
        if len(leaf.values)
    ]
    own = {values.untyped_storage().data_ptr() for values in rec.activations.values()}
    copies = [values for values in kept if values.untyped_storage().data_ptr() not in own]
    assert len(copies) == (1 if case == "residual" else 0), "the residual stream is needed too"


class Random(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 5)

    def forward(self, x):
        return self.b(nn.functional.dropout(self.a(x), 0.5, training=True))


class Hoards(nn.Module):
    """Keeps what its last batch was outside the forward pass's own values."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.kept = nn.Linear(4, 5), nn.Linear(5, 5), []

    class Keep(nn.Module):
        def __init__(self, kept):
            super().__init__()
            self.kept = kept

        def forward(self, x):
            self.kept[:] = [x.sum(1, keepdim=True)]
            return x

    def forward(self, x):
        return self.b(self.a(self.keep(x))) + self.kept[0]


def hoards() -> nn.Module:
    net = Hoards()
    net.keep = Hoards.Keep(net.kept)
    return net


class MixesBatch(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 5)

    def forward(self, x):
        h = self.a(x)
        return self.b(h - h.mean(0))


@pytest.mark.parametrize("build", [Random, hoards, MixesBatch])
def test_a_net_that_replay_cannot_reproduce_is_run_in_full_with_a_warning(build):
    net = seeded(build)
    rec = ifl.record(net, ["a", "b"], normal(K, 4))
    with pytest.warns(RuntimeWarning, match="running full passes instead") as said:
        chunks = list(resample(rec, {"a": [0]}, *rows("permutation"), ["b"]))
    by_itself = "the model itself gives other outputs" in str(said[0].message)
    assert by_itself == (build is not hoards)
    with torch.no_grad():
        assert joined(chunks, "b").shape == (K, 5)
    if build is hoards:
        slow = list(resample(rec, {"a": [0]}, *rows("permutation"), ["b"], replay=False))
        torch.testing.assert_close(joined(chunks, "b"), joined(slow, "b"))


class Loops(nn.Module):
    """Calls a shared layer before the first intervention as often as its batch demands."""

    def __init__(self):
        super().__init__()
        self.shared, self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 5), nn.Linear(5, 5)

    def forward(self, x):
        for _ in range(1 + int(x.max() > 50)):
            x = self.shared(x)
        return self.b(self.a(x))


def test_a_batch_that_takes_another_path_is_run_in_full_with_a_warning():
    net, x = seeded(Loops), normal(200, 4)
    x[20] = 100.0
    rec = ifl.record(net, ["a", "b"], x, batch_size=1)
    donors, contexts = np.arange(200)[::-1], np.arange(200)
    with pytest.warns(RuntimeWarning, match=r"full"):
        list(resample(rec, {"a": [0]}, donors, contexts, ["b"]))


def test_a_model_trained_after_it_was_recorded_is_refused():
    rec, x, _ = recorded("mlp")
    list(resample(rec, [0], *rows("any"), ["3"]))
    with torch.no_grad():
        rec.model[3].bias.add_(1.0)
    with pytest.raises(RuntimeError, match="record again"):
        list(resample(rec, [0], *rows("any"), ["3"]))
    rec, x, _ = recorded("mlp")
    x[0] = 0.0
    with pytest.raises(RuntimeError, match="record again"):
        list(resample(rec, [0], *rows("any"), ["3"]))


def test_weights_computed_on_the_fly_are_not_mistaken_for_parameters():
    net = mlp()
    torch.nn.utils.parametrizations.spectral_norm(net[3])
    rec = ifl.record(net, ["1", "3"], normal(K, 6))
    for kind in ("table", "permutation"):
        fast = joined(resample(rec, [0, 3], *rows(kind), ["3"]), "3")
        slow = joined(resample(rec, [0, 3], *rows(kind), ["3"], replay=False), "3")
        torch.testing.assert_close(fast, slow)


@pytest.mark.parametrize("kind", ["table", "permutation"])
def test_a_context_with_a_huge_activation_does_not_cost_precision(kind):
    net, x = mlp(), normal(K, 6)
    with torch.no_grad():
        net[0].weight[3] *= 1e6
    rec = ifl.record(net, ["0", "3"], x)
    fast = joined(resample(rec, [3], *rows(kind), ["3"]), "3")
    slow = joined(resample(rec, [3], *rows(kind), ["3"], replay=False), "3")
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["table", "permutation"])
def test_the_users_own_hooks_act_once_and_stay(kind):
    net = mlp()
    handle = net[1].register_forward_hook(lambda m, x, out: out + 1.0)
    later = net[3].register_forward_hook(lambda m, x, out: out * 2.0)
    rec = ifl.record(net, ["1", "3"], normal(K, 6))
    fast = joined(resample(rec, [0, 3], *rows(kind), ["3"]), "3")
    slow = joined(resample(rec, [0, 3], *rows(kind), ["3"], replay=False), "3")
    torch.testing.assert_close(fast, slow)
    assert handle.id in net[1]._forward_hooks
    assert later.id in net[3]._forward_hooks


def test_two_runs_at_once_and_one_inside_the_other_do_not_disturb_each_other():
    rec, _, _ = recorded("mlp")
    wide = np.tile(np.arange(K), 5000)
    alone = list(resample(rec, {"1": [0]}, wide[::-1], wide, ["3"]))
    other = list(resample(rec, {"1": [4]}, *rows("any"), ["3"]))
    assert len(alone) > 1
    for (_, a), (_, b) in zip(
        alone, resample(rec, {"1": [0]}, wide[::-1], wide, ["3"]), strict=True
    ):
        torch.testing.assert_close(a["3"], b["3"])
        inner = resample(rec, {"1": [4]}, *rows("any"), ["3"])
        torch.testing.assert_close(joined(inner, "3"), joined(other, "3"))


def test_looking_at_the_layer_that_is_set_does_not_cost_the_short_way_through_the_next(monkeypatch):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    rec = ifl.record(net, ["1", "3"], torch.randn(50, 4))
    donors, contexts = np.repeat(np.arange(30), 30), np.tile(np.arange(30), 30)
    taken = []
    through = Contributions.through
    monkeypatch.setattr(
        Contributions, "through", lambda self, *args: (taken.append(1), through(self, *args))[1]
    )

    def run(observe, **options):
        chunks = list(resample(rec, {"1": [0, 2]}, donors, contexts, observe, **options))
        return {name: torch.cat([seen[name] for _, seen in chunks]) for name in observe}

    both = run(["1", "3"])
    again = run(["1", "3"])
    assert len(taken) == 2
    plain = run(["1", "3"], replay=False)
    for name in ("1", "3"):
        torch.testing.assert_close(both[name], plain[name])
        torch.testing.assert_close(again[name], plain[name])
