"""Many interventions in one batch: sources one after the other along the rows of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infoflow._replay.edits import Edit, donor_edit
from infoflow._replay.lazy import LazyTensor, Thunk
from infoflow._replay.pairs import Pairs
from infoflow._replay.tables import Gather
from infoflow.recording import Recording
from infoflow.site import Site


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
class BatchedEdits:
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
        if len(new) > 1 and all(isinstance(piece, LazyTensor) for piece in new):
            return LazyTensor(Joined([piece._thunk for piece in new]))
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
    if isinstance(value, LazyTensor) and isinstance(value._thunk, Gather):
        source = value._thunk
        return LazyTensor(Gather(source.table, source.index[part]))
    return site.with_tensor(value, site.tensor(value)[part])


@dataclass(frozen=True, eq=False)
class Joined(Thunk):
    """Thunk of `LazyTensor`: several, one after the other."""

    parts: Sequence[Thunk]

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
