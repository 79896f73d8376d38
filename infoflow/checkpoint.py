"""Checkpoints: a trained network and its configuration in one safetensors file, without pickle."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from infoflow._arguments import door, instance
from infoflow._files import digest, write_atomically
from infoflow.models import mlp
from infoflow.train import Epoch, TrainConfig, TrainResult

_FORMAT = "infoflow.checkpoint.2"  # with a digest


@door(result=instance(TrainResult, "a TrainResult, as train returns"))
def save_checkpoint(result: TrainResult, path: str | Path) -> None:
    """Write weights, configuration and history into one safetensors file (no pickle).

    The file appears whole or not at all, and equal results give equal bytes.

    Raises:
        OSError: The file cannot be written; an earlier one at `path` is then untouched.
    """
    from safetensors.torch import save

    path = Path(path)
    about = {
        "format": _FORMAT,
        "config": asdict(result.config),
        "history": [list(epoch) for epoch in result.history],
        "test_accuracy": result.test_accuracy,
        "validation_accuracy": result.validation_accuracy,
    }
    weights = {name: w.cpu().contiguous() for name, w in result.model.state_dict().items()}
    described = {**about, "digest": _digest(about, weights)}
    # one key only: safetensors writes several in no fixed order
    content = save(weights, metadata={"infoflow": json.dumps(described, sort_keys=True)})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)


@door()
def load_checkpoint(path: str | Path) -> TrainResult:
    """The result that `save_checkpoint` wrote, its model on the CPU and in eval mode.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not a checkpoint of infoflow, damaged, or its configuration does not fit its
            weights.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no checkpoint at {path}; save_checkpoint(result, path) writes one"
        )
    about, weights = _read_checkpoint(path)
    try:
        config = TrainConfig(**about["config"])
        history = tuple(Epoch(*map(float, epoch)) for epoch in about["history"])
        accuracies = float(about["test_accuracy"]), float(about["validation_accuracy"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the configuration or history in {path} is invalid: {error}") from error
    model = _model_for(config, weights, path)
    if about.pop("digest", None) != _digest(about, weights):
        raise ValueError(f"{path} is damaged (not as written); train and save it again")
    return TrainResult(model, config, history, *accuracies)


def _read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What the file says about itself, and its weights."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(
            f"{path} is no intact safetensors file ({error}); train and save it again"
        ) from error
    foreign = f"{path} is not a checkpoint of infoflow: expected format {_FORMAT!r} in its metadata"
    try:
        about = json.loads(metadata["infoflow"])
    except (KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{foreign}, got keys {sorted(metadata)}") from error
    if not isinstance(about, dict) or about.get("format") != _FORMAT:
        got = about.get("format") if isinstance(about, dict) else about
        raise ValueError(f"{foreign}, got {got!r}")
    return about, weights


def _digest(about: dict[str, Any], weights: dict[str, Tensor]) -> str:
    shapes = {name: [str(w.dtype), *w.shape] for name, w in sorted(weights.items())}
    return digest({**about, "weights": shapes}, *(weights[n].numpy().tobytes() for n in shapes))


def _model_for(config: TrainConfig, weights: dict[str, Tensor], path: Path) -> nn.Sequential:
    """The network of `config` with these weights."""
    shapes = {name: tuple(w.shape) for name, w in weights.items()}
    first, last = shapes.get("fc1.linear.weight", ()), shapes.get("out.weight", ())
    misfit = f"the configuration in {path} does not fit its weights: "
    if len(first) != 2 or len(last) != 2:
        raise ValueError(misfit + f"expected fc1.linear.weight and out.weight, got {shapes}")
    sizes = (first[1], *config.hidden, last[0])
    if sum(a * b for a, b in pairwise(sizes)) > sum(w.numel() for w in weights.values()):
        raise ValueError(misfit + f"hidden {config.hidden} needs more than there are")
    model = mlp(first[1], config.hidden, last[0], config.dropout, seed=0)
    expected = {name: tuple(w.shape) for name, w in model.state_dict().items()}
    differing = sorted(
        name for name in expected.keys() | shapes if expected.get(name) != shapes.get(name)
    )
    if differing:
        name = differing[0]
        raise ValueError(
            misfit + f"hidden {config.hidden} makes {name} {expected.get(name, 'absent')}, "
            f"got {shapes.get(name, 'absent')}"
        )
    model.load_state_dict(weights)
    return model.eval()
