"""A whole data set run under interventions whose donors come from all of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infoflow.interventions.bind import edit_for
from infoflow.interventions.edits import Edit
from infoflow.interventions.kinds import Done, Intervention, Shuffle
from infoflow.interventions.run import Run
from infoflow.recording import Recording
from infoflow.units import UnitsLike


def counterfactual(
    rec: Recording,
    source: UnitsLike | Mapping[str, Done],
    *,
    observe: str,
    seed: int = 0,
    replay: bool = True,
    progress: bool = False,
) -> Tensor:
    """One pass over the data set with the source's tie to the input broken.

    Every sample runs with the source units set to what they were on another sample, drawn by one
    permutation of the whole data set; all source units, in whatever layers, take their values
    from the same donor. Other interventions can be asked for layer by layer.

    Args:
        rec: A recording.
        source: Flat unit indices, or `{layer: indices}`, to shuffle; or `{layer: intervention}`,
            such as `{"fc1": Resample([0, 3], within="targets"), "fc2": Zero([1])}`; or
            `{layer: function}` of the activations `(batch, units[, positions])`.
        observe: The layer whose activations to return.
        seed: Seed of the permutation of units given as indices.
        replay: As for `resample`.
        progress: Show a progress bar.

    Returns:
        Activations of `observe`, `(K, units[, positions])`, row k being context k.

    Raises:
        KeyError: A layer that was not recorded.
        ValueError: Source units empty, repeated or out of range.

    Source: "yardstick for modularity", section on counterfactual passes.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> rec = ifl.record(net, ["1", "2"], torch.randn(10, 4))
        >>> ifl.counterfactual(rec, {"1": [0]}, observe="2").shape
        torch.Size([10, 2])
    """
    rec.units.site(observe)
    contexts = np.arange(len(rec))
    edits: dict[str, Edit] = {}
    for name, done in _by_layer(rec, source, seed).items():
        n = len(rec.units.indices(name))
        edits[name] = edit_for(
            done, name, n, rec.device, rec=rec, activations=rec.filled(name), contexts=contexts
        )
    run = Run(rec, edits, torch.as_tensor(contexts, device=rec.device), (observe,))
    return torch.cat([seen[observe] for _, seen in run.chunks(replay=replay, progress=progress)])


def _by_layer(rec: Recording, source: Any, seed: int) -> dict[str, Any]:
    """What is done at each layer; units without more are shuffled, all by one permutation."""
    if not isinstance(source, Mapping):
        return {n: Shuffle(u, seed=seed) for n, u in rec.units.by_layer(source).items()}
    asked = {n: d for n, d in source.items() if isinstance(d, Intervention) or callable(d)}
    plain = {name: units for name, units in source.items() if name not in asked}
    shuffled = rec.units.by_layer(plain) if plain or not asked else {}
    return {**asked, **{n: Shuffle(u, seed=seed) for n, u in shuffled.items()}}
