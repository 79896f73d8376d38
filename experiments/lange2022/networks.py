"""The networks of one task: a stack trained together, or networks without training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch

from experiments.common.stacked import train_stacked
from infoflow.data import Dataset, load_digits, load_mnist
from infoflow.models import mlp
from infoflow.train import Seeds, TrainConfig, TrainResult

LAYERS = ("fc1", "fc2")
LEAST_ACCURACY = 0.8  # "we discarded models that achieved less than 80 % test accuracy"


def task_networks(
    first_seed: int,
    networks: Sequence[Mapping[str, Any]],
    *,
    dataset: str,
    data_dir: str | None,
    max_epochs: int,
) -> Iterator[tuple[dict[str, Any], TrainResult, Dataset]]:
    """Settings, network and data of every network of a task, on one thread.

    Args:
        first_seed: Of the networks; untrained ones count up from it.
        networks: Settings of each (`asdict(Setting)`); either all untrained or none.
        dataset: `"mnist"` or `"digits"`.
        data_dir: Folder with MNIST's files; None reads `INFOFLOW_DATA`.
        max_epochs: As in `TrainConfig`.
    """
    torch.set_num_threads(1)
    data = _load(dataset, data_dir)
    if networks[0]["family"] == "untrained":
        results = _untrained(first_seed, len(networks), data)
    else:
        configs = [_config(n, first_seed, dataset, max_epochs) for n in networks]
        results = train_stacked(configs, data, stack_size=len(configs))
    for settings, result in zip(networks, results, strict=True):
        about = {**settings, "trained": settings["family"] != "untrained"}
        yield {**about, "seed": result.config.seed}, result, data


@lru_cache(maxsize=1)
def _load(dataset: str, data_dir: str | None) -> Dataset:
    if dataset == "digits":
        return load_digits()
    if dataset == "mnist":
        return load_mnist(data_dir)
    raise ValueError(f"expected dataset 'mnist' or 'digits', got {dataset!r}")


def _config(settings: Mapping[str, Any], seed: int, dataset: str, epochs: int) -> TrainConfig:
    penalties = {name: settings[name] for name in ("dropout", "l1", "l2")}
    return TrainConfig(dataset=dataset, seed=seed, max_epochs=epochs, **penalties)


def _untrained(seed: int, count: int, data: Dataset) -> Iterator[TrainResult]:
    for number in range(seed, seed + count):
        config = TrainConfig(dataset=data.name, seed=number, max_epochs=0, l2=0.0)
        weights = Seeds.of(number).weights
        model = mlp(data.n_features, config.hidden, data.n_classes, seed=weights).eval()
        yield TrainResult(model, config, (), float("nan"), float("nan"))
