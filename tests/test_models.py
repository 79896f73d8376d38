"""Claims about the perceptron of the 2022 study and about borrowed random states."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from infoflow.models import isolated_rng, mlp


def test_mlp_is_the_papers_network() -> None:
    model = mlp(784, dropout=0.3, seed=0)
    w1, b1, w2, b2, w3, b3 = model.parameters()
    assert [tuple(w.shape) for w in (w1, w2, w3)] == [(64, 784), (64, 64), (10, 64)]
    x = torch.randn(5, 784, generator=torch.Generator().manual_seed(0))
    hidden = torch.relu(torch.relu(x @ w1.T + b1) @ w2.T + b2)
    assert torch.allclose(model.eval()(x), hidden @ w3.T + b3, atol=1e-5)


def test_the_named_layers_give_activations_after_dropout() -> None:
    model = mlp(8, hidden=(1000,), dropout=0.5, seed=0).train()
    x = torch.randn(1, 8, generator=torch.Generator().manual_seed(0))
    with isolated_rng(0), torch.no_grad():
        dropped = model.get_submodule("fc1")(x)
        kept = dropped != 0
        whole = model.get_submodule("fc1").eval()(x)
    assert torch.allclose(dropped[kept], 2 * whole[kept])  # survivors are scaled by 1 / (1 - p)
    assert 0.4 < (kept.sum() / (whole != 0).sum()) < 0.6


def test_any_number_of_layers_any_activation() -> None:
    model = mlp(5, hidden=(4, 3, 2), n_classes=7, activation=nn.Tanh)
    assert [name for name, _ in model.named_children()] == ["fc1", "fc2", "fc3", "out"]
    assert sum(isinstance(layer, nn.Tanh) for layer in model.modules()) == 3
    assert model(torch.zeros(2, 5)).shape == (2, 7)


def test_same_seed_same_weights_other_seed_others() -> None:
    def weights(seed: int) -> torch.Tensor:
        return nn.utils.parameters_to_vector(mlp(6, seed=seed).parameters())

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


def test_a_seeded_network_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    mlp(6, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_global_generator_is_given_back_after_an_exception() -> None:
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="stop"), isolated_rng(5):
        torch.rand(4)
        raise RuntimeError("stop")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_device_without_a_borrowable_generator_is_refused() -> None:
    with pytest.raises(ValueError, match="cpu or cuda device, got 'meta'"), isolated_rng(0, "meta"):
        pass


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"hidden": ()}, "hidden: expected at least 1"),
        ({"hidden": (64, 0)}, "hidden: .* got 0"),
        ({"hidden": (64, 2.5)}, "hidden: .* got 2.5"),
        ({"hidden": (True,)}, "hidden: .* got True"),
        ({"dropout": 1.0}, "dropout: .* below 1, got 1.0"),
        ({"dropout": -0.1}, "at least 0 .* got -0.1"),
        ({"dropout": float("nan")}, "dropout: .* got nan"),
        ({"d": 0}, "d: expected"),
        ({"n_classes": 0}, "n_classes: expected"),
    ],
)
def test_an_impossible_architecture_is_refused(arguments: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        mlp(**({"d": 4} | arguments))
