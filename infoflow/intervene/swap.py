"""Rows of a recorded layer with some units at their donors' values, and shorter ways through the
operation that comes next.

An affine map of such a row is a sum: what the context's other units contribute, and what the
donor's units contribute. Each part depends on one sample only, so it is computed once per sample
and not once per pair.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from infoflow.intervene.tables import Table

_CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)
AffineMap = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(activations, weight, bias) -> result; linear in the first two together with the third."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Which donor goes with which context, row by row.

    Attributes:
        donors, contexts: `(R,)` rows of the data set, on the model's device.
        grid: k, if the rows are every donor with the same k contexts, donor by donor; or 0.
    """

    donors: Tensor
    contexts: Tensor
    grid: int

    def __getitem__(self, rows: slice) -> Pairs:
        return Pairs(self.donors[rows], self.contexts[rows], self.grid)

    def __len__(self) -> int:
        return len(self.donors)


@dataclass(eq=False)
class Contributions:
    """The two parts of an affine map of every (donor, context) pair of a whole run.

    Attributes:
        table: The layer on the whole data set, `(K, ...)`.
        unit_dim: Its unit dimension.
        units: Which units come from the donor.
        pairs: All pairs of the run.
        shared: Kept for as long as the recording: results for the unchanged layer.
    """

    table: Table
    unit_dim: int
    units: Tensor
    pairs: Pairs
    shared: dict[Any, Tensor]
    _parts: dict[Any, tuple[Tensor, Tensor]] = field(default_factory=dict)
    _positions: tuple[Tensor, Tensor] | None = None
    _unique: tuple[Tensor, Tensor] | None = None

    def _index(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Distinct donors and contexts, and where each pair finds its own among them."""
        if self._unique is None or self._positions is None:
            donors, at_donor = torch.unique(self.pairs.donors, return_inverse=True)
            contexts, at_context = torch.unique(self.pairs.contexts, return_inverse=True)
            self._unique, self._positions = (donors, contexts), (at_donor, at_context)
        return self._unique, self._positions

    @cached_property
    def put(self) -> Tensor:
        """What the units are on every sample."""
        return self.table.values.index_select(self.unit_dim, self.units)

    @property
    def pays(self) -> bool:
        """Samples are so few against pairs that contributions sample by sample are cheaper."""
        (donors, contexts), _ = self._index()
        return 2 * (len(donors) + len(contexts)) <= len(self.pairs)

    def through(
        self, apply: AffineMap, weight: Tensor, bias: Tensor | None, rows: slice, key: Any
    ) -> Tensor:
        """The affine map of those rows."""
        (donors, contexts), (at_donor, at_context) = self._index()
        if key not in self._parts:
            rest = self.table.values.index_select(0, contexts)
            rest.index_fill_(self.unit_dim, self.units, 0.0)
            put = self.put.index_select(0, donors)
            narrow = weight.index_select(1, self.units)
            self._parts[key] = (apply(rest, weight, bias), apply(put, narrow, None))
        of_context, of_donor = self._parts[key]
        k = self.pairs.grid
        if k and rows.start % k == 0 and rows.stop % k == 0:
            outer = at_donor[rows.start : rows.stop : k]
            part = of_context.index_select(0, at_context[:k])
            return (of_donor.index_select(0, outer)[:, None] + part).flatten(0, 1)
        out = of_context.index_select(0, at_context[rows])
        return out.add_(of_donor.index_select(0, at_donor[rows]))

    def moved(self, weight: Tensor, bias: Tensor | None, rows: slice, key: Any) -> Tensor:
        """A linear map of those rows as an update of the normal run, of rank `len(units)`.

        In float64: where a context's activation is large and its donor's small, the update
        cancels most of the normal value.
        """
        if key not in self.shared:
            wide = None if bias is None else bias.double()
            self.shared[key] = F.linear(self.table.values.double(), weight.double(), wide)
        pairs = self.pairs[rows]
        put = self.put.double()
        change = put.index_select(0, pairs.donors) - put.index_select(0, pairs.contexts)
        narrow = weight.index_select(1, self.units).double()
        normal = self.shared[key].index_select(0, pairs.contexts)
        flat = normal.flatten(0, -2).addmm_(change.flatten(0, -2), narrow.T)
        return flat.to(weight.dtype).reshape(normal.shape)


@dataclass(frozen=True, eq=False)
class Swap:
    """Source of `Rows`: contexts' rows with `units` at the donors' values.

    Attributes:
        parts: The run that the rows belong to.
        rows: Which of its pairs.
    """

    parts: Contributions
    rows: slice

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return self.parts.table.shape(self.rows.stop - self.rows.start)

    @property
    def like(self) -> Tensor:
        """Carries type and device."""
        return self.parts.table.values

    def compute(self) -> Tensor:
        """The rows, units swapped by index: nothing else is read or written."""
        table, dim, units = self.parts.table.values, self.parts.unit_dim, self.parts.units
        pairs, k = self.parts.pairs[self.rows], self.parts.pairs.grid
        if k and len(pairs) % k == 0 and self.rows.start % k == 0:
            out = table.index_select(0, pairs.contexts[:k])
            out = out.expand(len(pairs) // k, *out.shape).flatten(0, 1)
        else:
            out = table.index_select(0, pairs.contexts)
        return out.index_copy_(dim, units, self.parts.put.index_select(0, pairs.donors))

    def apply(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Tensor | None:
        """`function` of the rows, if it is a linear map or convolution over the units."""
        parts = self.parts
        if function is not F.linear and function not in _CONVOLUTIONS:
            return None
        weight, bias = args[0], args[1] if len(args) > 1 else kwargs.get("bias")
        # parameters only: they outlive the run, so that their identity can stand for their values
        learned = isinstance(weight, nn.Parameter) and isinstance(bias, nn.Parameter | None)
        if not learned or parts.table.values.dtype not in (torch.float32, torch.float64):
            return None
        key = (function, id(weight), id(bias))
        if function is F.linear:
            last = parts.unit_dim == parts.table.values.ndim - 1
            if last and parts.pays:
                return parts.through(F.linear, weight, bias, self.rows, key)
            if last and 2 * len(parts.units) <= weight.shape[1]:
                return parts.moved(weight, bias, self.rows, key)
        elif parts.unit_dim == 1 and len(args) == 6 and args[5] == 1 and parts.pays:
            rest = args[
                2:
            ]  # stride, padding, dilation; one group: every unit reaches every channel
            return parts.through(
                lambda x, w, b: function(x, w, b, *rest), weight, bias, self.rows, (key, rest)
            )
        return None
