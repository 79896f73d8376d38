"""Recording sees every unit on every sample, and leaves the model as it came."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import infoflow as ifl
from tests.nets import Broken, Twice, mlp, normal, seeded, state_of


def test_a_recording_is_what_the_layers_compute_in_evaluation_mode():
    net, x = mlp(), normal(11, 6)
    rec = ifl.record(net, ["2", "4"], x)
    h1 = torch.relu(net[0](x))
    h2 = torch.relu(net[3](h1))
    assert torch.equal(rec["2"], h1.detach())
    torch.testing.assert_close(rec["4"], h2.detach())
    torch.testing.assert_close(rec.outputs, net[6](h2).detach())
    assert rec.matrix().shape == (11, 16)
    assert rec.matrix().dtype == np.float64
    assert list(rec.to_frame().columns[:2]) == ["2.0", "2.1"]
    assert repr(rec) == f"Recording(Sequential, 11 samples, {rec.units!r})"


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_a_recording_does_not_depend_on_the_batch_size(batch_size):
    net, x = mlp(), normal(20, 6)
    whole, parts = (ifl.record(net, ["2", "4"], x, batch_size=b) for b in (512, batch_size))
    for name in whole.units.layers:
        torch.testing.assert_close(parts[name], whole[name])
    torch.testing.assert_close(parts.outputs, whole.outputs)


def test_a_tensor_a_tuple_and_a_loader_give_the_same_recording():
    net, x, y = mlp(), normal(10, 6), torch.arange(10) % 3
    plain = ifl.record(net, "2", x, y)
    for inputs in ((x,), [x], DataLoader(TensorDataset(x, y), batch_size=4)):
        other = ifl.record(net, "2", inputs, None if isinstance(inputs, DataLoader) else y)
        torch.testing.assert_close(other["2"], plain["2"])
        assert other.targets is not None
        assert torch.equal(other.targets, y)


class Adds(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x, y):
        return {"logits": self.fc(x + y), "extra": x}


def test_several_arguments_and_a_dict_with_logits():
    net, x, y = seeded(Adds), normal(5, 3), normal(5, 3, seed=1)
    rec = ifl.record(net, "fc", (x, y))
    torch.testing.assert_close(rec.outputs, net.fc(x + y).detach())


def test_an_in_place_layer_that_follows_does_not_change_what_was_recorded():
    net = seeded(lambda: nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(inplace=True)))
    x = normal(4, 1, 6, 6)
    rec = ifl.record(net, ["0", ifl.Site("1", unit_dim=1)], x)
    before = F.conv2d(x, net[0].weight, net[0].bias).detach().flatten(2)
    torch.testing.assert_close(rec["0"], before)
    torch.testing.assert_close(rec["1"], before.relu())


def test_units_that_never_change_are_unused():
    net = mlp()
    with torch.no_grad():
        net[0].weight[3] = 0.0
        net[0].bias[3] = -1.0
    rec = ifl.record(net, ["0", "1"], normal(30, 6))
    assert rec.units.unused[[3, 8 + 3]].all()
    assert not rec.units.unused[:3].any()
    assert rec.units.table["unused"].tolist() == rec.units.unused.tolist()


def test_a_layer_with_a_single_unit_and_a_layer_of_dead_units_are_recorded():
    net = seeded(lambda: nn.Sequential(nn.Linear(3, 1), nn.Linear(1, 4), nn.ReLU()))
    with torch.no_grad():
        net[1].bias.fill_(-100.0)
    rec = ifl.record(net, ["0", "2"], normal(9, 3))
    assert rec["0"].shape == (9, 1)
    assert rec.units.unused.tolist() == [False] + [True] * 4


# --- errors at the door ---------------------------------------------------------------------------


def test_an_unknown_layer_names_its_near_misses():
    net = ifl_net()
    with pytest.raises(KeyError, match=r"unknown layer 'fc_1'; did you mean 'fc1'"):
        ifl.record(net, "fc_1", normal(4, 4))
    with pytest.raises(KeyError, match="unknown layer ''"):
        ifl.record(net, "", normal(4, 4))


def ifl_net() -> nn.Sequential:
    net = nn.Sequential()
    net.add_module("fc1", nn.Linear(4, 5))
    net.add_module("fc2", nn.Linear(5, 2))
    return net


def test_a_layer_that_is_not_reached_or_reached_twice_is_an_error():
    net = Twice()
    with pytest.raises(RuntimeError, match="'unused' was never reached"):
        ifl.record(net, "unused", normal(4, 4))
    with pytest.raises(RuntimeError, match="'act' was called 2 times"):
        ifl.record(net, "act", normal(4, 4))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_activations_that_are_not_finite_are_an_error_that_names_the_units(value):
    x = normal(6, 4)
    x[2, 1] = value
    with pytest.raises(ValueError, match=r"layer 'fc1' has NaN or infinite.*on 1 samples"):
        ifl.record(ifl_net(), "fc1", x)


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (torch.zeros(6, 4, dtype=torch.long), None, "inputs are torch.int64.*inputs.float()"),
        (torch.zeros(0, 4), None, "at least two samples"),
        (torch.zeros(1, 4), None, "at least two samples"),
        (torch.tensor(1.0), None, "at least two samples"),
        ((torch.zeros(4, 4), torch.zeros(5, 4)), None, r"differ in length: \[4, 5\]"),
        (torch.zeros(4, 4), torch.zeros(5), "one target per sample: 4 inputs, 5 targets"),
        (torch.zeros(4, 4), torch.tensor(1), "one target per sample"),
        (DataLoader(TensorDataset(torch.zeros(0, 4))), None, "DataLoader is empty"),
    ],
)
def test_bad_data_is_refused(inputs, targets, message):
    with pytest.raises(ValueError, match=message):
        ifl.record(ifl_net(), "fc1", inputs, targets)


@pytest.mark.parametrize("inputs", [(), "text", [np.array(["a", "b"])], {"x": torch.zeros(3, 4)}])
def test_inputs_that_are_no_tensors_are_refused(inputs):
    with pytest.raises(TypeError, match="expected a tensor, a tuple of tensors or a DataLoader"):
        ifl.record(ifl_net(), "fc1", inputs)


def test_targets_of_another_length_beside_a_loader_are_refused():
    loader = DataLoader(TensorDataset(normal(6, 4)), batch_size=4)
    with pytest.raises(ValueError, match="one target per sample: 6 inputs, 5 targets"):
        ifl.record(ifl_net(), "fc1", loader, torch.zeros(5))


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, True])
def test_a_batch_size_that_is_no_positive_integer_is_refused(batch_size):
    with pytest.raises(ValueError, match="batch_size"):
        ifl.record(ifl_net(), "fc1", normal(4, 4), batch_size=batch_size)


class Positive(nn.Module):
    def forward(self, x):
        return x > 0


def test_a_model_of_complex_numbers_is_recorded_where_it_has_real_ones():
    net = nn.Sequential(nn.Linear(4, 3, dtype=torch.cfloat), Size(), nn.Linear(3, 2))
    x = normal(6, 4).cfloat()
    torch.testing.assert_close(ifl.record(net, "1", x)["1"], net[0](x).abs().detach())
    yes_or_no = nn.Sequential(nn.Linear(4, 3), Positive())
    with pytest.raises(ValueError, match="layer '1' has boolean activations, expected numbers"):
        ifl.record(yes_or_no, "1", normal(6, 4))
    with pytest.raises(ValueError, match="layer '0' has complex activations, expected real ones"):
        ifl.record(net, "0", x)


class Size(nn.Module):
    def forward(self, x):
        return x.abs()


def test_no_layers_and_repeated_layers_are_refused():
    with pytest.raises(TypeError, match="expected names of layers or Site objects, got None"):
        ifl.record(ifl_net(), [None], normal(4, 4))
    with pytest.raises(ValueError, match="at least one layer name"):
        ifl.record(ifl_net(), [], normal(4, 4))
    with pytest.raises(ValueError, match="named more than once"):
        ifl.record(ifl_net(), ["fc1", "fc1"], normal(4, 4))


def test_a_fused_lstm_is_refused_with_what_to_do_instead():
    net = nn.LSTM(3, 4, batch_first=True)
    wrapped = nn.Sequential(net)
    with pytest.raises(ValueError, match=r"fused nn.LSTM.*nn.LSTMCell"):
        ifl.record(wrapped, "0", normal(5, 6, 3))
    rec = ifl.record(wrapped, ifl.Site("0", output=0, unit_dim=-1), normal(5, 6, 3))
    assert rec["0[0]"].shape == (5, 4, 6)


class TimeFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, x):
        return self.layer(x.transpose(0, 1)).mean(0)


@pytest.mark.parametrize("steps", [2, 5])
def test_a_layer_whose_dimension_0_is_not_the_batch_is_refused(steps):
    with pytest.raises(ValueError, match=r"'layer'.*dimension 0.*batch"):
        ifl.record(TimeFirst(), "layer", normal(7, steps, 3))


class Lengths(nn.Module):
    """As many calls as the first sample of the batch says."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        for _ in range(int(x[0, 0])):
            x = self.fc(x)
        return x


