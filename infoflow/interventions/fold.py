"""Many interventions in one batch: sources one after the other along the rows of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infoflow.interventions.bind import donor_edit
from infoflow.interventions.edits import Edit
from infoflow.interventions.pairs import Pairs, make_pairs, row_lists
from infoflow.interventions.rows import Rows, Source
from infoflow.interventions.run import Run
from infoflow.interventions.tables import Gather
from infoflow.recording import Recording, show_progress
from infoflow.site import Site
from infoflow.units import UnitsLike


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
    for name in observe:
        rec.units.site(name)
    donors, contexts = row_lists(rec, donors, contexts)
    pairs, size = make_pairs(rec, donors, contexts), len(contexts)
    groups = groupby(enumerate(by_layer), key=lambda item: tuple(item[1]))
    for names, members in show_progress(groups, progress, "interventions"):
        numbers, units = zip(*members, strict=True)
        edits: dict[str, Edit] = {
            name: Fold(rec, name, [found[name] for found in units], pairs) for name in names
        }
        folded = pairs.contexts.repeat(len(numbers))
        run = Run(rec, edits, folded, tuple(observe), pairs.grid)
        for rows, seen in run.chunks(replay=replay):
            for at, own, part in segments(rows, size):
                yield numbers[at], own, {name: values[part] for name, values in seen.items()}


def segments(rows: slice, size: int) -> Iterator[tuple[int, slice, slice]]:
    """Which sources `rows` of a run hold: number, rows of that source, rows of the batch.

    Examples:
        >>> list(segments(slice(5, 12), 10))
        [(0, slice(5, 10, None), slice(0, 5, None)), (1, slice(0, 2, None), slice(5, 7, None))]
    """
    start = rows.start
    while start < rows.stop:
        number, first = divmod(start, size)
        stop = min(rows.stop, (number + 1) * size)
        yield (
            number,
            slice(first, stop - number * size),
            slice(start - rows.start, stop - rows.start),
        )
        start = stop


@dataclass(eq=False)
class Fold:
    """The edit of a batch that holds several sources.

    Attributes:
        rec: The recording.
        name: The site.
        units: Indices within the site, source by source.
        pairs: Donors and contexts of one source, the same for all.
    """

    rec: Recording
    name: str
    units: Sequence[np.ndarray]
    pairs: Pairs
    _open: dict[int, Edit] = field(default_factory=dict)

    def __call__(self, site: Site, value: Any, call: int, rows: slice) -> Any:
        size = len(self.pairs.donor_rows)
        new = []
        for number, own, part in segments(rows, size):
            edited = self._edit(number)(site, _piece(site, value, part), call, own)
            new.append(site.tensor(edited))
        self._close_before(rows.start // size)
        if len(new) > 1 and all(isinstance(piece, Rows) for piece in new):
            return Rows(Joined([piece._source for piece in new]))
        return site.with_tensor(value, new[0] if len(new) == 1 else torch.cat(new))

    def _edit(self, number: int) -> Edit:
        if number in self._open:
            return self._open[number]
        index = torch.as_tensor(self.units[number], device=self.rec.device)
        edit = donor_edit(self.rec, self.name, index, self.pairs)
        if number >= min(self._open, default=0):  # a look back at a finished source is not kept
            self._open[number] = edit
        return edit

    def _close_before(self, number: int) -> None:
        """What finished sources had computed is let go: memory stays flat in their number."""
        for done in [n for n in self._open if n < number]:
            del self._open[done]


def _piece(site: Site, value: Any, part: slice) -> Any:
    """Some of the batch's rows of what a layer returned, still ungathered if they are."""
    if isinstance(value, Rows) and isinstance(value._source, Gather):
        source = value._source
        return Rows(Gather(source.table, source.index[part], source.used))
    return site.with_tensor(value, site.tensor(value)[part])


@dataclass(frozen=True, eq=False)
class Joined:
    """Source of `Rows`: several, one after the other."""

    parts: Sequence[Source]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return (sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:])

    @property
    def like(self) -> Tensor:
        """Carries type and device."""
        return self.parts[0].like

    def compute(self) -> Tensor:
        """The parts, joined."""
        return torch.cat([part.compute() for part in self.parts])

    def wanted(self) -> None:
        """Tell the parts."""
        for part in self.parts:
            part.wanted()

    def apply(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Tensor | None:
        """Joined from the parts' shorter ways, if all have one."""
        found = []
        for part in self.parts:
            short = part.apply(function, args, kwargs)
            if short is None:
                return None
            found.append(short)
        return torch.cat(found)
