"""Claims about training: against a plain loop written out here, and about what stays untouched."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from infoflow.data import Dataset
from infoflow.models import isolated_rng, mlp
from infoflow.train import (
    Seeds,
    TrainConfig,
    TrainResult,
    epoch_batches,
    penalty,
    split_rows,
    train,
)


def _vector(model: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach()


@pytest.fixture(scope="module")
def small(digits: Dataset) -> Dataset:
    return replace(digits, train_x=digits.train_x[:300], train_y=digits.train_y[:300])


def _adam_by_hand(config: TrainConfig, data: Dataset) -> nn.Module:
    """The oracle: penalised cross-entropy and Adam's update rule, for the epochs given (no plateau,
    no early stop, last weights); dropout masks come from the global generator."""
    model = mlp(
        data.n_features,
        config.hidden,
        data.n_classes,
        config.dropout,
        seed=Seeds.of(config.seed).weights,
    ).train()
    rows, _ = split_rows(len(data.train_x), config)
    x, y = data.train_x[rows], data.train_y[rows]
    epochs = epoch_batches(len(x), config)
    parameters = list(model.parameters())
    first = [torch.zeros_like(p) for p in parameters]
    second = [torch.zeros_like(p) for p in parameters]
    step = 0
    for _ in range(config.max_epochs):
        for batch in next(epochs):
            step += 1
            logits = model(x[batch])
            loss = -torch.log_softmax(logits, 1)[torch.arange(len(batch)), y[batch]].mean()
            for name, w in model.named_parameters():
                if name.endswith("weight"):
                    loss = loss + config.l1 * w.abs().sum() + config.l2 * (w**2).sum()
            for i, gradient in enumerate(torch.autograd.grad(loss, parameters)):
                first[i] = 0.9 * first[i] + 0.1 * gradient
                second[i] = 0.999 * second[i] + 0.001 * gradient**2
                m, v = first[i] / (1 - 0.9**step), second[i] / (1 - 0.999**step)
                with torch.no_grad():
                    parameters[i] -= config.lr * m / (v.sqrt() + 1e-8)
    return model


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_training_is_adam_on_the_penalised_cross_entropy(small: Dataset, dropout: float) -> None:
    config = TrainConfig(dropout=dropout, l1=1e-3, l2=1e-2, max_epochs=4, batch_size=64, seed=3)
    result = train(config, small)
    assert result.best_epoch == 4  # so that the weights kept are the last ones
    with isolated_rng(Seeds.of(config.seed).dropout):
        by_hand = _vector(_adam_by_hand(config, small))
    assert torch.allclose(_vector(result.model), by_hand, atol=1e-5)


def test_penalty_leaves_biases_out_and_counts_each_weight() -> None:
    matrices = [torch.tensor([[1.0, -2.0]]), torch.tensor([[3.0]])]
    assert penalty(matrices, l1=0.5, l2=0.0) == 0.5 * 6
    assert penalty(matrices, l1=0.0, l2=0.1).item() == pytest.approx(0.1 * 14)
    assert penalty(matrices, l1=0.0, l2=0.0) == 0


def test_a_strong_l1_penalty_makes_weights_small(small: Dataset) -> None:
    def size(l1: float) -> float:
        model = train(TrainConfig(l1=l1, max_epochs=20), small).model
        return sum(float(p.detach().abs().sum()) for p in model.parameters() if p.ndim > 1)

    assert size(0.1) < 0.5 * size(0.0)


def test_the_default_network_reads_digits(digits_result: TrainResult) -> None:
    assert digits_result.test_accuracy > 0.94
    assert digits_result.validation_accuracy > 0.9


def test_accuracies_are_those_of_the_returned_model(
    digits: Dataset, digits_result: TrainResult
) -> None:
    _, held = split_rows(len(digits.train_x), digits_result.config)
    with torch.no_grad():
        test = digits_result.model(digits.test_x).argmax(1) == digits.test_y
        validation = digits_result.model(digits.train_x[held]).argmax(1) == digits.train_y[held]
    assert digits_result.test_accuracy == float(test.double().mean())
    assert digits_result.validation_accuracy == float(validation.double().mean())


def test_the_weights_kept_are_those_of_the_lowest_validation_loss(
    digits: Dataset, digits_result: TrainResult
) -> None:
    _, held = split_rows(len(digits.train_x), digits_result.config)
    with torch.no_grad():
        loss = cross_entropy(digits_result.model(digits.train_x[held]), digits.train_y[held])
    lowest = min(epoch.validation_loss for epoch in digits_result.history)
    assert float(loss) == pytest.approx(lowest, rel=1e-5)
    assert lowest < digits_result.history[-1].validation_loss  # the last epoch was not the best


def test_training_stops_patience_epochs_after_the_best_one(digits_result: TrainResult) -> None:
    assert digits_result.epochs < digits_result.config.max_epochs
    waited = digits_result.epochs - digits_result.best_epoch
    assert waited == digits_result.config.early_stop_patience


def test_the_learning_rate_falls_by_the_factor_after_a_plateau(small: Dataset) -> None:
    # At 1e-6 the validation loss falls by less than the schedule's relative threshold (1e-4), so
    # all epochs but the first are bad ones: with patience 1 the rate falls after each second one.
    config = TrainConfig(lr=1e-6, plateau_patience=1, plateau_factor=0.5, max_epochs=7)
    rates = [epoch.lr for epoch in train(config, small).history]
    assert rates == pytest.approx([1e-6] * 3 + [5e-7] * 2 + [2.5e-7] * 2)


def test_same_configuration_same_weights_bit_for_bit(small: Dataset) -> None:
    config = TrainConfig(dropout=0.5, max_epochs=3)
    torch.manual_seed(1)
    one = train(config, small)
    torch.manual_seed(2)
    two = train(config, small)
    assert torch.equal(_vector(one.model), _vector(two.model))
    assert one.history == two.history
    other = train(replace(config, seed=1), small)
    assert not torch.equal(_vector(one.model), _vector(other.model))


def test_training_leaves_the_global_state_alone(small: Dataset) -> None:
    before = torch.get_rng_state()
    with torch.no_grad():
        train(TrainConfig(dropout=0.5, max_epochs=1), small)
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_acts_in_training_and_not_in_the_result(small: Dataset) -> None:
    plain, dropped = (train(TrainConfig(dropout=p, max_epochs=1), small).model for p in (0.0, 0.5))
    assert not torch.equal(_vector(plain), _vector(dropped))
    assert torch.equal(dropped(small.test_x), dropped(small.test_x))


def test_networks_of_one_seed_share_split_and_batches_whatever_their_penalties() -> None:
    a, b = TrainConfig(seed=4), TrainConfig(seed=4, dropout=0.5, l1=1e-3, hidden=(8,))
    assert all(torch.equal(i, j) for i, j in zip(split_rows(99, a), split_rows(99, b), strict=True))
    for config in (a, b):
        assert torch.equal(
            torch.cat(next(epoch_batches(99, config))), torch.cat(next(epoch_batches(99, a)))
        )


def test_split_and_batches_visit_every_row_exactly_once() -> None:
    config = TrainConfig(batch_size=30)
    fit, held = split_rows(100, config)
    assert (len(fit), len(held)) == (90, 10)
    assert torch.cat([fit, held]).sort().values.tolist() == list(range(100))
    epochs = epoch_batches(100, config)
    one, two = next(epochs), next(epochs)
    assert [len(batch) for batch in one] == [30, 30, 30, 10]
    assert torch.cat(one).sort().values.tolist() == list(range(100))
    assert not torch.equal(torch.cat(one), torch.cat(two))


def test_zero_epochs_give_the_untrained_network(small: Dataset) -> None:
    result = train(TrainConfig(max_epochs=0, seed=5), small)
    untrained = mlp(64, seed=Seeds.of(5).weights)
    assert torch.equal(_vector(result.model), _vector(untrained))
    assert (result.epochs, result.best_epoch, len(result.to_frame())) == (0, 0, 0)
    assert result.test_accuracy < 0.5


def test_the_history_is_a_table_with_one_row_per_epoch(digits_result: TrainResult) -> None:
    table = digits_result.to_frame()
    assert table.index.tolist() == list(range(1, digits_result.epochs + 1))
    assert int(table["validation_loss"].idxmin()) == digits_result.best_epoch
    assert table["train_loss"].iloc[-1] < table["train_loss"].iloc[0] / 10


def test_progress_is_shown_only_when_asked_for(
    small: Dataset, capfd: pytest.CaptureFixture[str]
) -> None:
    train(TrainConfig(max_epochs=1), small)
    assert capfd.readouterr().err == ""
    train(TrainConfig(max_epochs=1), small, progress=True)
    assert "train" in capfd.readouterr().err


# --- refused at the door --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("l1", -1e-5), ("l2", -1.0), ("l2", math.nan), ("l1", math.inf), ("l1", "much"),
        ("lr", 0.0), ("lr", -1e-3), ("lr", math.inf),
        ("batch_size", 0), ("batch_size", 2.5), ("batch_size", True), ("max_epochs", -1),
        ("plateau_factor", 1.0), ("plateau_factor", 0.0), ("plateau_patience", -1),
        ("early_stop_patience", 0), ("validation_fraction", 0.0), ("validation_fraction", 1.0),
        ("seed", -1), ("seed", 0.5), ("dropout", 1.0), ("dropout", -0.1), ("hidden", ()),
    ],
)  # fmt: skip
def test_a_configuration_out_of_range_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name) as caught:
        TrainConfig(**{name: value})
    assert f"got {value!r}" in str(caught.value)


def test_an_empty_data_set_name_is_refused() -> None:
    with pytest.raises(ValueError, match="dataset: expected a name"):
        TrainConfig(dataset="")


def test_another_data_set_than_the_configured_one_is_refused(small: Dataset) -> None:
    with pytest.raises(ValueError, match="names, 'mnist', got 'digits'"):
        train(TrainConfig(dataset="mnist"), small)


def test_too_few_rows_to_validate_on_are_refused(digits: Dataset) -> None:
    three = replace(digits, train_x=digits.train_x[:3], train_y=digits.train_y[:3])
    with pytest.raises(ValueError, match=r"validation_fraction.* 0\.1 of 3 rows"):
        train(TrainConfig(), three)


def test_a_loss_that_diverges_is_an_error_and_not_a_network(small: Dataset) -> None:
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        train(TrainConfig(lr=1e30), small)
