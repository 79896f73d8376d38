"""Claims about stacked training: against training each network alone, which is its oracle."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from experiments.common.stacked import train_stacked
from infoflow.data import Dataset
from infoflow.models import mlp
from infoflow.penalties import ModularPenalty
from infoflow.train import Seeds, TrainConfig, TrainResult, train

SETTINGS = [(0.0, 0.0, 1e-5), (0.0, 1e-3, 1e-2), (0.3, 0.0, 1e-5), (0.7, 1e-4, 0.0), (0.05, 0, 0)]


def _vector(model: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach()


@pytest.fixture(scope="module")
def small(digits: Dataset) -> Dataset:
    return replace(digits, train_x=digits.train_x[:300], train_y=digits.train_y[:300])


def _assert_same(stacked: TrainResult, alone: TrainResult, tolerance: float) -> None:
    assert stacked.config == alone.config
    assert stacked.epochs == alone.epochs and stacked.best_epoch == alone.best_epoch
    ours, theirs = torch.tensor(stacked.history), torch.tensor(alone.history)
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=tolerance)
    assert torch.allclose(_vector(stacked.model), _vector(alone.model), atol=tolerance)
    assert stacked.test_accuracy == pytest.approx(alone.test_accuracy, abs=0.01)
    assert stacked.validation_accuracy == pytest.approx(alone.validation_accuracy, abs=0.01)
    assert not stacked.model.training


def test_each_network_of_a_stack_is_the_one_trained_alone(small: Dataset) -> None:
    configs = [
        TrainConfig(dropout=p, l1=l1, l2=l2, max_epochs=4, batch_size=64, seed=3)
        for p, l1, l2 in SETTINGS
    ]
    for config, result in zip(configs, train_stacked(configs, small), strict=True):
        _assert_same(result, train(config, small), 1e-5)


def test_seeds_batches_and_rates_may_differ_and_the_order_is_kept(small: Dataset) -> None:
    configs = [
        TrainConfig(seed=seed, batch_size=size, lr=lr, dropout=p, max_epochs=2)
        for seed, size, lr, p in [(1, 50, 1e-3, 0.2), (0, 70, 1e-2, 0.0), (1, 50, 5e-3, 0.2)]
    ]
    for config, result in zip(configs, train_stacked(configs, small), strict=True):
        _assert_same(result, train(config, small), 1e-5)


@pytest.mark.parametrize("hidden", [(7,), (9, 5, 4)])
def test_any_number_of_hidden_layers(small: Dataset, hidden: tuple[int, ...]) -> None:
    configs = [
        TrainConfig(hidden=hidden, dropout=p, max_epochs=3, batch_size=100) for p in (0.1, 0.5)
    ]
    for config, result in zip(configs, train_stacked(configs, small), strict=True):
        _assert_same(result, train(config, small), 1e-5)


def test_every_network_has_its_own_schedule_and_early_stop(small: Dataset) -> None:
    rates = (0.003, 0.02, 0.05)
    configs = [
        TrainConfig(
            lr=lr, max_epochs=40, batch_size=30, plateau_patience=0, early_stop_patience=2, seed=1
        )
        for lr in rates
    ]
    together, alone = train_stacked(configs, small), [train(c, small) for c in configs]
    assert len({result.epochs for result in alone}) > 1  # else the claim is empty
    assert any(len({epoch.lr for epoch in result.history}) > 1 for result in alone)
    for ours, theirs in zip(together, alone, strict=True):
        assert ours.epochs == theirs.epochs and ours.best_epoch == theirs.best_epoch
        assert [e.lr for e in ours.history] == [e.lr for e in theirs.history]


def test_the_size_of_the_stack_changes_nothing_but_rounding(small: Dataset) -> None:
    configs = [TrainConfig(dropout=p, max_epochs=3) for p in (0.1, 0.2, 0.3)]
    one, all_three = (train_stacked(configs, small, stack_size=n) for n in (1, 3))
    for a, b in zip(one, all_three, strict=True):
        assert torch.allclose(_vector(a.model), _vector(b.model), atol=1e-6)


def test_the_same_stack_gives_the_same_bits_and_leaves_the_global_generator(
    small: Dataset,
) -> None:
    configs = [TrainConfig(dropout=p, max_epochs=2) for p in (0.1, 0.6)]
    before = torch.get_rng_state()
    first = train_stacked(configs, small)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(1)
    for a, b in zip(first, train_stacked(configs, small), strict=True):
        assert torch.equal(_vector(a.model), _vector(b.model)) and a.history == b.history


def test_no_epochs_give_the_initial_network(small: Dataset) -> None:
    (result,) = train_stacked([TrainConfig(max_epochs=0, seed=5)], small)
    initial = mlp(small.n_features, seed=Seeds.of(5).weights)
    assert torch.equal(_vector(result.model), _vector(initial)) and result.history == ()


def test_a_diverging_network_is_named(small: Dataset) -> None:
    configs = [TrainConfig(), TrainConfig(lr=1e30, l1=1e30, seed=0)]
    with pytest.raises(FloatingPointError, match="l1 1e\\+30"):
        train_stacked(configs, small)


@pytest.mark.parametrize(
    ("configs", "message"),
    [
        ([], "at least one"),
        ([TrainConfig(), TrainConfig(hidden=(3,))], "one architecture"),
        ([TrainConfig(dataset="mnist")], "TrainConfig\\(dataset='digits'\\)"),
    ],
)
def test_what_cannot_be_stacked_is_refused(
    small: Dataset, configs: list[TrainConfig], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train_stacked(configs, small)
    with pytest.raises(ValueError, match="stack_size"):
        train_stacked([TrainConfig()], small, stack_size=0)


def test_modular_penalties_are_refused(small: Dataset) -> None:
    with pytest.raises(ValueError, match="modular penalties are not stacked"):
        train_stacked([TrainConfig(modular=ModularPenalty(0.1))], small)
