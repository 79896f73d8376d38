"""One task of the study: train a stack of networks, and measure the modularity of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch.nn.functional import cross_entropy

from experiments.common.layer_rows import classifier_facts, measure_modularity
from experiments.lange2022.networks import LAYERS, task_networks
from infoflow.data import Dataset
from infoflow.recording import record
from infoflow.train import TrainResult

EXAMPLES = {"seed": 0, "layer": "fc1", "measure": "cov_norm", "dropout": (0.05, 0.25, 0.5, 0.7)}
"""The matrices shown in figure 3."""


def measure_networks(
    first_seed: int,
    networks: Sequence[Mapping[str, Any]],
    *,
    dataset: str,
    data_dir: str | None = None,
    max_epochs: int = 500,
    n_steps: int = 5000,
) -> list[dict[str, Any]]:
    """Rows of all networks of one seed: one a network, layer and measure; docs/lange2022.md lists
    the columns.

    Args:
        first_seed, networks, dataset, data_dir, max_epochs: As for `task_networks`.
        n_steps: Monte Carlo steps of the paper's clustering.
    """
    found = task_networks(
        first_seed, networks, dataset=dataset, data_dir=data_dir, max_epochs=max_epochs
    )
    return [row for network in found for row in _network_rows(*network, n_steps)]


def _network_rows(
    about: dict[str, Any], result: TrainResult, data: Dataset, n_steps: int
) -> Iterator[dict[str, Any]]:
    rec = record(result.model, list(LAYERS), data.test_x, data.test_y, loss=cross_entropy)
    facts = {
        **about,
        "epochs": result.epochs,
        "validation_accuracy": result.validation_accuracy if about["trained"] else None,
        **classifier_facts(rec),
    }
    keep = [(EXAMPLES["layer"], EXAMPLES["measure"])] if _is_example(about) else []
    for row in measure_modularity(rec, n_steps=n_steps, seed=result.config.seed, keep=keep):
        yield {**facts, **row}


def _is_example(about: Mapping[str, Any]) -> bool:
    dropout = about["family"] == "dropout" and about["dropout"] in EXAMPLES["dropout"]
    return dropout and about["seed"] == EXAMPLES["seed"]
