"""What an intervention does to a site's activations in one forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from infoflow.intervene.rows import Rows
from infoflow.intervene.swap import Contributions, Pairs, Swap
from infoflow.intervene.tables import Gather
from infoflow.record import Recording
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
        rec: The recording.
        name: The site.
        inside: Indices of units within the site.
        pairs: Donor and context of every row of the run.
    """

    rec: Recording
    name: str
    inside: Tensor
    pairs: Pairs
    _parts: Contributions | None = None
    _put: Tensor | None = None

    def __call__(self, site: Site, value: Any, call: int, rows: slice) -> Any:
        if isinstance(value, Rows) and isinstance(value._source, Gather):
            swapped = self._swap(site, value._source, rows)
            if swapped is not None:
                return swapped
        if self._put is None:
            self._put = self.rec[self.name][:, self.inside.cpu()].to(self.pairs.donors.device)
        new = self._put.index_select(0, self.pairs.donors[rows])
        return site.write(value, self.inside, of_call(site, new, value, call))

    def _swap(self, site: Site, source: Gather, rows: slice) -> Rows | None:
        table = source.table
        plain = site.basis is None and site.heads is None
        if not plain or table.dim or table.per > 1 or site.unit_dim is None or site.call == "all":
            return None
        if self._parts is None:
            kept = self.rec.cache.setdefault(("affine", self.name), {})
            self._parts = Contributions(table, site.unit_dim, self.inside, self.pairs, kept)
        return Rows(Swap(self._parts, rows))


def of_call(site: Site, new: Tensor, value: Any, call: int) -> Tensor:
    """The positions of `new` `(batch, u[, positions])` that belong to one call of the layer."""
    if site.call != "all" or new.ndim < 3:
        return new
    shape = site.read(value).shape
    width = 1 if len(shape) == 2 else shape[2]
    part = new[:, :, call * width : (call + 1) * width]
    return part.squeeze(2) if len(shape) == 2 else part


def donor_edits(
    rec: Recording, by_layer: Mapping[str, Sequence[int] | Any], pairs: Pairs
) -> dict[str, Edit]:
    """One `PutDonors` per layer, all with the same donors."""
    return {
        name: PutDonors(rec, name, torch.as_tensor(inside, device=rec.device), pairs)
        for name, inside in by_layer.items()
    }
