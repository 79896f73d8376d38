"""Networks on which a short cut was once silently wrong: each is right, or refused."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import infoflow as ifl
from infoflow.unit_similarity import (
    allowed_measures,
    graph,
    guard,
    similarities,
    similarity,
    sums,
)


class Straight(torch.autograd.Function):
    """A clip whose gradient passes straight through."""

    @staticmethod
    def forward(ctx, x):
        return x.clamp(-1.5, 1.5)

    @staticmethod
    def backward(ctx, grad):
        return grad


class Tanh(torch.autograd.Function):
    """Named as torch's own function is, and another one."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        return 3 * ctx.saved_tensors[0] ** 2 * grad


ASIDE = {
    "max": lambda h: h.max(1, keepdim=True).values,
    "topk": lambda h: h.topk(1, 1).values,
    "sort": lambda h: h.sort(1).values[:, :1],
    "chunk": lambda h: h.chunk(8, 1)[3],
    "split": lambda h: h.split([1, 7], 1)[0],
    "unbind": lambda h: h.unbind(1)[3][:, None],
    "slice": lambda h: h[:, :1],
    "straight": lambda h: Straight.apply(h)[:, :1],
    "false name": lambda h: Tanh.apply(h),
}


class Aside(nn.Module):
    def __init__(self, take):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.take = take

    def forward(self, x):
        h = self.a(x)
        return self.head(torch.tanh(self.b(h)) + F.relu(self.take(h) - 1.5))


def data(count=60, features=6, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, features, generator=generator, dtype=dtype)
    return x, torch.randint(3, (count,), generator=generator)


def made(make, *args):
    torch.manual_seed(0)
    return make(*args).double()


def assert_same_without_short_cuts(rec, measures=("i_sens", "o_sens", "hess"), rtol=1e-10):
    fast, slow = (similarities(rec, measures, fast=fast) for fast in (True, False))
    for name, matrix in slow.items():
        assert np.abs(fast[name] - matrix).max() <= rtol * np.abs(matrix).max(), name


@pytest.mark.parametrize("name", ASIDE)
def test_values_taken_aside_count(name):
    net, (x, y) = made(Aside, ASIDE[name]), data()
    rec = ifl.record(net, ["a"], x, y, loss=F.cross_entropy, batch_size=20)
    assert_same_without_short_cuts(rec)


def test_a_unit_that_acts_by_a_weak_second_way_is_seen_in_float32():
    net = made(Aside, lambda h: 1.5 + 0.02 * F.relu(h.split([1, 7], 1)[0] + 9)).float()
    with torch.no_grad():
        net.b.weight[:, 0] = 0
    x, y = data(dtype=torch.float32)
    rec = ifl.record(net, ["a"], x, y, loss=F.cross_entropy)
    found, exact = similarity(rec, "o_sens"), similarity(rec, "o_sens", fast=False)
    assert exact[0, 0] > 0 and found[0] == pytest.approx(exact[0], rel=1e-4)


class Masked(nn.Module):
    """Zeros are missing values and are left out; or the inputs are clipped, which changes none of
    those that are not negative."""

    def __init__(self, clip):
        super().__init__()
        self.fc, self.head, self.clip = nn.Linear(8, 6), nn.Linear(6, 3), clip

    def forward(self, x):
        x = torch.relu(x) if self.clip else x * (x != 0)
        return self.head(torch.tanh(self.fc(x)))


@pytest.mark.parametrize("clip", [True, False])
def test_inputs_with_equal_values_need_not_be_the_inputs(clip):
    net = made(Masked, clip)
    x = torch.rand(40, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.where(x < 0.3, 0.0, x)
    rec = ifl.record(net, ["fc"], x)
    weight = net.fc.weight.detach().numpy()
    kept = (x > 0).double().mean(0).numpy()
    assert similarity(rec, "i_sens") == pytest.approx(np.abs(weight * kept @ weight.T))


class EditsInPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.act, self.b = nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6)

    def forward(self, x):
        h = self.a(x)
        y = self.b(self.act(h))
        h += y
        return h


@pytest.mark.parametrize("fast", [True, False])
def test_units_are_those_before_a_later_edit_in_place(fast):
    net, (x, _) = made(EditsInPlace), data(features=4)
    rec = ifl.record(net, [ifl.Site("act", io="input")], x)
    weight = net.a.weight.detach().numpy()
    assert similarity(rec, "i_sens", fast=fast) == pytest.approx(np.abs(weight @ weight.T))


