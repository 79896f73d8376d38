"""A `UnitSpace`: the units of several sites as one flat list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from infoflow._arguments import UnknownName as UnknownName
from infoflow._arguments import (
    check_fields,
    each,
    flags,
    instance,
    integers,
    items,
    text,
    unknown_name,
    whole,
)
from infoflow.site import Site

if TYPE_CHECKING:
    import pandas as pd


def _sites(name: str, value: Any) -> tuple[Site, ...]:
    return tuple(each(instance(Site, "Site objects"))(name, value))


@dataclass(frozen=True, eq=False)
class UnitSpace:
    """The units of several sites as one flat list: site by site, in the order given.

    Attributes:
        sites: The resolved sites.
        sizes: Number of units at each site.
        unused: `(n,)` bool; True for a unit whose activation never changes over the recorded data.
        aliases: Other names of sites (TransformerLens's), taken wherever a name is.

    Examples:
        >>> space = UnitSpace((Site("fc1"), Site("fc2")), (3, 2), np.zeros(5, bool))
        >>> len(space), space.indices("fc2").tolist()
        (5, [3, 4])
        >>> space.flat({"fc1": [0], "fc2": [1]}).tolist()
        [0, 4]
    """

    sites: tuple[Site, ...]
    sizes: tuple[int, ...]
    unused: np.ndarray
    aliases: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(
            self,
            sites=_sites,
            sizes=lambda name, value: tuple(each(whole(0))(name, value)),
            unused=flags,
        )
        lengths = len(self.sites), len(self.sizes)
        if lengths[0] != lengths[1] or len(self.unused) != sum(self.sizes):
            raise ValueError(
                "sites, sizes, unused: expected a size for each site and a value of unused for "
                f"each unit, got {lengths} and {len(self.unused)} for {sum(self.sizes)} units"
            )
        if len(set(self.layers)) < len(self.layers):
            raise ValueError(f"sites: expected each once, got {list(self.layers)}")

    def __len__(self) -> int:
        return sum(self.sizes)

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Names of the sites, in order."""
        return tuple(site.name for site in self.sites)

    @cached_property
    def _place(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.layers)}

    @cached_property
    def offsets(self) -> dict[str, int]:
        """Flat index of each site's first unit."""
        starts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])
        return dict(zip(self.layers, starts.tolist(), strict=True))

    @cached_property
    def layer_index(self) -> np.ndarray:
        """`(n,)` position in `sites` of each unit's site."""
        return np.repeat(np.arange(len(self.sites)), self.sizes)

    def site(self, name: str) -> Site:
        """The site of that name, or of which it is an alias.

        Raises:
            KeyError: No such site; near misses are named.
        """
        name = text("layer", name)
        name = self.aliases.get(name, name)
        if name not in self._place:
            known = [*self.layers, *self.aliases]
            raise KeyError(unknown_name("recorded layer", name, known))
        return self.sites[self._place[name]]

    def indices(self, layers: str | Sequence[str] | None = None) -> np.ndarray:
        """Flat indices of the units of one layer, of several, or (None) of all."""
        if layers is None:
            return np.arange(len(self))
        names = [layers] if isinstance(layers, str) else items("layers", layers)
        blocks = []
        for name in (self.site(name).name for name in names):
            start = self.offsets[name]
            blocks.append(np.arange(start, start + self.sizes[self._place[name]]))
        return np.concatenate(blocks) if blocks else np.arange(0)

    def flat(self, units: UnitsLike) -> np.ndarray:
        """Flat indices of `units`: flat already, or a mapping `{layer: indices within the layer}`.

        Raises:
            ValueError: Empty, out of range, or the same unit twice.
            KeyError: A layer that was not recorded.
        """
        if isinstance(units, Mapping):
            if len({self.site(name).name for name in units}) < len(units):
                raise ValueError(f"a layer is named more than once: {list(units)}")
            blocks = [np.arange(0)]
            for name, inside in units.items():
                own = self.indices(name)
                blocks.append(own[index_array(inside, len(own), f"layer {name!r}")])
            index = np.concatenate(blocks)
        elif isinstance(units, str):
            index = self.indices(units)
        else:
            index = index_array(units, len(self), "the recording")
        if len(index) == 0:
            raise ValueError("expected at least one unit, got none")
        return index

    def by_layer(self, units: UnitsLike) -> dict[str, np.ndarray]:
        """`{layer: indices within the layer}` of flat `units`; layers in order, none empty."""
        index = self.flat(units)
        place = self.layer_index[index]
        return {
            self.layers[position]: index[place == position] - self.offsets[self.layers[position]]
            for position in sorted(set(place.tolist()))
        }

    @property
    def table(self) -> pd.DataFrame:
        """One row a unit: `unit` (flat index), `layer`, `index` (within the layer), `unused`."""
        import pandas as pd

        names = np.repeat(np.array(self.layers, dtype=object), self.sizes)
        inside = np.concatenate([np.arange(size) for size in self.sizes])
        return pd.DataFrame(
            {"unit": np.arange(len(self)), "layer": names, "index": inside, "unused": self.unused}
        )

    def __repr__(self) -> str:
        parts = ", ".join(f"{n}: {s}" for n, s in zip(self.layers, self.sizes, strict=True))
        return f"UnitSpace({len(self)} units; {parts}; {int(self.unused.sum())} unused)"


UnitsLike = Mapping[str, Any] | Sequence[int] | np.ndarray | str


def index_array(units: Any, size: int, where: str) -> np.ndarray:
    """`(u,)` indices below `size`, of a mask of all or of indices; negative ones from the end.

    Raises:
        ValueError: Out of range, repeated, or no integers.
    """
    single = np.ndim(units) == 0 and not isinstance(units, Iterable)
    what = f"unit indices of {where} with {size} units"
    index = integers(what, [units] if single else units, masks=True)
    if index.size == 0:
        return np.arange(0)
    if index.dtype == bool:
        if index.shape != (size,):
            raise ValueError(f"{what}: expected a mask of all, got one of {len(index)}")
        return np.flatnonzero(index)
    if index.min() < -size or index.max() >= size:
        raise ValueError(f"unit index out of range: {where} has {size} units, got {index.tolist()}")
    index = index.astype(np.int64) % size
    if len(np.unique(index)) < len(index):
        raise ValueError(f"units of {where} are named more than once: {index.tolist()}")
    return index


def as_array(units: Any) -> np.ndarray:
    """What names units, as an array of at least one dimension."""
    if isinstance(units, Tensor):
        units = units.detach().cpu().numpy()
    elif isinstance(units, Iterable) and not isinstance(units, np.ndarray):
        units = list(units)
    return np.atleast_1d(np.asanyarray(units))
