"""Fixtures shared by the tests."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from infoflow.data import Dataset, load_digits
from infoflow.train import TrainConfig, TrainResult, train

# One thread: faster on networks this small, and tests that run side by side do not compete.
torch.set_num_threads(1)


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
