"""A whole data set run under interventions whose donors come from all of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infoflow._replay.edits import Edit, donor_edit
from infoflow._replay.pairs import make_pairs
from infoflow._replay.run import Run
from infoflow._shapes import Float, shaped
from infoflow.interventions.bind import edit_for
from infoflow.interventions.kinds import Done, Intervention
from infoflow.recording import Recording
from infoflow.units import UnitsLike


@shaped
def counterfactual(
    rec: Recording,
    source: UnitsLike | Mapping[str, Done],
    *,
    observe: str,
    seed: int = 0,
    replay: bool = True,
    progress: bool = False,
) -> Float[Tensor, "samples units *positions"]:
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
    asked, plain = _by_layer(rec, source)
    contexts = np.arange(len(rec))
    edits: dict[str, Edit] = {}
    for name, done in asked.items():
        n = len(rec.units.indices(name))
        edits[name] = edit_for(
            done, name, n, rec.device, rec=rec, activations=rec.filled(name), contexts=contexts
        )
    pairs = make_pairs(rec, np.random.default_rng(seed).permutation(len(rec)), contexts)
    for name, units in plain.items():
        edits[name] = donor_edit(rec, name, torch.as_tensor(units, device=rec.device), pairs)
    run = Run(rec, edits, pairs.contexts, (observe,))
    found = [seen[observe] for _, seen in run.chunks(replay=replay, progress=progress)]
    return found[0] if len(found) == 1 else torch.cat(found)


def _by_layer(rec: Recording, source: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What is asked for at each layer, and the units of others, which are shuffled."""
    if not isinstance(source, Mapping):
        return {}, rec.units.by_layer(source)
    asked = {n: d for n, d in source.items() if isinstance(d, Intervention) or callable(d)}
    plain = {name: units for name, units in source.items() if name not in asked}
    return asked, rec.units.by_layer(plain) if plain or not asked else {}