class Mixes(nn.Module):
    """Normalised by the batch itself, with one output that is huge."""

    def __init__(self):
        super().__init__()
        self.a, self.head = nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, x):
        h = torch.batch_norm(self.a(x), None, None, None, None, True, 0.0, 1e-5, False)
        return self.head(torch.tanh(h)) + torch.tensor([0, 0, 0, 1e5])


@pytest.mark.parametrize("batch_size", [4, 10, 40])
def test_samples_that_influence_each_other_are_refused_beside_a_huge_output(batch_size):
    net, (x, _) = made(Mixes), data(40, 4)
    rec = ifl.record(net, ["a"], x, batch_size=batch_size)
    for measure in ("o_sens", "i_sens"):
        with pytest.raises(ValueError, match="influence each other"):
            similarity(rec, measure)


@pytest.mark.parametrize("batch_size", [1, 4, 60])
def test_a_class_weighted_mean_is_refused_at_every_batch_size(batch_size):
    net, (x, _) = made(nn.Sequential, nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)), data()
    t = torch.zeros(60, dtype=torch.long)
    t[[7, 23, 50]] = 1  # in none of the rows that stand first
    weight = torch.tensor([1.0, 30.0]).double()
    loss = partial(F.cross_entropy, weight=weight)
    with pytest.raises(ValueError, match="neither the mean"):
        similarity(ifl.record(net, ["0"], x, t, loss=loss, batch_size=batch_size), "hess")
    summed = partial(F.cross_entropy, weight=weight, reduction="sum")
    assert similarity(
        ifl.record(net, ["0"], x, t, loss=summed, batch_size=batch_size), "hess"
    ).any()


def test_prelu_at_exactly_zero_has_the_slope_of_its_weight():
    net = made(nn.Sequential, nn.Linear(3, 2, bias=False), nn.PReLU(), nn.Linear(2, 3))
    nn.init.constant_(net[0].weight, 1.0)
    x = torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 0.0], [2.0, -1.0, -1.0]]).double()
    weight, slope = net[2].weight.detach(), float(net[1].weight.detach())
    expected = (weight.T @ weight * slope**2).abs().numpy()
    for fast in (True, False):
        assert similarity(ifl.record(net, ["0"], x), "o_sens", fast=fast) == pytest.approx(expected)


class Ends(nn.Module):
    def __init__(self, end):
        super().__init__()
        self.a, self.b, self.end = nn.Linear(4, 6), nn.Linear(6, 1), end

    def forward(self, x):
        return self.end(self.b(self.a(x).tanh()))


@pytest.mark.parametrize("end", [nn.Flatten(0), lambda y: y.squeeze(-1), lambda y: y[:, 0]])
@pytest.mark.parametrize("measure", ["i_sens", "o_sens", "hess"])
def test_one_number_per_sample_is_an_output_like_others(end, measure):
    x, _ = data(20, 4)
    net, flat = made(Ends, nn.Identity()), made(Ends, end)
    wide = ifl.record(net, ["a"], x, torch.zeros(20, 1).double(), loss=F.mse_loss)
    rec = ifl.record(flat, ["a"], x, torch.zeros(20).double(), loss=F.mse_loss)
    assert similarity(rec, measure) == pytest.approx(similarity(wide, measure))


def test_complex_outputs_are_refused_and_not_allowed():
    x, _ = data(20, 4)
    rec = ifl.record(made(Ends, lambda y: torch.complex(y, y)), ["a"], x)
    assert allowed_measures(rec) == ("cov", "cov_norm", "i_sens", "i_sens_norm")
    with pytest.raises(ValueError, match="complex"):
        similarity(rec, "o_sens")
    assert similarity(rec, "cov").any()


class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, h):
        out = self.one(h)
        rare = h[:, 0] > 1
        out[rare] = self.other(h[rare]).tanh()
        return out


class Called(nn.Module):
    def __init__(self, call):
        super().__init__()
        self.inner, self.call = nn.Linear(6, 6), call

    def forward(self, h):
        return self.call(h, self.inner)


STEPS = {
    "keywords": lambda: Called(lambda h, f: F.linear(input=h, weight=f.weight, bias=f.bias)),
    "temporary weights": lambda: Called(
        lambda h, f: sum(F.linear(h, nn.Parameter(f.weight * k)) for k in (1, -2))
    ),
    "product": lambda: Called(lambda h, f: (h @ f.weight.T + f.bias).tanh()),
    "vmap": lambda: Called(lambda h, f: torch.func.vmap(f)(h).tanh()),
    "sign": lambda: Called(lambda h, f: f(h).sign() + h),
    "round": lambda: Called(lambda h, f: f(h).round() + h.tanh()),
    "experts": Experts,
}


