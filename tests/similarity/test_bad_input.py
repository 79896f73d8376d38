"""Errors at the door, and zeros where there is nothing to measure."""

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow.similarity import similarities, similarity


def recording(net, x, layers=("0",)):
    return ifl.record(net, list(layers), x)


def test_an_unknown_measure_names_its_near_misses():
    rec = recording(nn.Sequential(nn.Linear(3, 2)), torch.randn(5, 3))
    with pytest.raises(ValueError, match="did you mean 'o_sens' or"):
        similarity(rec, "osens")
    with pytest.raises(ValueError, match="at least one measure"):
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
