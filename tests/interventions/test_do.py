"""do() sets units while it is open, and only then."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow.interventions import Zero
from tests.nets import Broken, Twice, mlp, normal, seeded, state_of


def test_do_sets_the_units_and_everything_downstream_follows():
    net, x = mlp().eval(), normal(5, 6)
    h = net[1](net[0](x)).clone()
    h[:, [0, 3]] = torch.tensor([2.0, -1.0])
    expected = net[6](net[4](net[3](h)))
    plain = net(x)
    with ifl.do(net, {"1": ([0, 3], torch.tensor([2.0, -1.0]))}) as same:
        assert same is net
        torch.testing.assert_close(net(x), expected)
        torch.testing.assert_close(net(x[:2]), expected[:2])
    assert torch.equal(net(x), plain)


def test_values_per_sample():
    net, x, values = mlp().eval(), normal(5, 6), normal(5, 2, seed=1)
    with ifl.do(net, {"3": ([1, 2], values)}):
        h = net[:4](x)
        seen = []
        handle = net[3].register_forward_hook(lambda m, a, o: seen.append(o))
        net(x)
        handle.remove()
    assert torch.equal(seen[0][:, [1, 2]], values)
    assert torch.equal(seen[0][:, [0]], h[:, [0]])


def test_layers_are_set_together_and_the_later_do_wins():
    net, x = mlp().eval(), normal(5, 6)
    with ifl.do(net, {"1": ([0], 9.0), "6": ([0], 1.0)}):
        out = net(x)
        with ifl.do(net, {"6": ([0], 2.0)}):
            assert (net(x)[:, 0] == 2.0).all()
        assert (net(x)[:, 0] == 1.0).all()
    with ifl.do(net, {"1": ([0], 9.0)}):
        torch.testing.assert_close(net(x)[:, 1:], out[:, 1:])


class Outputs(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.fc = kind, nn.Linear(3, 4)

    def forward(self, x):
        h = self.fc(x)
        return {"h": h, "kept": x} if self.kind == "dict" else (h, x)


class Outer(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.inner, self.out = Outputs(kind), nn.Linear(4, 2)

    def forward(self, x):
        value = self.inner(x)
        return self.out(value["h"] if isinstance(value, dict) else value[0])


@pytest.mark.parametrize(("kind", "output"), [("dict", "h"), ("tuple", 0)])
def test_one_tensor_of_several_outputs_is_set(kind, output):
    net, x = seeded(lambda: Outer(kind)), normal(5, 3)
    with ifl.do(net, {ifl.Site("inner", output=output): (range(4), 0.0)}):
        assert torch.equal(net(x), net.out.bias.expand(5, 2))
    with ifl.do(net, {"inner": ([0], 0.0)}), pytest.raises(TypeError, match="output="):
        net(x)


def test_a_value_per_position_and_one_for_all_positions():
    net, x = seeded(lambda: nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten())), normal(2, 1, 5, 5)
    plain = net(x).reshape(2, 3, 9)
    maps = normal(2, 1, 9, seed=1)
    with ifl.do(net, {"0": ([1], maps)}):
        out = net(x).reshape(2, 3, 9)
    assert torch.equal(out[:, [1]], maps)
    assert torch.equal(out[:, [0, 2]], plain[:, [0, 2]])
    with ifl.do(net, {"0": ([-1], 5.0)}):
        assert (net(x).reshape(2, 3, 9)[:, 2] == 5.0).all()


def test_gradients_flow_through_the_units_that_are_not_set():
    net, x = mlp().eval(), normal(5, 6).requires_grad_()
    with ifl.do(net, {"1": (range(8), 0.5)}):
        assert not torch.autograd.grad(net(x).sum(), x)[0].any()
    with ifl.do(net, {"1": ([0], 0.5)}):
        assert torch.autograd.grad(net(x).sum(), x)[0].any()


def test_errors_name_the_layer_the_units_and_the_shape():
    net, x = mlp().eval(), normal(5, 6)
    with pytest.raises(KeyError, match="unknown layer 'fc'"), ifl.do(net, {"fc": ([0], 1.0)}):
        pass
    with ifl.do(net, {"1": ([8], 1.0)}), pytest.raises(ValueError, match="'1' has 8 units"):
        net(x)
    with (
        ifl.do(net, {"1": ([0, 1], torch.zeros(5, 3))}),
        pytest.raises(ValueError, match="do not fit layer '1'"),
    ):
        net(x)
    assert not any(m._forward_hooks for m in net.modules())


def test_a_layer_called_twice_may_not_be_set_without_saying_which_call():
    net = seeded(Twice)
    with pytest.raises(RuntimeError, match="called"), ifl.do(net, {"act": ([0], 1.0)}):
        net(normal(3, 4))


def test_a_layer_that_a_pass_does_not_reach_is_an_error_not_a_silent_nothing():
    net = seeded(Twice)
    with pytest.raises(RuntimeError, match="never reached"), ifl.do(net, {"unused": ([0], 1.0)}):
        net(normal(3, 4))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_the_model_leaves_as_it_came_when_its_pass_fails(error):
    net = seeded(lambda: Broken(error)).eval()
    handle = net.fc.register_forward_hook(lambda *_: None)
    before = state_of(net)
    net.passes_left[0] = 0
    with pytest.raises(error, match="as told"), ifl.do(net, {"fc": ([0], 1.0)}):
        net(normal(4, 4))
    after = state_of(net)
    assert after["hooks"] == before["hooks"]
    assert after["values"] == before["values"]
    assert handle.id in net.fc._forward_hooks


def test_a_mask_names_the_units_that_are_true():
    net, x = mlp().eval(), normal(12, 6)
    units = torch.tensor([True, False, True, *[False] * 5])
    results = []
    for named in (units, units.numpy(), units.tolist(), [0, 2]):
        with torch.no_grad(), ifl.do(net, {"1": (named, 1.0)}):
            results.append(net(x))
    assert all(torch.equal(found, results[-1]) for found in results)
    with pytest.raises(ValueError, match="expected a mask"), ifl.do(net, {"1": ([True], 1.0)}):
        net(x)


def test_a_layer_called_by_itself_is_refused_where_samples_of_a_recording_are_counted():
    net, x = nn.Sequential(mlp(), nn.Linear(3, 2)).eval(), normal(12, 6)
    rec = ifl.record(net, ["0.1"], x)
    resampled = {"0.1": ifl.interventions.Resample([0], seed=3)}
    with torch.no_grad(), ifl.do(net, resampled, recording=rec):
        net(x)
        with pytest.raises(RuntimeError, match="call the model itself"):
            net[0](x[:4])


def test_a_copy_made_inside_is_free_of_the_intervention():
    net, x = mlp().eval(), normal(12, 6)
    plain = net(x)
    with ifl.do(net, {"1": ([0], 9.0)}):
        copied = copy.deepcopy(net)
        assert not torch.equal(net(x), plain)
    torch.testing.assert_close(copied(x), plain)


def test_layers_are_named_as_for_record():
    net, x = mlp(), normal(5, 6)
    with torch.no_grad(), ifl.do(net, {"?": Zero()}):
        assert not net(x).any()
    with pytest.raises(KeyError, match="no layer fits"), ifl.do(net, {"fc?": Zero()}):
        pass
