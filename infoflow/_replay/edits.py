"""What an intervention does to a site's activations in one pass; many sources in one batch."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from infoflow._replay.prepare import Replays
from infoflow._replay.swap import Contributions, Pairs, Swap
from infoflow._replay.tables import Gather, LazyTensor, Thunk
from infoflow.recording import Recording
from infoflow.site import Site


class Edit(Protocol):
    """Replaces what a layer returned, for the rows of one chunk of a run."""

    def __call__(self, site: Site, value: Any, call: int, rows: slice) -> Any:
        """The value that takes its place; `rows` says which of the run's rows are in the batch."""
        ...


@dataclass(eq=False)
class PutDonors:
    """Units take the values they had on their row's donor.

    Attributes:
        values: The site's activations on the whole data set, `(K, units[, positions])`.
        inside: Indices of units within the site.
        pairs: Donor and context of every row of the run.
        kept: For results that outlive the run; None: the values are not those that a normal run
            gives, so nothing can be taken from it.
    """

    values: Tensor
    inside: Tensor
    pairs: Pairs
    kept: dict[Any, Any] | None
    _parts: Contributions | None = None
    _put: Tensor | None = None

    def __call__(self, site: Site, value: Any, call: int, rows: slice) -> Any:
        if isinstance(value, LazyTensor) and isinstance(value._thunk, Gather):
            swapped = self._swap(site, value._thunk, rows)
            if swapped is not None:
                return swapped
        donors = self.pairs.donors[rows]
        if self._put is None and 8 * len(donors) >= len(self.values):  # for fewer a copy is dear
            self._put = self._units_of(self.values)
        if self._put is None:
            new = self._units_of(self.values.index_select(0, donors.to(self.values.device)))
        else:
            new = self._put.index_select(0, donors)
        return site.write(value, self.inside, of_call(site, new, value, call))

    def _units_of(self, values: Tensor) -> Tensor:
        return values.index_select(1, self.inside.to(values.device)).to(self.inside.device)

    def _swap(self, site: Site, source: Gather, rows: slice) -> Tensor | None:
        table = source.table
        plain = site.basis is None and site.heads is None and site.positions is None
        if (
            self.kept is None
            or not plain
            or table.dim
            or table.per > 1
            or site.unit_dim is None
            or site.call == "all"
        ):
            return None
        if self._parts is None:
            self._parts = Contributions(table, site.unit_dim, self.inside, self.pairs, self.kept)
        swap = Swap(self._parts, rows)
        return swap.compute() if self._parts.whole else LazyTensor(swap)


def donor_edit(
    rec: Recording, name: str, index: Tensor, pairs: Pairs, activations: Tensor | None = None
) -> Edit:
    """Units of a recorded site at their donors' values."""
    kept = rec.kept(Replays).affine.setdefault(name, {})
    values = rec.filled(name) if activations is None else activations
    # replay's own tables hold what the model gave, at padded positions too
    return PutDonors(values, index, pairs, kept if rec.real(name) is None else None)


@dataclass(frozen=True, eq=False)
class PutValues:
    """Units take fixed values: `()`, `(u,)` or `(u, positions)`; or, with `per_sample`, one more
    dimension in front for the rows of each batch."""

    inside: Tensor
    values: Tensor
    per_sample: bool = False

    def __call__(self, site: Site, value: Any, call: int, rows: slice) -> Any:
        lift = self.values.ndim == 2 and not self.per_sample
        new = self.values[None] if lift else self.values
        return site.write(value, self.inside, of_call(site, new, value, call))


@dataclass(frozen=True, eq=False)
class Transform:
    """Units take what a function makes of them."""

    inside: Tensor
    function: Callable[[Tensor], Tensor]

    def __call__(self, site: Site, value: Any, call: int, rows: slice) -> Any:
        new = self.function(site.read(value).index_select(1, self.inside))
        return site.write(value, self.inside, new)


@dataclass(eq=False)
class AddNoise:
    """Gaussian noise, drawn row by row from one stream per layer and call.

    Attributes:
        inside: Indices of units within the site.
        std: Standard deviation.
        seed: Seed of the streams.
    """

    inside: Tensor
    std: float
    seed: int
    _drawn: dict[int, tuple[slice, np.ndarray, np.random.Generator]] = field(default_factory=dict)

    def __call__(self, site: Site, value: Any, call: int, rows: slice) -> Any:
        old = site.read(value).index_select(1, self.inside)
        drawn = torch.from_numpy(self._draw(site, call, rows, old.shape[1:]))
        noise = drawn.to(device=old.device, dtype=old.dtype)
        return site.write(value, self.inside, old + self.std * noise)

    def _draw(self, site: Site, call: int, rows: slice, shape: torch.Size) -> np.ndarray:
        """The rows' noise; rows of the last batch get what they had."""
        last, noise, stream = self._drawn.get(call, (slice(-1, -1), None, None))
        if noise is not None and last.start <= rows.start and rows.stop <= last.stop:
            return noise[rows.start - last.start : rows.stop - last.start]
        if stream is None or last.stop != rows.start:
            stream = np.random.default_rng([self.seed, zlib.crc32(site.name.encode()), call])
            stream.standard_normal((rows.start, *shape))
        noise = stream.standard_normal((rows.stop - rows.start, *shape))
        self._drawn[call] = (rows, noise, stream)
        return noise


@dataclass(frozen=True, eq=False)
class InTurn:
    """Edits of one site, one after the other."""

    edits: Sequence[Edit]

    def __call__(self, site: Site, value: Any, call: int, rows: slice) -> Any:
        for edit in self.edits:
            value = edit(site, value, call, rows)
        return value


@dataclass(frozen=True, eq=False)
class AlongBasis:
    """An edit of coordinates along a basis of the site's units."""

    basis: Any
    edit: Edit

    def __call__(self, site: Site, value: Any, call: int, rows: slice) -> Any:
        return self.edit(replace(site, basis=self.basis), value, call, rows)


def of_call(site: Site, new: Tensor, value: Any, call: int) -> Tensor:
    """The positions of `new` `(batch, u[, positions])` that belong to one call of the layer."""
    if site.call != "all" or new.ndim < 3:
        return new
    shape = site.read(value).shape
    width = 1 if len(shape) == 2 else shape[2]
    part = new[:, :, call * width : (call + 1) * width]
    return part.squeeze(2) if len(shape) == 2 else part


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
