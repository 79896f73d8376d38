"""The clusterability study's perceptrons: trained, then pruned to a tenth of their weights."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from infoflow.data import Dataset
from infoflow.models import isolated_rng

WIDTHS = (784, 256, 256, 256, 256, 10)
EPOCHS, BATCH, EPSILON = 20, 128, 1e-7  # Keras's epsilon; PyTorch's is a tenth of it
SPARSE_FROM, SPARSE_TO, EVERY = 0.5, 0.9, 10
KINDS = ("mnist", "dropout", "halves")


def halves(x: Tensor, y: Tensor, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Two digits side by side, each of half the width; the label is their sum modulo ten."""
    narrow = x.reshape(-1, 28, 14, 2).mean(3)
    narrow = (narrow * 255 / narrow.max()).round() / 255
    pairs = torch.from_numpy(rng.integers(len(x), size=(count, 2)))
    images = torch.cat([narrow[pairs[:, 0]], narrow[pairs[:, 1]]], 2)
    return images.flatten(1), y[pairs].sum(1) % 10


def data_of(kind: str, mnist: Dataset) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training and test data of a kind; halves are drawn once, with one seed for all networks.

    Raises:
        ValueError: An unknown kind.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}: expected one of {', '.join(KINDS)}")
    train, test = (mnist.train_x, mnist.train_y), (mnist.test_x, mnist.test_y)
    if kind == "halves":
        rng = np.random.default_rng(42)
        train = halves(*train, len(train[0]), rng)
        test = halves(*test, len(test[0]), rng)
    return *train, *test


def perceptron(dropout: float) -> nn.Sequential:
    """Four hidden layers of 256 ReLU units; weights as Keras draws them, biases at zero."""
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(pairwise(WIDTHS)):
        linear = nn.Linear(before, after)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers.append(linear)
        if number < len(WIDTHS) - 2:
            layers += [nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)


def sparsity(step: int, steps: int) -> float:
    """The share of each matrix that is zero at a step of pruning, rising with the cube."""
    left = (1 - min(step / steps, 1)) ** 3
    return SPARSE_TO + (SPARSE_FROM - SPARSE_TO) * left


def smallest_out(weight: Tensor, share: float) -> Tensor:
    """1 where a weight stays, 0 for the share of smallest size."""
    size = weight.detach().abs()
    return (size > size.flatten().kthvalue(round(share * size.numel())).values).float()


def fit(
    model: nn.Sequential, x: Tensor, y: Tensor, epochs: int, prune: bool, epsilon: float = EPSILON
) -> None:
    """Adam at Keras's defaults; when pruning, the smallest weights of every matrix are set to zero
    at every tenth step, and stay there until the next."""
    optimizer = torch.optim.Adam(model.parameters(), eps=epsilon, fused=True)
    weights: list[Tensor] = [layer.weight for layer in model if isinstance(layer, nn.Linear)]
    steps = epochs * -(-len(x) // BATCH)
    step, masks = 0, [torch.ones_like(weight) for weight in weights]
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            if prune and step % EVERY == 0:
                masks = [smallest_out(weight, sparsity(step, steps)) for weight in weights]
            _apply(masks, weights, prune)
            optimizer.zero_grad()
            cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
            step += 1
    if prune:
        masks = [smallest_out(weight, SPARSE_TO) for weight in weights]
    _apply(masks, weights, prune)
    model.eval()


def _apply(masks: list[Tensor], weights: list[Tensor], prune: bool) -> None:
    if prune:
        with torch.no_grad():
            for mask, weight in zip(masks, weights, strict=True):
                weight *= mask


def trained(
    kind: str, seed: int, mnist: Dataset, epochs: int = EPOCHS, epsilon: float = EPSILON
) -> dict[str, tuple[list[np.ndarray], float]]:
    """ "unpruned" and, after as many epochs again, "pruned": weight matrices `(in, out)`, and
    accuracy on the test data."""
    x, y, test_x, test_y = data_of(kind, mnist)
    found = {}
    with isolated_rng(seed):
        model = perceptron(0.5 if kind == "dropout" else 0.0)
        for stage in ("unpruned", "pruned"):
            fit(model, x, y, epochs, stage == "pruned", epsilon)
            with torch.no_grad():
                right = (model(test_x).argmax(1) == test_y).double().mean().item()
            layers = [layer for layer in model if isinstance(layer, nn.Linear)]
            found[stage] = [layer.weight.detach().numpy().T.copy() for layer in layers], right
    return found
