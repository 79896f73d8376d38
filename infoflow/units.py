"""Where hidden units live: a `Site` is one output of one layer, a `UnitSpace` the flat list of
all units at several sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import pandas as pd

# Layers whose output carries its units (channels) in dimension 1, and those that carry them last.
_UNITS_SECOND = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm,
    nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
)  # fmt: skip
_UNITS_LAST = (nn.Linear, nn.LayerNorm, nn.Embedding, nn.TransformerEncoderLayer)


@dataclass(frozen=True)
class Site:
    """One output of one layer, and which of its dimensions indexes the units.

    Attributes:
        path: Dotted name of the layer, as in `model.named_modules()`.
        unit_dim: Dimension of the output along which units lie (the batch is dimension 0).
            None: 1 for outputs with two dimensions and for convolutional layers, last for
            Linear, LayerNorm and Embedding; anything else is an error, never a guess.
        output: Index or key when the layer returns a tuple or a dict.

    Examples:
        >>> Site("encoder.mlp", unit_dim=-1).name
        'encoder.mlp'
        >>> Site("rnn", output=0).name
        'rnn[0]'
    """

    path: str
    unit_dim: int | None = None
    output: int | str | None = None

    @property
    def name(self) -> str:
        """The key under which the site appears in results: its path, and its output if given."""
        return self.path if self.output is None else f"{self.path}[{self.output}]"

    def tensor(self, value: Any) -> Tensor:
        """The tensor that carries the units, out of what the layer returned.

        Raises:
            TypeError: The layer returned a tuple or dict and `output` does not name a tensor in it.
        """
        picked = value
        if self.output is not None:
            try:
                picked = value[self.output]
            except (KeyError, IndexError, TypeError) as error:
                raise TypeError(
                    f"layer {self.path!r} returned {_describe(value)}, which has no output "
                    f"{self.output!r}"
                ) from error
        if not isinstance(picked, Tensor):
            raise TypeError(
                f"layer {self.path!r} returned {_describe(picked)}, expected a tensor; "
                f"name the one you mean: Site({self.path!r}, output=...)"
            )
        return picked

    def with_tensor(self, value: Any, tensor: Tensor) -> Any:
        """What the layer returned, with `tensor` in the place that this site names."""
        if self.output is None:
            return tensor
        if isinstance(value, tuple):
            index = int(self.output)
            items = [*value[:index], tensor, *value[index:][1:]]
            return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
        copied = value.copy()  # dict, OrderedDict, list: the layer's own object stays as it was
        copied[self.output] = tensor
        return copied

    def units_first(self, tensor: Tensor) -> Tensor:
        """A view `(batch, units)` or `(batch, units, ...)` with the units in dimension 1."""
        assert self.unit_dim is not None, "sites are resolved before use"
        return tensor.movedim(self.unit_dim, 1)

    def read(self, value: Any) -> Tensor:
        """The units' activations `(batch, units)` or `(batch, units, positions)`."""
        moved = self.units_first(self.tensor(value))
        return moved if moved.ndim == 2 else moved.flatten(2)

    def write(self, value: Any, units: Tensor, new: Tensor) -> Any:
        """What the layer returned, with `units` replaced by `new`; nothing is edited in place.

        Args:
            value: What the layer returned.
            units: `(u,)` indices along the unit dimension.
            new: `(u,)`, `(batch, u)` or `(batch, u, positions)`, or a scalar.
        """
        out = self.tensor(value).clone()
        moved = self.units_first(out)
        target_shape = (moved.shape[0], len(units), *moved.shape[2:])
        new = torch.as_tensor(new, dtype=out.dtype, device=out.device)
        if new.ndim == 3 and len(target_shape) > 3:
            new = new.reshape(target_shape)
        if new.ndim >= 1:
            missing = len(target_shape) - max(new.ndim, 2)
            new = new.reshape(*((1,) if new.ndim == 1 else ()), *new.shape, *(1,) * missing)
        try:
            moved[:, units] = new.expand(target_shape)
        except RuntimeError as error:
            raise ValueError(
                f"values of shape {tuple(new.shape)} do not fit layer {self.path!r}: expected a "
                f"scalar, ({len(units)},) or {target_shape} (batch, units, positions)"
            ) from error
        return self.with_tensor(value, out)

    def resolved(self, layer: nn.Module, value: Any) -> Site:
        """This site with `unit_dim` settled for what `layer` returned on a dry run.

        Raises:
            ValueError: The unit dimension is not given and cannot be known from the layer's type,
                or it names the batch dimension.
        """
        if isinstance(layer, nn.RNNBase) and self.output is None:
            kind = type(layer).__name__
            raise ValueError(
                f"layer {self.path!r} is a fused nn.{kind}: all time steps run inside one call, so "
                "its hidden state cannot be intervened on step by step. Its output sequence can "
                f"be recorded and replaced as a whole: Site({self.path!r}, output=0, "
                f"unit_dim=-1); to reach the state inside the loop, use nn.{kind}Cell."
            )
        tensor = self.tensor(value)
        if tensor.ndim < 2:
            raise ValueError(
                f"layer {self.path!r} returned a tensor of shape {tuple(tensor.shape)}; expected a "
                "batch dimension and a unit dimension"
            )
        dim = self.unit_dim
        if dim is None:
            if tensor.ndim == 2 or isinstance(layer, _UNITS_SECOND):
                dim = 1
            elif isinstance(layer, _UNITS_LAST):
                dim = tensor.ndim - 1
            else:
                raise ValueError(
                    f"layer {self.path!r} ({type(layer).__name__}) returned a tensor of shape "
                    f"{tuple(tensor.shape)}: which dimension holds the units? Say "
                    f"Site({self.path!r}, unit_dim=1) for channels, unit_dim=-1 for features"
                )
        if not -tensor.ndim <= dim < tensor.ndim or dim % tensor.ndim == 0:
            raise ValueError(
                f"unit_dim={dim} of layer {self.path!r} does not name a unit dimension of its "
                f"output of shape {tuple(tensor.shape)} (dimension 0 is the batch)"
            )
        return replace(self, unit_dim=dim % tensor.ndim)


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} with keys {list(value)}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