def test_batches_that_call_a_layer_more_or_less_often_are_refused():
    x = torch.ones(6, 4)
    x[4:] = 2.0
    with pytest.raises(ValueError, match=r"'fc' gave .* in one batch .* in another"):
        ifl.record(Lengths(), ifl.Site("fc", call="all"), x, batch_size=2)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda rec: pickle.loads(pickle.dumps(rec))])
def test_a_copy_of_a_recording_works_on_its_own_model(copied):
    rec = ifl.record(ifl_net(), ["fc1", "fc2"], normal(9, 4))
    expected = ifl.counterfactual(rec, {"fc1": [0]}, observe="fc2")
    other = copied(rec)
    assert other.model is not rec.model
    with torch.no_grad():
        rec.model[1].weight.zero_()
    found = ifl.counterfactual(other, {"fc1": [0]}, observe="fc2")
    torch.testing.assert_close(found, expected)


# --- the model leaves as it came ------------------------------------------------------------------


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("passes", [0, 1, 2])
def test_the_model_leaves_as_it_came_also_after_an_exception(error, passes):
    net = seeded(lambda: Broken(error or RuntimeError)).train()
    net.norm.eval()
    net.fc.weight.requires_grad_(False)
    net(normal(8, 4)).sum().backward()
    seen = []
    handle = net.fc.register_forward_hook(lambda *_: seen.append(1))
    net.passes_left[0] = -1 if error is None else passes
    before = state_of(net)
    if error is None:
        ifl.record(net, ["fc", "head"], normal(9, 4), batch_size=4)
    else:
        with pytest.raises(error, match="as told"):
            ifl.record(net, ["fc", "head"], normal(9, 4), batch_size=4)
    assert state_of(net) == before
    assert handle.id in net.fc._forward_hooks
    assert seen


