"""One task of the study: train a stack of networks, and measure the modularity of each."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from infoflow.data import Dataset, load_digits, load_mnist
from infoflow.models import mlp
from infoflow.modularity import Modules, find_modules
from infoflow.partition import Partition
from infoflow.record import Recording, record
from infoflow.similarity import MEASURES, similarities
from infoflow.stacked import train_stacked
from infoflow.train import Seeds, TrainConfig, TrainResult

LAYERS = ("fc1", "fc2")
NEAR_ZERO = 1e-3  # "sparsity is the fraction of weights in [-1e-3, 1e-3]" (figure S1)
ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"
EXAMPLES = {"seed": 0, "layer": "fc1", "measure": "cov_norm", "dropout": (0.05, 0.25, 0.5, 0.7)}


def measure_networks(
    seed: int,
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
        seed: Of the networks; untrained ones count up from it.
        networks: Settings of each (`asdict(Setting)`); either all untrained or none.
        dataset: `"mnist"` or `"digits"`.
        data_dir: Folder with MNIST's files; None reads `INFOFLOW_DATA`.
        max_epochs: As in `TrainConfig`.
        n_steps: Monte Carlo steps of the paper's clustering.
    """
    torch.set_num_threads(1)
    data = _load(dataset, data_dir)
    if networks[0]["family"] == "untrained":
        trained = _untrained(seed, len(networks), data)
    else:
        configs = [_config(n, seed, dataset, max_epochs) for n in networks]
        trained = train_stacked(configs, data, stack_size=len(configs))
    rows: list[dict[str, Any]] = []
    for settings, result in zip(networks, trained, strict=True):
        about = {**settings, "trained": settings["family"] != "untrained"}
        rows += _network_rows({**about, "seed": result.config.seed}, result, data, n_steps)
    return rows


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


def _network_rows(
    about: dict[str, Any], result: TrainResult, data: Dataset, n_steps: int
) -> Iterator[dict[str, Any]]:
    rec = record(result.model, list(LAYERS), data.test_x, data.test_y, loss=cross_entropy)
    facts = {
        **about,
        "epochs": result.epochs,
        "validation_accuracy": result.validation_accuracy if about["trained"] else None,
        **_performance(rec),
        **_weights(result.model),
    }
    for layer in LAYERS:
        found = similarities(rec, MEASURES, layers=layer)
        for measure in MEASURES:
            row = {**facts, "layer": layer, "measure": measure}
            row |= _clustering(found[measure], n_steps, result.config.seed)
            yield {**row, "matrix": _matrix(row, found[measure])}


def _performance(rec: Recording) -> dict[str, float]:
    """Accuracy and mean cross-entropy (nats) on the test split."""
    targets = rec.targets
    if targets is None:
        raise ValueError("expected a recording with targets")
    correct = rec.outputs.argmax(1) == targets
    return {
        "test_accuracy": float(correct.double().mean()),
        "test_loss": float(cross_entropy(rec.outputs.double(), targets)),
    }


def _weights(model: nn.Module) -> dict[str, float]:
    """Σ|W|, sqrt(ΣW²) and the share near zero, over all weight matrices."""
    flat = torch.cat([p.detach().double().flatten() for p in model.parameters() if p.ndim == 2])
    return {
        "l1_norm": float(flat.abs().sum()),
        "l2_norm": float(flat.square().sum().sqrt()),
        "sparsity": float((flat.abs() <= NEAR_ZERO).double().mean()),
    }


def _clustering(S: np.ndarray, n_steps: int, seed: int) -> dict[str, Any]:
    """Q* by the paper's algorithm and by our default one, and by each half of the paper's.

    A layer in which no unit resembles another (all dead) has no modules: None.
    """
    off = S - np.diag(np.diag(S))
    if not off.any():
        names = ("q_star", "n_effective", "n_modules", "q_default", "n_effective_default")
        more = ("q_spectral", "q_monte_carlo", "q_monte_carlo_1000")
        return dict.fromkeys(names + more) | _labels(None, None)
    paper = find_modules(S, method="lange2022", n_steps=n_steps, seed=seed)
    default = find_modules(S, n_steps=n_steps, seed=seed)
    half = {
        "q_spectral": find_modules(S, method="spectral").q,
        "q_monte_carlo": find_modules(S, method="monte_carlo", n_steps=n_steps, seed=seed).q,
        "q_monte_carlo_1000": find_modules(S, method="monte_carlo", n_steps=1000, seed=seed).q,
    }
    return {
        "q_star": paper.q,
        "n_effective": paper.n_effective,
        "n_modules": paper.n_modules,
        "q_default": default.q,
        "n_effective_default": default.n_effective,
        **half,
        **_labels(paper, default),
    }


def _labels(paper: Modules | None, default: Modules | None) -> dict[str, str]:
    return {
        "partition": encode(paper.partition) if paper else "",
        "partition_default": encode(default.partition) if default else "",
    }


def encode(partition: Partition) -> str:
    """A partition as text, one letter a unit, `.` for unused.

    Examples:
        >>> encode(Partition([0, 0, 1, -1]))
        '001.'
        >>> decode('001.')
        Partition(4 units in 2 modules of 2, 1, 1 unused)
    """
    return "".join("." if label < 0 else ALPHABET[label] for label in partition.labels)


def decode(text: str) -> Partition:
    """The partition that `encode` wrote."""
    return Partition([-1 if letter == "." else ALPHABET.index(letter) for letter in text])


def _matrix(row: Mapping[str, Any], S: np.ndarray) -> str:
    """A matrix that figure 3 shows, its upper triangle in 256 levels as text; "" for others."""
    shown = all(row[name] == EXAMPLES[name] for name in ("seed", "layer", "measure"))
    if not shown or row["family"] != "dropout" or row["dropout"] not in EXAMPLES["dropout"]:
        return ""
    upper = S[np.triu_indices(len(S), 1)]
    levels = np.round(255 * upper / max(upper.max(), 1e-12)).astype(np.uint8)
    return base64.b64encode(levels.tobytes()).decode("ascii")
