"""A whole data set run under interventions whose donors come from all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infoflow._arguments import door, text
from infoflow._replay.edits import Edit, donor_edit
from infoflow._replay.pairs import Pairs, make_pairs
from infoflow._replay.run import Run
from infoflow._shapes import Float, shaped
from infoflow.interventions.bind import edit_for
from infoflow.interventions.kinds import Done, Intervention
from infoflow.recording import Recording
from infoflow.units import UnitsLike, as_array


@door(observe=text)
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
    observe = rec.units.site(observe).name
    edits, pairs = _edits(rec, source, seed)
    run = Run(rec, edits, pairs.contexts, (observe,))
    found = [seen[observe] for _, seen in run.chunks(replay=replay, progress=progress)]
    return found[0] if len(found) == 1 else torch.cat(found)


class _Bound(dict[Any, Any]):
    """What calls ask for again and again: the pairs of a seed, the units of a source."""

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """What was made before under this key."""
        if key not in self:
            if len(self) >= _KEPT:
                self.clear()
            self[key] = make()
        return self[key]


_KEPT = 16


def _edits(rec: Recording, source: Any, seed: int) -> tuple[dict[str, Edit], Pairs]:
    """What is done at each layer, and the donors of units that are only named."""
    given: Mapping[Any, Any] = source if isinstance(source, Mapping) else {}
    asked: dict[str, Any] = {
        n: d for n, d in given.items() if isinstance(d, Intervention) or callable(d)
    }
    edits: dict[str, Edit] = {}
    for layer, done in asked.items():
        name, n = rec.units.site(layer).name, len(rec.units.indices(layer))
        edits[name] = edit_for(
            done, name, n, rec.device, rec=rec, activations=rec.filled(name),
            contexts=np.arange(len(rec)),
        )  # fmt: skip
    bound, make = rec.kept(_Bound), partial(_shuffled, rec, seed)
    pairs = bound.once(seed, make) if isinstance(seed, int) else make()
    plain: Any = {n: as_array(units) for n, units in given.items() if n not in asked}
    if plain or not asked:
        if not isinstance(source, Mapping):
            plain = rec.units.indices(source) if isinstance(source, str) else as_array(source)
        arrays = plain if isinstance(plain, dict) else {None: plain}
        key = tuple((n, a.dtype.str, a.shape, a.tobytes()) for n, a in arrays.items())
        for name, inside in bound.once(key, partial(_bound, rec, plain)).items():
            edits[name] = donor_edit(rec, name, inside, pairs)
    return edits, pairs


def _bound(rec: Recording, units: UnitsLike) -> dict[str, Tensor]:
    by_layer = rec.units.by_layer(units)
    return {name: torch.as_tensor(own, device=rec.device) for name, own in by_layer.items()}


def _shuffled(rec: Recording, seed: int) -> Pairs:
    donors = np.random.default_rng(seed).permutation(len(rec))
    return make_pairs(rec, donors, np.arange(len(rec)))
