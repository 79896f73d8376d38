"""The networks of the study, by family and seed, recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from experiments.common.builders import OneBlock, convolutional, fit
from experiments.common.stacked import train_stacked
from infoflow.basis import BasisLike
from infoflow.data import Dataset, load
from infoflow.models import isolated_rng, mlp
from infoflow.partition import Partition
from infoflow.recording import Recording, record
from infoflow.toys.trained import ducks_and_shadows, retina, sum_and_product
from infoflow.train import Seeds, TrainConfig

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "dropout 0.2": {"dropout": 0.2},
    "dropout 0.5": {"dropout": 0.5},
    "L1": {"l1": 1e-3},
    "L2": {"l2": 1e-2},
}
MODULUS = 23
MOST_ROWS = 2000


@dataclass(frozen=True, eq=False)
class Network:
    """One network of the study.

    Attributes:
        setting: How it was trained.
        rec: Its recording.
        accuracy: Share of test samples (toys, transformer: of all inputs) it classifies correctly.
        trained: Whether it was trained at all.
        planted: Modules wired into it, if any.
        again: Records the network with another basis.
    """

    setting: str
    rec: Recording
    accuracy: float
    trained: bool
    planted: Partition | None
    again: Callable[[BasisLike], Recording]


def networks(family: str, seed: int, *, max_epochs: int = 500) -> Iterator[Network]:
    """All networks of one family and seed.

    Raises:
        ValueError: Unknown family.
    """
    if family == "toys":
        yield from _toys(seed)
    elif family in ("digits", "mnist"):
        yield from _perceptrons(family, seed, max_epochs)
    elif family == "conv":
        yield from _convolutions(seed)
    elif family == "transformer":
        yield from _transformers(seed)
    else:
        raise ValueError(f"unknown family {family!r}")


def _toys(seed: int) -> Iterator[Network]:
    made = {
        "ducks, two tracks": ducks_and_shadows(seed),
        "ducks, dense": ducks_and_shadows(seed, separate=False),
        "retina": retina(seed),
        "sum and product": sum_and_product(seed),
    }
    for setting, toy in made.items():
        rec = toy.record()
        again = partial(_recorded, rec)
        yield Network(setting, rec, min(toy.accuracy), True, toy.planted, again)


def _perceptrons(name: str, seed: int, max_epochs: int) -> Iterator[Network]:
    data = load(name, None)
    configs = [
        TrainConfig(dataset=name, seed=seed, max_epochs=max_epochs, **kw)
        for kw in SETTINGS.values()
    ]
    for setting, result in zip(SETTINGS, train_stacked(configs, data), strict=True):
        rec = _of_test_samples(result.model, ["fc1", "fc2"], data)
        again = partial(_recorded, rec)
        yield Network(setting, rec, result.test_accuracy, True, None, again)
    model = mlp(data.n_features, (64, 64), data.n_classes, seed=Seeds.of(seed).weights).eval()
    rec = _of_test_samples(model, ["fc1", "fc2"], data)
    yield Network("untrained", rec, _accuracy(rec), False, None, partial(_recorded, rec))


def _of_test_samples(model: nn.Module, layers: list[str], data: Dataset) -> Recording:
    rows = slice(MOST_ROWS)
    return record(model, layers, data.test_x[rows], data.test_y[rows], loss=cross_entropy)


def _recorded(rec: Recording, basis: BasisLike) -> Recording:
    return record(
        rec.model, list(rec.units.layers), rec.inputs, rec.targets, loss=rec.loss, basis=basis
    )


def _accuracy(rec: Recording) -> float:
    return float((rec.outputs.argmax(1) == rec.targets).double().mean())


def _convolutions(seed: int) -> Iterator[Network]:
    data = load("digits", None)
    model = convolutional(seed)
    fitted = deepcopy(model)
    fit(fitted, data.train_x, data.train_y, steps=600, batch=200, seed=seed)
    yield _free("conv", _of_test_samples(fitted, ["1", "4"], data), True)
    yield _free("conv", _of_test_samples(model.eval(), ["1", "4"], data), False)


def _free(setting: str, rec: Recording, trained: bool) -> Network:
    return Network(
        setting if trained else "untrained",
        rec,
        _accuracy(rec),
        trained,
        None,
        partial(_recorded, rec),
    )


def _transformers(seed: int) -> Iterator[Network]:
    a, b = torch.cartesian_prod(torch.arange(MODULUS), torch.arange(MODULUS)).T
    one_hot = torch.eye(MODULUS)
    x, y = torch.cat([one_hot[a], one_hot[b]], 1), (a + b) % MODULUS
    with isolated_rng(seed):
        model = OneBlock(MODULUS)
    fitted = deepcopy(model)
    fit(fitted, x, y, steps=1500, batch=len(x), seed=seed)
    for network, trained in ((fitted, True), (model.eval(), False)):
        rec = record(network, ["mix", "mlp"], x, y, loss=cross_entropy)
        yield _free("transformer", rec, trained)