@dataclass(frozen=True, eq=False)
class UnitSpace:
    """The units of several sites as one flat list: site by site, in the order given.

    Attributes:
        sites: The resolved sites.
        sizes: Number of units at each site.
        unused: `(n,)` bool; True for a unit whose activation never changes over the recorded data.

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

    def __len__(self) -> int:
        return sum(self.sizes)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the sites, in order."""
        return tuple(site.name for site in self.sites)

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
        """The site of that name.

        Raises:
            KeyError: No such site; near misses are named.
        """
        for site in self.sites:
            if site.name == name:
                return site
        raise KeyError(unknown_name("recorded layer", name, self.layers))

    def indices(self, layers: str | Sequence[str] | None = None) -> np.ndarray:
        """Flat indices of the units of one layer, of several, or (None) of all."""
        if layers is None:
            return np.arange(len(self))
        names = [layers] if isinstance(layers, str) else list(layers)
        sizes = {site.name: size for site, size in zip(self.sites, self.sizes, strict=True)}
        blocks = []
        for name in names:
            self.site(name)
            blocks.append(np.arange(self.offsets[name], self.offsets[name] + sizes[name]))
        return np.concatenate(blocks) if blocks else np.arange(0)

    def flat(self, units: UnitsLike) -> np.ndarray:
        """Flat indices of `units`: flat already, or a mapping `{layer: indices within the layer}`.

        Raises:
            ValueError: Empty, out of range, or the same unit twice.
            KeyError: A layer that was not recorded.
        """
        if isinstance(units, Mapping):
            blocks = []
            for name, inside in units.items():
                own = self.indices(name)
                local = _index_array(inside, len(own), f"layer {name!r}")
                blocks.append(own[local])
            index = np.concatenate(blocks) if blocks else np.arange(0)
        elif isinstance(units, str):
            index = self.indices(units)
        else:
            index = _index_array(units, len(self), "the recording")
        if len(index) == 0:
            raise ValueError("expected at least one unit, got none")
        if len(np.unique(index)) != len(index):
            raise ValueError(f"units are named more than once: {index.tolist()}")
        return index

    def by_layer(self, units: UnitsLike) -> dict[str, np.ndarray]:
        """`{layer: indices within the layer}` of flat `units`; layers in order, none empty."""
        index = self.flat(units)
        found = {}
        for position, name in enumerate(self.layers):
            inside = index[self.layer_index[index] == position] - self.offsets[name]
            if len(inside):
                found[name] = inside
        return found

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


def _index_array(units: Any, size: int, where: str) -> np.ndarray:
    index = np.atleast_1d(np.asarray(units))
    if index.size == 0:
        return np.arange(0)
    if index.dtype == bool and index.shape == (size,):
        return np.flatnonzero(index)
    if index.ndim != 1 or not np.issubdtype(index.dtype, np.integer):
        raise ValueError(f"expected unit indices of {where}, got {index.dtype} of {index.shape}")
    if index.min() < -size or index.max() >= size:
        raise ValueError(f"unit index out of range: {where} has {size} units, got {index.tolist()}")
    return index % size


def unknown_name(what: str, name: str, known: Sequence[str]) -> str:
    """An error text for a name that is not among `known`, with its near misses."""
    import difflib

    near = difflib.get_close_matches(name, [k for k in known if k], n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    listed = ", ".join(repr(k) for k in list(known)[:20] if k)
    return f"unknown {what} {name!r}{hint} Known: {listed}"
