"""Contexts run with the source's values taken from donors; a whole data set run that way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infoflow._arguments import door, text
from infoflow._replay.edits import BatchedEdits, Edit, InTurn, PutDonors, donor_edit, segments
from infoflow._replay.run import Run
from infoflow._replay.swap import Pairs, grid_of, make_pairs
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
    edits, pairs = _asked(rec, source, seed)
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


def _asked(rec: Recording, source: Any, seed: int) -> tuple[dict[str, Edit], Pairs]:
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


def resample(
    rec: Recording,
    source: UnitsLike,
    donors: np.ndarray,
    contexts: np.ndarray,
    observe: Sequence[str],
    *,
    values: Mapping[str, Tensor] | None = None,
    held: np.ndarray | None = None,
    replay: bool = True,
    progress: bool = False,
) -> Iterator[tuple[slice, dict[str, Tensor]]]:
    """Run context row `contexts[r]` with the source units at their values on row `donors[r]`.

    Args:
        rec: A recording.
        source: The units to set, in every layer they lie in, from the same donor: units of the
            source downstream of others keep the donor's values, so nothing leaks through them.
        donors: `(R,)` rows of the data set.
        contexts: `(R,)` rows of the data set.
        observe: Names of recorded layers.
        values: Per layer of the source `(M, units[, positions])`; `donors` are then rows of these,
            and the source takes values that need not occur on any sample.
        held: Flat indices of units, none of the source, that stay at what they are on the context
            row, whatever the source does.
        replay: Compute only what lies between the first intervened and the last observed layer,
            from the recording; False runs the whole model every time, which is slower and gives
            the same. Where replay does not reproduce the recording, a warning says so and full
            passes are run.
        progress: Show a progress bar.

    Yields:
        A range of rows of the R runs and, per observed layer, `(rows, units[, positions])` on the
        CPU. Nothing of size R is ever held.

    Raises:
        KeyError: A layer that was not recorded.
        ValueError: Source units empty, repeated or out of range; donors and contexts that differ
            in number or are no rows of the data set.
    """
    if values is None and held is None:
        each = resample_each(
            rec, [source], donors, contexts, observe, replay=replay, progress=progress
        )
        yield from ((rows, seen) for _, rows, seen in each)
        return
    for name in observe:
        rec.units.site(name)
    edits, pairs = _edits(rec, source, donors, contexts, values, held)
    run = Run(rec, edits, pairs.contexts, tuple(observe), pairs.grid)
    yield from run.chunks(replay=replay, progress=progress)


def _edits(
    rec: Recording,
    source: UnitsLike,
    donors: np.ndarray,
    contexts: np.ndarray,
    values: Mapping[str, Tensor] | None,
    held: np.ndarray | None,
) -> tuple[dict[str, Edit], Pairs]:
    """The source at its donors' values, the held units at their contexts'."""
    own = make_pairs(rec, contexts, contexts)
    pairs = (
        make_pairs(rec, donors, contexts)
        if values is None
        else replace(own, donor_rows=donors, grid=grid_of(donors, contexts))
    )
    found: dict[str, list[Edit]] = {}
    for name, inside in rec.units.by_layer(source).items():
        put = rec.filled(name) if values is None else values[name]
        index = torch.as_tensor(inside, device=rec.device)
        found.setdefault(name, []).append(PutDonors(put, index, pairs, None))
    if held is not None and len(held):
        for name, inside in rec.units.by_layer(held).items():
            index = torch.as_tensor(inside, device=rec.device)
            found.setdefault(name, []).append(PutDonors(rec[name], index, own, None))
    return {name: InTurn(edits) for name, edits in found.items()}, pairs


def resample_each(
    rec: Recording,
    sources: Sequence[UnitsLike],
    donors: np.ndarray,
    contexts: np.ndarray,
    observe: Sequence[str],
    *,
    replay: bool = True,
    progress: bool = False,
) -> Iterator[tuple[int, slice, dict[str, Tensor]]]:
    """`resample` of every source with the same donors and contexts, several in one batch.

    Where one source's rows do not fill a batch, calls of the model's layers, not their
    arithmetic, take the time; sources that lie in the same layers then share the batch.

    Args:
        rec: A recording.
        sources: What to set, one after the other.
        donors, contexts, observe, replay, progress: As for `resample`.

    Yields:
        The number of a source, a range of its rows and what was observed. Every row of every
        source comes exactly once, a source's rows in order; sources come in the order given.

    Raises:
        KeyError, ValueError: As `resample` does.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> rec = ifl.record(net, ["1", "2"], torch.randn(10, 4))
        >>> rows = np.arange(10)
        >>> [(n, seen["2"].shape[0]) for n, _, seen in
        ...  resample_each(rec, [[0], [1, 2]], rows[::-1], rows, ["2"])]
        [(0, 10), (1, 10)]
    """
    by_layer = [rec.units.by_layer(source) for source in sources]
    watched = {name: rec.units.site(name).name for name in observe}
    pairs, size = make_pairs(rec, donors, contexts), len(contexts)
    for names, members in groupby(enumerate(by_layer), key=lambda item: tuple(item[1])):
        numbers, units = zip(*members, strict=True)
        edits: dict[str, Edit] = {
            name: BatchedEdits(rec, name, [found[name] for found in units], pairs) for name in names
        }
        folded = pairs.contexts.repeat(len(numbers))
        run = Run(rec, edits, folded, tuple(watched.values()), pairs.grid)
        for rows, seen in run.chunks(replay=replay, progress=progress):
            for at, own, part in segments(rows, size):
                yield numbers[at], own, {n: seen[watched[n]][part] for n in watched}
