"""The networks of the lesion study: none has modules that anybody knows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from infoflow.data import load
from infoflow.lesioning.run import Task
from infoflow.models import mlp
from infoflow.recording import Recording, record
from infoflow.toys.trained import ducks_and_shadows, heads_cross_entropy, retina
from infoflow.train import TrainConfig, train

REGULARISED: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "dropout 0.2": {"dropout": 0.2},
    "dropout 0.5": {"dropout": 0.5},
    "L1": {"l1": 1e-3},
    "L2": {"l2": 1e-2},
}
HEADS = ("two digits", "ducks", "retina")
MOST_EPOCHS = {"digits": 100, "mnist": 8}
CLASS_MODULES, HEAD_MODULES = 4, 2


def cells(family: str, seeds: range) -> list[tuple[str, str, int]]:
    """(family, setting, seed) of every network of a family: digits, mnist or heads."""
    if family == "heads":
        settings = list(HEADS)
    else:
        settings = list(REGULARISED) if family == "digits" else ["plain", "dropout 0.5"]
    return [(family, setting, seed) for seed in seeds for setting in settings]


def network(family: str, setting: str, seed: int) -> tuple[Recording, Mapping[str, Task] | None]:
    """A trained network, and its heads' errors as tasks (None: its tasks are classes).

    Digits are recorded on all 1797 images, MNIST on the first 2000 of the test images, the
    networks with two heads on all that they were trained on.
    """
    if family == "heads":
        return two_heads(setting, seed), {f"head {h}": partial(wrong, head=h) for h in range(2)}
    data = load(family, None)
    config = TrainConfig(
        dataset=family, hidden=(32, 32), seed=seed, max_epochs=MOST_EPOCHS[family],
        **REGULARISED[setting],
    )  # fmt: skip
    model = train(config, data).model
    x, y = data.test_x[:2000], data.test_y[:2000]
    if family == "digits":
        x, y = torch.cat([data.train_x, x]), torch.cat([data.train_y, y])
    return record(model, ["fc1", "fc2"], x, y, loss=cross_entropy), None


def two_heads(setting: str, seed: int) -> Recording:
    """A dense network with two heads: two digits side by side (each digit a head), or a toy."""
    if setting == "ducks":
        return ducks_and_shadows(seed, separate=False).record()
    if setting == "retina":
        return retina(seed, goal="both", hidden=(16, 16)).record()
    data = load("digits", None)
    x, y = torch.cat([data.train_x, data.test_x]), torch.cat([data.train_y, data.test_y])
    second = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    x, y = torch.cat([x, x[second]], 1), torch.stack([y, y[second]], 1)
    model = mlp(128, (32, 32), 20, seed=seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(300):
        optimiser.zero_grad()
        heads_cross_entropy(model(x), y).backward()
        optimiser.step()
    return record(model, ["fc1", "fc2"], x, y, loss=heads_cross_entropy)


def wrong(outputs: Tensor, targets: Tensor | None, *, head: int) -> Tensor:
    """`(K,)` 1 where a head's answer is wrong."""
    assert targets is not None
    answers = outputs.reshape(*targets.shape, -1).argmax(2)
    return (answers[:, head] != targets[:, head]).double()