def test_a_layer_name_with_a_typing_error_leaves_no_hook_behind():
    net = ifl_net()
    before = state_of(net)
    with pytest.raises(KeyError):
        ifl.record(net, ["fc1", "fc9"], normal(4, 4))
    assert state_of(net) == before


def test_a_model_that_works_in_place_on_its_inputs_leaves_them_as_they_were():
    class Shift(nn.Module):
        def forward(self, x):
            return x.add_(1.0)

    torch.manual_seed(0)
    net = nn.Sequential(Shift(), nn.Linear(4, 3), nn.ReLU(inplace=True), nn.Linear(3, 2))
    x, y = torch.randn(30, 4), torch.randint(2, (30,))
    before = x.clone()
    rec = ifl.record(net, ["2"], x, y, loss=nn.functional.cross_entropy, batch_size=7)
    same = nn.Sequential(*net[1:])
    expected = ifl.record(same, ["1"], before + 1, y, loss=nn.functional.cross_entropy)
    torch.testing.assert_close(rec["2"], expected["1"])
    for name in ("cov", "i_sens", "o_sens", "hess"):
        for fast in (True, False):
            found = ifl.similarity(rec, name, fast=fast)
            np.testing.assert_allclose(found, ifl.similarity(expected, name), rtol=1e-5)
    ifl.counterfactual(rec, {"2": [0]}, observe="2")
    assert torch.equal(x, before)
    assert torch.equal(rec.inputs[0], before)
