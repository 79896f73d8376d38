"""Which donor goes with which context; rows of a recorded layer with some units at their donors'
values, and shorter ways through the operation that comes next.

An affine map of such a row is a sum: what the context's other units contribute, and what the
donor's units contribute. Each part depends on one sample only, so it is computed once per sample
and not once per pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from infoflow._replay.tables import Table, Thunk
from infoflow.recording import Recording


@dataclass(frozen=True, eq=False)
class Pairs:
    """Which donor goes with which context, row by row.

    Attributes:
        donor_rows, context_rows: `(R,)` rows of the data set.
        grid: k, if the rows are every donor with the same k contexts, donor by donor; or 0.
        n_samples: K, rows of the data set.
        device: The model's.
    """

    donor_rows: np.ndarray
    context_rows: np.ndarray
    grid: int
    n_samples: int
    device: torch.device

    @cached_property
    def donors(self) -> Tensor:
        """`(R,)` on the device."""
        return torch.as_tensor(self.donor_rows, device=self.device)

    @cached_property
    def contexts(self) -> Tensor:
        """`(R,)` on the device."""
        return torch.as_tensor(self.context_rows, device=self.device)

    @cached_property
    def _distinct(self) -> tuple[np.ndarray, np.ndarray]:
        k = self.grid or 1
        contexts = self.context_rows[: self.grid] if self.grid else self.context_rows
        return _present(self.donor_rows[::k], self.n_samples), _present(contexts, self.n_samples)

    @property
    def n_distinct(self) -> int:
        """Distinct donors and distinct contexts, counted together."""
        return sum(int(np.count_nonzero(there)) for there in self._distinct)

    @cached_property
    def distinct(self) -> tuple[Tensor, Tensor]:
        """Distinct donors and distinct contexts."""
        donors, contexts = map(np.flatnonzero, self._distinct)
        return torch.from_numpy(donors).to(self.device), torch.from_numpy(contexts).to(self.device)

    @cached_property
    def places(self) -> tuple[Tensor, Tensor]:
        """Where each row finds its donor and its context among the distinct ones."""
        donors, contexts = (np.cumsum(there) - 1 for there in self._distinct)
        places = donors[self.donor_rows], contexts[self.context_rows]
        return torch.from_numpy(places[0]).to(self.device), torch.from_numpy(places[1]).to(
            self.device
        )

    def is_grid(self, rows: slice) -> bool:
        """`rows` are whole donors of a grid."""
        return self.grid > 0 and rows.start % self.grid == 0 and rows.stop % self.grid == 0

    def of_donors(self, values: Tensor, rows: slice) -> Tensor:
        """`values` `(K, ...)` of the rows' donors."""
        return values.index_select(0, self.donors[rows])

    def of_contexts(self, values: Tensor, rows: slice) -> Tensor:
        """`values` `(K, ...)` of the rows' contexts."""
        return values.index_select(0, self.contexts[rows])


def _present(rows: np.ndarray, n: int) -> np.ndarray:
    there = np.zeros(n, bool)
    there[rows] = True
    return there


def make_pairs(rec: Recording, donors: np.ndarray, contexts: np.ndarray) -> Pairs:
    """Those rows of the data set, on the recording's device.

    Raises:
        ValueError: Not equally many, or no rows of the data set.
    """
    donors = np.ascontiguousarray(donors, np.int64)
    contexts = np.ascontiguousarray(contexts, np.int64)
    if len(donors) != len(contexts):
        raise ValueError(
            f"expected one context per donor: {len(donors)} donors, {len(contexts)} contexts"
        )
    for what, rows in (("donors", donors), ("contexts", contexts)):
        if len(rows) and (rows.min() < 0 or rows.max() >= len(rec)):
            raise ValueError(
                f"expected {what} among the {len(rec)} samples, got rows {rows.min()} to "
                f"{rows.max()}"
            )
    return Pairs(donors, contexts, grid_of(donors, contexts), len(rec), rec.device)


def grid_of(donors: np.ndarray, contexts: np.ndarray) -> int:
    """k, if the rows are every donor with the same k contexts, donor by donor; 0 if not.

    Examples:
        >>> grid_of(np.repeat([4, 2], 3), np.tile([0, 1, 2], 2))
        3
        >>> grid_of(np.array([4, 4, 2]), np.array([0, 1, 0]))
        0
    """
    changes = np.flatnonzero(donors[1:] != donors[:-1])
    k = int(changes[0]) + 1 if len(changes) else len(donors)
    if k < 2 or len(donors) % k:
        return 0
    same_donor = (donors.reshape(-1, k) == donors[::k, None]).all()
    same_contexts = (contexts.reshape(-1, k) == contexts[:k]).all()
    return k if same_donor and same_contexts else 0


_CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)
_NORMAL_BYTES = 256 << 20  # kept per recording for one layer's normal run through the next
AffineMap = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(activations, weight, bias) -> result; linear in the first two together with the third."""


@dataclass(eq=False)
class Contributions:
    """The two parts of an affine map of every (donor, context) pair of a whole run.

    Attributes:
        table: The layer on the whole data set, `(K, ...)`.
        unit_dim: Its unit dimension.
        units: Which units come from the donor.
        pairs: All pairs of the run.
        shared: Kept for as long as the recording: results for the unchanged layer.
        shortened: A shorter way was taken.
    """

    table: Table
    unit_dim: int
    units: Tensor
    pairs: Pairs
    shared: dict[Any, Any]
    shortened: bool = False
    _parts: dict[Any, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @cached_property
    def put(self) -> Tensor:
        """What the units are on every sample."""
        return self.table.values.index_select(self.unit_dim, self.units)

    @property
    def whole(self) -> bool:
        """What comes next wants the rows themselves: there is no point in waiting for it to ask.

        Some layers take a fused kernel only if they are given an ordinary tensor.
        """
        return self.shared.get(("whole", self.pays), False)

    @cached_property
    def pays(self) -> bool:
        """Samples are so few against pairs that contributions sample by sample are cheaper."""
        return 2 * self.pairs.n_distinct <= len(self.pairs.donor_rows)

    def through(
        self, apply: AffineMap, weight: Tensor, bias: Tensor | None, rows: slice, key: Any
    ) -> Tensor:
        """The affine map of those rows."""
        donors, contexts = self.pairs.distinct
        if key not in self._parts:
            rest = self.table.values.index_select(0, contexts)
            rest.index_fill_(self.unit_dim, self.units, 0.0)
            put = self.put.index_select(0, donors)
            narrow = weight.index_select(1, self.units)
            self._parts[key] = (apply(rest, weight, bias), apply(put, narrow, None))
        of_context, of_donor = self._parts[key]
        at_donor, at_context = self.pairs.places
        if self.pairs.is_grid(rows):
            k = self.pairs.grid
            outer = of_donor.index_select(0, at_donor[rows.start : rows.stop : k])
            return (outer[:, None] + of_context.index_select(0, at_context[:k])).flatten(0, 1)
        out = of_context.index_select(0, at_context[rows])
        return out.add_(of_donor.index_select(0, at_donor[rows]))

    def moved(self, weight: Tensor, bias: Tensor | None, rows: slice, key: Any) -> Tensor | None:
        """A linear map of those rows as an update of the normal run, of the rank of the units.

        None where they are more than a quarter, which saves nothing, or where it would be less
        exact: where their own part is large against the sum, the update cancels most of it.
        """
        if 4 * len(self.units) > weight.shape[1]:
            return None
        if key not in self.shared:
            self.shared[key] = self._normal_run(weight, bias)
        normal, scale = self.shared[key]
        narrow = weight.index_select(1, self.units)
        if normal is None or float(narrow.abs().sum(1).max()) > 64 * scale:
            return None
        change = self.pairs.of_donors(self.put, rows) - self.pairs.of_contexts(self.put, rows)
        normal = self.pairs.of_contexts(normal, rows)
        flat = torch.addmm(normal.flatten(0, -2), change.flatten(0, -2), narrow.T)
        return flat.reshape(normal.shape)

    def _normal_run(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor | None, float]:
        """The linear map of all samples, and its size in units of the largest activation."""
        values = self.table.values
        if values.nbytes * weight.shape[0] > _NORMAL_BYTES * weight.shape[1]:
            return None, 0.0
        normal = F.linear(values, weight, bias)
        return normal, float(normal.square().mean().sqrt() / values.abs().max())


@dataclass(frozen=True, eq=False)
class Swap(Thunk):
    """Thunk of `LazyTensor`: contexts' rows with `units` at the donors' values.

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
        parts, pairs = self.parts, self.parts.pairs
        out = pairs.of_contexts(parts.table.values, self.rows)
        new = pairs.of_donors(parts.put, self.rows)
        return out.index_copy_(parts.unit_dim, parts.units, new)

    def wanted(self) -> None:
        """From now on the rows are computed at once, unless a shorter way was taken before."""
        if not self.parts.shortened:
            self.parts.shared["whole", self.parts.pays] = True

    def apply(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Tensor | None:
        """`function` of the rows, if it is a linear map or convolution over the units."""
        found = self._short(function, args, kwargs)
        self.parts.shortened |= found is not None
        return found

    def _short(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Tensor | None:
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
            if last:
                return parts.moved(weight, bias, self.rows, key)
        elif parts.unit_dim == 1 and len(args) == 6 and args[5] == 1 and parts.pays:
            rest = args[2:]  # one group: every unit reaches every channel
            convolved = lambda x, w, b: function(x, w, b, *rest)  # noqa: E731
            return parts.through(convolved, weight, bias, self.rows, (key, rest))
        return None
