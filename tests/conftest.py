"""Fixtures shared by the tests."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import infoflow as ifl
from infoflow.data import Dataset, load_digits
from infoflow.train import TrainConfig, TrainResult, train

# One thread: faster on networks this small, and tests that run side by side do not compete.
torch.set_num_threads(1)

SMALL: dict[str, int] = {"budget": 30, "samples": 8, "same_size": 9, "donors": 12, "contexts": 12}
"""What tests of `compare` spend."""


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_digits()


@pytest.fixture(scope="session")
def digits_result(digits: Dataset) -> TrainResult:
    """The default network trained on digits (a second or so)."""
    return train(TrainConfig(), digits)


@pytest.fixture(scope="session")
def digits_model(digits_result: TrainResult) -> nn.Sequential:
    """Its model, in eval mode; shared by all tests, so leave it as it is."""
    return digits_result.model


@pytest.fixture(scope="session")
def comparison() -> ifl.Comparison:
    """Of a random network of two layers, a unit of which is dead."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        net[0].bias[2] = -1e3
    x = torch.randn(120, 6)
    rec = ifl.record(net, ["1", "3"], x, net(x).argmax(1), loss=cross_entropy)
    return ifl.compare(rec, partitions={"halves": [0, 1] * 7, "whole": [0] * 14}, **SMALL)
