"""The model and the process are left as they were; what cannot be right is an error."""

from __future__ import annotations

import copy
import threading

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow.interventions import Zero, resample
from tests.nets import Broken, Residual, mlp, normal, seeded, state_of

K = 24
ROWS = np.arange(K)


def both(rec, source, observe):
    return [ifl.counterfactual(rec, source, observe=observe, replay=r) for r in (True, False)]


class Remembers(nn.Module):
    """Counts its calls and keeps things, in every way a module can."""

    def __init__(self):
        super().__init__()
        self.fc, self.head = nn.Linear(4, 5), nn.Linear(5, 2)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", torch.zeros(1))
        self.cache = None

    def forward(self, x):
        self.calls += 1
        self.last = x.mean().reshape(1)
        self.cache = x
        self.fresh = 1
        torch.rand(3)
        return self.head(self.fc(x))


def test_buffers_attributes_modes_flags_gradients_and_random_state_come_back():
    net = seeded(Remembers).train()
    net.head.eval()
    net.fc.weight.requires_grad_(False)
    net(normal(3, 4)).sum().backward()
    before, cache, last = state_of(net), net.cache, net.last
    rec = ifl.record(net, ["fc", "head"], normal(K, 4))
    both(rec, {"fc": [0]}, "head")
    assert state_of(net) == before
    assert net.cache is cache
    assert net.last is last


def test_batch_normalisation_in_training_mode_keeps_its_statistics():
    net = seeded(Residual).train()
    before = state_of(net)
    rec = ifl.record(net, ["blocks.0.bn1", "head"], normal(K, 1, 5, 5))
    both(rec, {"blocks.0.bn1": [0]}, "head")
    assert state_of(net) == before


@pytest.mark.filterwarnings("ignore:replaying Broken")
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("replay", [True, False])
def test_everything_comes_back_after_any_exception(error, replay):
    net = seeded(lambda: Broken(error)).train()
    rec = ifl.record(net, ["fc", "head"], normal(K, 4))
    before = state_of(net)
    net.passes_left[0] = 0
    with pytest.raises(error, match="as told"):
        ifl.counterfactual(rec, {"fc": [0]}, observe="head", replay=replay)
    assert state_of(net) == before
    assert "_compiled_call_impl" not in vars(net.fc)


def test_only_our_own_hooks_are_removed():
    net = mlp()
    seen = []
    handles = [
        net[0].register_forward_hook(lambda *_: seen.append("forward")),
        net[3].register_forward_pre_hook(lambda *_: seen.append("pre")),
        net.register_forward_hook(lambda *_: None),
    ]
    torch.nn.utils.spectral_norm(net[3])
    before = state_of(net)["hooks"]
    rec = ifl.record(net, ["1", "3"], normal(K, 6))
    fast, slow = both(rec, {"1": [0]}, "3")
    torch.testing.assert_close(fast, slow)
    with ifl.do(net, {"1": Zero([0])}):
        net(normal(3, 6))
    assert state_of(net)["hooks"] == before
    assert {"forward", "pre"} <= set(seen)
    for handle in handles:
        handle.remove()


def test_nothing_is_edited_in_place():
    net, x = seeded(Residual).eval(), normal(K, 1, 5, 5)
    rec = ifl.record(net, ["stem", "blocks.0.bn1", "head"], x)
    copies = {name: values.clone() for name, values in rec.activations.items()}
    inputs, weights = x.clone(), copy.deepcopy(net.state_dict())
    for name in ("stem", "blocks.0.bn1"):
        both(rec, {name: [0, 1]}, "head")
    assert all(torch.equal(rec[name], kept) for name, kept in copies.items())
    assert torch.equal(x, inputs)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), weights.values(),
                                                 strict=True))  # fmt: skip


def test_an_infinity_outside_the_chosen_units_stays_where_it_is():
    net = nn.Sequential(nn.Linear(3, 3), nn.Identity(), nn.ReLU())
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(3))
        net[0].bias.zero_()
    x = normal(K, 3)
    net[0].register_forward_hook(lambda m, a, out: out.index_fill(1, torch.tensor([2]), torch.inf))
    with ifl.do(net, {"1": Zero([0])}):
        out = net(x)
    assert torch.isinf(out[:, 2]).all()
    assert torch.equal(out[:, :2], torch.relu(x * torch.tensor([0.0, 1.0, 0.0]))[:, :2])


# --- compiled models ------------------------------------------------------------------------------