@pytest.mark.parametrize("name", STEPS)
def test_every_way_to_call_a_step_gives_the_exact_derivatives(name):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 6), STEPS[name](), nn.Identity(), nn.Linear(6, 3))
    x, y = data(dtype=torch.float32)
    rec = ifl.record(net, ["0", "2"], x, y, loss=F.cross_entropy)
    assert_same_without_short_cuts(rec, rtol=1e-5)


def test_a_layer_asked_for_twice_is_refused():
    net, (x, _) = made(nn.Sequential, nn.Linear(6, 4), nn.Linear(4, 2)), data()
    with pytest.raises(ValueError, match="layers: expected each once"):
        similarity(ifl.record(net, ["0", "1"], x), "o_sens_norm", layers=["1", "1"])


@pytest.mark.parametrize("act", [nn.ReLU, nn.GELU])
def test_a_batch_in_which_the_guard_fails_is_done_again_exactly(act, monkeypatch):
    """A closed form is falsified on the second batch, in one weak unit."""
    net, (x, y) = made(nn.Sequential, nn.Linear(6, 5), act(), nn.Linear(5, 3)), data()
    with torch.no_grad():
        net[0].weight[2] *= 1e-3
        net[0].bias[2] = 1.0
    rec = ifl.record(net, ["1"], x, y, loss=F.cross_entropy, batch_size=20)
    expected = similarities(rec, fast=False)
    right, calls = sums.batch_sums, []

    def wrong(batch, request, index, *args):
        found = right(batch, request, index, *args)
        calls.append(index.start)
        if len(args) > 1 and index.start == 20:
            found["i_sens"] = found["i_sens"].clone()
            found["i_sens"][2, 2] *= 1.5
        return found

    monkeypatch.setattr(sums, "batch_sums", wrong)
    with pytest.warns(RuntimeWarning, match=r"do not hold .* rows 20 to 40: 'i_sens' gave") as seen:
        found = similarities(rec)
    assert len(seen) == 1 and calls == [0, 20, 20, 40]
    for name, matrix in expected.items():
        assert found[name] == pytest.approx(matrix, rel=1e-10, abs=1e-14)


def test_positions_taken_to_be_apart_that_are_not_are_found(monkeypatch):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.LazyLinear(2)).double()
    x = torch.randn(6, 1, 6, 6).double()
    net(x)
    rec = ifl.record(net, [ifl.Site("1", unit_dim=1)], x)
    expected = similarity(rec, "i_sens", positions="each")
    rec.cache.clear()
    together = [torch.arange(16)]
    monkeypatch.setattr("infoflow.unit_similarity.sums.groups_by_input", lambda _: together)
    monkeypatch.setattr(guard, "groups_by_input", lambda _: together[0][:2].unsqueeze(0).unbind(0))
    with pytest.warns(RuntimeWarning, match="share an input"):
        assert similarity(rec, "i_sens", positions="each") == pytest.approx(expected)


def test_out_of_memory_is_not_taken_for_a_missing_rule(monkeypatch):
    def full(*_args, **_kwargs):
        raise torch.OutOfMemoryError("full")

    leaf = torch.ones(3, 2, requires_grad=True)
    result = leaf * 2
    monkeypatch.setattr(graph.torch.autograd, "grad", full)
    with pytest.raises(torch.OutOfMemoryError):
        graph.batched_vjp(result, (leaf,), torch.ones(4, 3, 2))


def test_a_measure_by_itself_runs_no_more_than_it_needs(monkeypatch):
    net, (x, y) = made(nn.Sequential, nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 3)), data()
    rec = ifl.record(net, ["1"], x, y, loss=F.cross_entropy)
    asked = []
    right = sums.batch_sums
    monkeypatch.setattr(
        sums, "batch_sums", lambda *args: asked.append(found := right(*args)) or found
    )
    similarity(rec, "cov")
    assert not asked
    for base in ("i_sens", "o_sens", "hess"):
        asked.clear()
        similarity(rec, base + "_norm")
        assert [set(found) for found in asked] == [{base}]


class Between(nn.Module):
    def __init__(self, step, conv, width):
        super().__init__()
        self.a = nn.Conv2d(1, 6, 3) if conv else nn.Linear(5, 6)
        self.b, self.step = nn.Linear(width, 4), step

    def forward(self, x):
        return self.b(self.step(torch.relu(self.a(x))))


