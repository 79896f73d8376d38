"""Errors at the door, and zeros where there is nothing to measure."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow.unit_similarity import similarities, similarity


class Centred(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


def recording(net, x, layers=("0",)):
    return ifl.record(net, list(layers), x)


def test_an_unknown_measure_names_its_near_misses():
    rec = recording(nn.Sequential(nn.Linear(3, 2)), torch.randn(5, 3))
    with pytest.raises(ValueError, match="did you mean 'o_sens' or"):
        similarity(rec, "osens")
    with pytest.raises(ValueError, match="measures: expected a name"):
        similarities(rec, [])


def test_an_unrecorded_layer_is_an_error():
    rec = recording(nn.Sequential(nn.Linear(3, 2)), torch.randn(5, 3))
    with pytest.raises(KeyError, match="recorded layer"):
        similarity(rec, "cov", layers="1")


def test_token_inputs_cannot_have_input_sensitivity():
    net = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(12, 2))
    rec = recording(net, torch.randint(7, (9, 3)), ["1"])
    with pytest.raises(ValueError, match="embedded tokens"):
        similarity(rec, "i_sens")
    assert similarity(rec, "o_sens").shape == (12, 12)


class Cut(nn.Module):
    def forward(self, x):
        return x.detach()


def test_units_cut_off_from_input_or_output_have_sensitivity_zero():
    rec = recording(nn.Sequential(Cut(), nn.Linear(3, 2), Cut()), torch.randn(5, 3), ["1"])
    assert (similarity(rec, "i_sens") == 0).all()
    assert (similarity(rec, "o_sens_norm") == 0).all()
    assert np.diag(similarity(rec, "cov")).min() > 0


def test_samples_that_influence_each_other_are_refused():
    net = nn.Sequential(nn.Linear(3, 2), Centred(), nn.Linear(2, 2))
    rec = ifl.record(net, ["0"], torch.randn(9, 3), batch_size=5)
    with pytest.raises(ValueError, match="influence each other"):
        similarity(rec, "o_sens")


def test_a_model_changed_since_the_recording_is_refused():
    net = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))
    rec = recording(net, torch.randn(9, 3))
    with torch.no_grad():
        net[2].bias += 1
    with pytest.raises(RuntimeError, match="record again"):
        similarity(rec, "o_sens")


def test_dropout_left_in_training_mode_does_nothing():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2)).train()
    x = torch.randn(9, 3)
    expected = similarities(recording(net.eval(), x, ["1"]))
    found = similarities(recording(net.train(), x, ["1"]))
    assert all((found[name] == matrix).all() for name, matrix in expected.items())
    assert net[1].training


def test_a_loss_that_cannot_be_differentiated_twice_is_refused():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    y = torch.randint(2, (9,))
    rec = ifl.record(net, ["0"], torch.randn(9, 3), y, loss=nn.functional.multi_margin_loss)
    with pytest.raises(ValueError, match="cannot be differentiated twice"):
        similarity(rec, "hess")


class Root(nn.Module):
    def forward(self, x):
        return x.abs().sqrt()


def test_a_derivative_that_does_not_exist_is_named():
    net = nn.Sequential(nn.Identity(), Root())
    rec = recording(net, torch.tensor([[0.0, 1.0], [1.0, 2.0]]))
    with pytest.raises(ValueError, match=r"'o_sens' is not finite for units \[0"):
        similarity(rec, "o_sens")


def test_positions_are_checked():
    net = nn.Sequential(nn.Conv1d(1, 2, 2), nn.Conv1d(2, 2, 2), nn.Flatten())
    rec = recording(net, torch.randn(5, 1, 8), ["0", "1"])
    with pytest.raises(ValueError, match="different numbers of positions"):
        similarity(rec, "cov", positions="each")
    with pytest.raises(ValueError, match="at least 1 or 'mean' or 'each'"):
        similarity(rec, "cov", layers="0", positions=0)


def test_a_model_made_in_inference_mode_is_refused_with_a_remedy_that_works():
    with torch.inference_mode():
        net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    rec = ifl.record(net, ["0", "1"], x)
    for measure in ("i_sens", "o_sens", "weights"):
        with pytest.raises(ValueError, match=r"inside torch.inference_mode\(\).*deepcopy"):
            ifl.similarity(rec, measure)
    assert np.isfinite(ifl.similarity(rec, "cov")).all()
    copied = ifl.record(copy.deepcopy(net), ["0", "1"], x)
    np.testing.assert_array_equal(copied.matrix(), rec.matrix())
    assert ifl.similarity(copied, "o_sens").any()


class WithoutDerivative(nn.Module):
    """A step in integers, for which torch has no derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)
        weight = torch.quantize_per_tensor(torch.eye(4), 0.01, 0, torch.qint8)
        self.packed = torch.ops.quantized.linear_prepack(weight, None)

    def forward(self, x):
        return self.b(torch.ops.quantized.linear_dynamic(self.a(x), self.packed))


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("measure", ["o_sens", "hess"])
def test_an_operation_without_a_derivative_is_refused(measure):
    net, x = WithoutDerivative(), torch.randn(6, 3)
    rec = ifl.record(net, "a", x, torch.zeros(6, 2), loss=torch.nn.functional.mse_loss)
    with pytest.raises(ValueError, match="no derivative in torch"):
        ifl.similarity(rec, measure)
    assert ifl.similarity(rec, "cov").shape == (4, 4)