def compiled_module(net):
    return torch.compile(net, backend="eager")


def compiled_in_place(net):
    net.compile(backend="eager")
    return net


def compiled_layer(net):
    net[3] = torch.compile(net[3], backend="eager")
    return net


@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.parametrize("compiled", [compiled_module, compiled_in_place, compiled_layer])
def test_a_compiled_model_runs_eagerly_and_is_compiled_again_outside(compiled):
    plain, net, x = mlp().eval(), compiled(mlp().eval()), normal(K, 6)
    with torch.no_grad():
        net(x)  # compiled here, before any hook
        before = net(x)
    kept = vars(net).get("_compiled_call_impl")
    expected = ifl.record(plain, ["1", "3"], x)
    rec = ifl.record(net, ["1", "3"], x)
    torch.testing.assert_close(rec["3"], expected["3"])
    for found in both(rec, {"1": [0, 3]}, "3"):
        wanted = ifl.counterfactual(expected, {"1": [0, 3]}, observe="3")
        torch.testing.assert_close(found, wanted)
    with torch.no_grad(), ifl.do(net, {"1": Zero()}), ifl.do(plain, {"1": Zero()}):
        torch.testing.assert_close(net(x), plain(x))
    assert vars(net).get("_compiled_call_impl") is kept
    with torch.no_grad():
        torch.testing.assert_close(net(x), before)


# --- two at once ----------------------------------------------------------------------------------


def test_runs_in_several_threads_give_what_they_give_alone():
    rec = ifl.record(mlp().train(), ["1", "3"], normal(K, 6))
    alone = {
        seed: ifl.counterfactual(rec, {"1": [0, 3]}, observe="3", seed=seed) for seed in range(4)
    }
    wrong = []

    def work(seed: int) -> None:
        for replay in (True, False) * 5:
            found = ifl.counterfactual(rec, {"1": [0, 3]}, observe="3", seed=seed, replay=replay)
            if not torch.allclose(found, alone[seed], atol=1e-6):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in alone]
    before = state_of(rec.model)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert state_of(rec.model) == before


def in_another_thread(function):
    errors = []

    def work() -> None:
        try:
            function()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return errors


def test_a_thread_may_not_run_a_model_on_which_another_intervenes():
    net, x = mlp(), normal(K, 6)
    rec = ifl.record(net, ["1", "3"], x)

    def intervene() -> None:
        with ifl.do(net, {"3": Zero()}):
            net(x)

    jobs = [intervene, lambda: ifl.record(net, "1", x), lambda: both(rec, [0], "3")]
    with ifl.do(net, {"1": Zero()}):
        for job in jobs[1:]:
            (error,) = in_another_thread(job)
            assert "another thread is inside do()" in str(error)
        assert not in_another_thread(intervene), "other layers are free"
        (error,) = in_another_thread(lambda: ifl.do(net, {"1": Zero()}).__enter__())
        assert "another thread is inside do()" in str(error)
    for job in jobs:
        assert not in_another_thread(job)


@pytest.mark.filterwarnings("ignore:replaying")
def test_a_run_inside_do_sees_both_interventions():
    net, x = mlp(), normal(K, 6)
    rec = ifl.record(net, ["1", "3", "6"], x)
    alone = ifl.counterfactual(rec, {"1": [0]}, observe="6")
    with ifl.do(net, {"3": Zero()}):
        for found in both(rec, {"1": [0]}, "6"):
            torch.testing.assert_close(found, net[6](torch.zeros(K, 8)).detach())
    torch.testing.assert_close(ifl.counterfactual(rec, {"1": [0]}, observe="6"), alone)


def test_a_generator_closed_or_left_half_way_holds_nothing():
    rec = ifl.record(mlp().train(), ["1", "3"], normal(K, 6))
    before = state_of(rec.model)
    many = np.tile(ROWS, 20000)
    for replay in (True, False):
        runs = resample(rec, {"1": [0]}, many, many, ["3"], replay=replay)
        next(runs)
        assert state_of(rec.model) == before, "not even between two chunks"
        runs.close()
        assert state_of(rec.model) == before


def test_an_exception_thrown_into_a_do_block_takes_the_hooks_off():
    net = mlp()
    before = state_of(net)
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error), ifl.do(net, {"1": Zero(), "3": Zero()}):
            raise error
    with pytest.raises(KeyError), ifl.do(net, {"1": Zero(), "nine": Zero()}):
        pass
    assert state_of(net) == before