KEPT = {
    "nothing": (lambda h: h, False, 6),
    "constant": (lambda h: h + 1, False, 6),
    "flattened": (lambda h: h.flatten(1), True, 54),
    "pooled": (lambda h: F.max_pool2d(h, 2).flatten(1), True, 6),
}
MOVED = {
    "flip": (lambda h: h.flip(1), False, 6),
    "permuted": (lambda h: h[:, [3, 1, 0, 5, 4, 2]], False, 6),
    "roll": (lambda h: h.roll(1, 1), False, 6),
    "repeat": (lambda h: h.repeat(1, 2), False, 12),
    "cumsum": (lambda h: h.cumsum(1), False, 6),
    "softmax": (lambda h: torch.softmax(h, 1), False, 6),
    "centred": (lambda h: h - h.mean(1, keepdim=True), False, 6),
    "scaled": (lambda h: h * 10, False, 6),
    "product": (lambda h: h @ torch.eye(6, dtype=h.dtype).flip(0), False, 6),
    "both signs": (lambda h: torch.cat([h, -h], 1), False, 12),
    "channels last": (lambda h: h.permute(0, 2, 3, 1).flatten(1), True, 54),
    "shuffled": (lambda h: h.reshape(len(h), 2, 3, 3, 3).transpose(1, 2).flatten(1), True, 54),
    "some channels": (lambda h: h[:, :2].flatten(1), True, 18),
}


def between(step, conv, width):
    net = made(Between, step, conv, width)
    x = torch.randn(9, *((1, 5, 5) if conv else (5,)), dtype=torch.float64)
    return net, ifl.record(net, ["a", "b"], x)


@pytest.mark.parametrize("name", KEPT)
def test_weights_are_read_through_steps_that_keep_the_units(name):
    net, rec = between(*KEPT[name])
    weight = net.b.weight.detach().reshape(4, 6, -1).abs().sum(2).numpy()
    assert similarity(rec, "weights")[6:, :6] == pytest.approx(weight)


@pytest.mark.parametrize("name", MOVED)
def test_weights_are_refused_behind_steps_that_move_scale_or_mix_the_units(name):
    _, rec = between(*MOVED[name])
    if name == "product":  # its own matrix is what reads the layer
        assert similarity(rec, "w_out", layers="a") == pytest.approx(np.eye(6))
        with pytest.raises(ValueError, match="no two of the layers"):
            similarity(rec, "weights")
        return
    for measure in ("weights", "w_out"):
        with pytest.raises(ValueError, match="no single weight matrix reads layer 'a'"):
            similarity(rec, measure)


def test_normalisation_scales_the_weights_that_feed_a_layer():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Identity(), nn.Linear(4, 2)).double()
    net[1].running_var.uniform_(0.5, 2)
    rec = ifl.record(net.eval(), ["2"], torch.randn(9, 5).double())
    assert similarity(rec, "w_in") == pytest.approx(similarity(rec, "i_sens"))


class WorksInPlaceOnWhatOthersUse(nn.Module):
    """What `act` returns is `h` itself; where it is replaced by a copy, `norm` sees other values,
    and no output tells."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.act, self.norm = nn.Linear(4, 5), nn.SiLU(inplace=True), nn.BatchNorm1d(5)
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.a(x)
        s = self.act(h)
        h.mul_(1.5)
        self.norm(s)
        return self.head(x)


def test_layers_that_a_copy_of_anothers_output_would_change_are_looked_at_by_themselves():
    """Sensitivities of `norm` were too small by 1.5 squared when `act` was asked for beside it."""
    torch.manual_seed(0)
    rec = ifl.record(WorksInPlaceOnWhatOthersUse().double().eval(), ["act", "norm"],
                     torch.randn(20, 4).double())  # fmt: skip
    alone = similarity(rec, "i_sens", layers="norm")
    assert ifl.similarities_by_layer(rec, "i_sens")["norm"]["i_sens"] == pytest.approx(alone)
    with pytest.raises(ValueError, match="activations that were recorded"):
        similarity(rec, "i_sens")


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("last", [nn.Identity, nn.Tanh])
def test_prelu_has_one_slope_at_zero_however_often_it_is_differentiated(last, fast):
    """After a ReLU many values are exactly 0; LeakyReLU is the same function with one slope."""
    found = []
    for act in (nn.PReLU(init=0.25), nn.LeakyReLU(0.25)):
        torch.manual_seed(0)
        x, y = torch.randn(30, 4), torch.arange(30) % 3
        net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), act, nn.Linear(6, 3), last())
        rec = ifl.record(net, ["1"], x, y, loss=nn.functional.cross_entropy)
        found.append(similarity(rec, "hess", fast=fast))
    assert found[0] == pytest.approx(found[1], rel=1e-5)
