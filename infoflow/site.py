"""Where hidden units live: a `Site` is one tensor that goes in or out of one layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from infoflow._arguments import check_fields, given, instance, integers, one_of, text, whole
from infoflow.basis import Basis

# Layers whose output carries its units (channels) in dimension 1, and those that carry them last.
_UNITS_SECOND = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm,
    nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
)  # fmt: skip
_UNITS_LAST = (
    nn.Linear, nn.Bilinear, nn.LayerNorm, nn.RMSNorm, nn.Embedding,
    nn.TransformerEncoderLayer, nn.TransformerEncoder,
    nn.TransformerDecoderLayer, nn.TransformerDecoder,
)  # fmt: skip


def _key(name: str, value: Any) -> Any:
    """An index, or a name; None: there is only one."""
    return text(name, value) if isinstance(value, str) else whole(-99, none=True)(name, value)


@dataclass(frozen=True)
class Site:
    """One tensor that a layer returns or receives, and which of its dimensions indexes the units.

    Attributes:
        path: Dotted name of the layer, as in `model.named_modules()`.
        unit_dim: Dimension of the tensor along which units lie (the batch is dimension 0).
            None: 1 for tensors with two dimensions and for convolutional layers, last for
            Linear, LayerNorm and Embedding; anything else is an error, never a guess.
        output: Index, key or name when the layer returns a tuple, dict or dataclass; for
            `io="input"` the position or keyword of the argument (None: the first).
        call: Which call, when a pass calls the layer several times: 0 is the first. "all": every
            call; calls are then positions of the units, as time steps of a recurrent cell are.
        io: "output": what the layer returns. "input": what it is called with.
        heads: The unit dimension holds this many heads of equal width; a unit is a head, and its
            components are positions. None: every index is a unit.
        basis: Units are coordinates along these directions; None: the layer's own axes.
        positions: Only these positions of the units are recorded and intervened on, such as
            `[0, -1]` for the first and the last token (of images: row by row). None: all.

    Examples:
        >>> Site("encoder.mlp", unit_dim=-1).name
        'encoder.mlp'
        >>> Site("rnn", output=0).name, Site("act", call=1).name, Site("proj", io="input").name
        ('rnn[0]', 'act#1', 'proj:input')
        >>> Site("h.0.mlp", positions=[0, -1]).name
        'h.0.mlp@0,-1'
    """

    path: str
    unit_dim: int | None = None
    output: int | str | None = None
    call: int | Literal["all"] | None = None
    io: Literal["output", "input"] = "output"
    heads: int | None = None
    basis: Basis | None = None
    positions: Sequence[int] | None = None

    def __post_init__(self) -> None:
        check_fields(
            self,
            path=instance(str, "the dotted name of a layer"),
            unit_dim=whole(-99, 99, none=True),
            output=_key,
            call=whole(0, none=True, texts=("all",)),
            io=one_of(("output", "input")),
            heads=whole(1, none=True),
            basis=instance(Basis, "a Basis", none=True),
            positions=given,
        )
        if self.positions is not None:
            self._check_positions()

    def _check_positions(self) -> None:
        given = integers("positions", self.positions)
        if not given.size:
            raise ValueError(f"positions: expected some of {self.path!r}, got none; leave it out")
        if self.call == "all":
            raise ValueError(f"the calls of {self.path!r} are its positions: say call=0 for one")
        object.__setattr__(self, "positions", tuple(given.tolist()))

    @cached_property
    def name(self) -> str:
        """The key under which the site appears in results: its path and what tells it apart."""
        place = ":input" if self.io == "input" else ""
        picked = "" if self.output is None else f"[{self.output}]"
        called = "" if self.call in (None, "all") else f"#{self.call}"
        chosen = "" if self.positions is None else f"@{','.join(map(str, self.positions))}"
        return f"{self.path}{place}{picked}{called}{chosen}"

    def tensor(self, value: Any) -> Tensor:
        """The tensor that carries the units, out of what the layer returned.

        For `io="input"`, `value` is the pair (arguments, keyword arguments) of the call.

        Raises:
            TypeError: There is no such tensor.
        """
        picked, verb = value, "returned"
        if self.io == "input":
            picked, verb = value[isinstance(self.output, str)], "was called with"
        key = 0 if self.io == "input" and self.output is None else self.output
        if key is not None:
            try:
                picked = vars(picked)[str(key)] if _is_record(picked) else picked[key]
            except (KeyError, IndexError, TypeError) as error:
                raise TypeError(
                    f"layer {self.path!r} {verb} {_describe(picked)}, "
                    f"which has no {self.io} {key!r}"
                ) from error
        if isinstance(picked, PackedSequence):
            raise TypeError(
                f"layer {self.path!r} {verb} a PackedSequence, in which samples have different "
                "numbers of steps: record a layer before or after it, or let the model pad"
            )
        if not isinstance(picked, Tensor):
            raise TypeError(
                f"layer {self.path!r} {verb} {_describe(picked)}, expected a tensor; "
                f"name the one you mean: Site({self.path!r}, output=...)"
            )
        return picked

    def with_tensor(self, value: Any, tensor: Tensor) -> Any:
        """What the layer returned, with `tensor` in the place that this site names."""
        if self.io == "input":
            args, kwargs = value
            if isinstance(self.output, str):
                return args, {**kwargs, self.output: tensor}
            return _with_item(args, self.output or 0, tensor), kwargs
        return tensor if self.output is None else _with_item(value, self.output, tensor)

    def _axes_first(self, tensor: Tensor) -> Tensor:
        assert self.unit_dim is not None, "sites are resolved before use"
        moved = tensor if self.unit_dim == 1 else tensor.movedim(self.unit_dim, 1)
        return moved if self.heads is None else moved.unflatten(1, (self.heads, -1))

    def _chosen(self, moved: Tensor) -> tuple[Any, ...]:
        """The index of the chosen positions, of a tensor with its units first."""
        shape = moved.shape[2 if self.heads is None else 3 :]
        flat = np.asarray(self.positions) % math.prod(shape)
        return (..., *(torch.from_numpy(i).to(moved.device) for i in np.unravel_index(flat, shape)))

    def _at_positions(self, moved: Tensor) -> Tensor:
        """`moved`, or a copy of its chosen positions."""
        return moved if self.positions is None else moved[self._chosen(moved)]

    def read(self, value: Any) -> Tensor:
        """The units' activations `(batch, units)` or `(batch, units, positions)`."""
        moved = self._at_positions(self._axes_first(self.tensor(value)))
        moved = moved if moved.ndim == 2 else moved.flatten(2)
        return moved if self.basis is None else self.basis.coordinates(moved)

    def write(self, value: Any, units: Tensor, new: Any) -> Any:
        """What the layer returned, with `units` replaced by `new`; nothing is edited in place.

        Args:
            value: What the layer returned.
            units: `(u,)` indices of units.
            new: `(u,)`, `(batch, u)` or `(batch, u, positions)`, or a scalar.

        Raises:
            ValueError: `new` has another shape.
        """
        out = self.tensor(value).clone()
        moved = self._axes_first(out)
        held = self._at_positions(moved)
        new = self._shaped(new, held, len(units))
        if self.basis is None:
            held.index_copy_(1, units.to(out.device), new)
        else:
            whole = self._at_positions(self._axes_first(self.tensor(value)))
            old = self.basis.coordinates(whole).index_select(1, units.to(out.device))
            # taken away before the new part is added: under the identity basis both are exact
            held.sub_(self.basis.expand(old, units)).add_(self.basis.expand(new, units))
        if self.positions is not None:
            moved[self._chosen(moved)] = held
        return self.with_tensor(value, out)

    def add(self, value: Any, delta: Tensor) -> Any:
        """What the layer returned, with `delta` `(batch, units[, positions])` added to the units.

        Differentiable with respect to `delta` and to what the layer returned.
        """
        tensor = self.tensor(value)
        moved = self._axes_first(tensor)
        shape = self._at_positions(moved).shape
        if delta.ndim == 3:
            delta = delta.reshape(*delta.shape[:2], *shape[2:])
        else:
            delta = delta.reshape(*delta.shape, *(1,) * (len(shape) - 2))
        if self.basis is not None:
            delta = self.basis.expand(delta, torch.arange(len(self.basis)))
        if self.positions is not None:
            everywhere = torch.zeros_like(moved)
            everywhere[self._chosen(moved)] = delta.to(moved.dtype)
            delta = everywhere
        shifted = moved + delta.to(moved.dtype)
        shifted = shifted if self.heads is None else shifted.flatten(1, 2)
        return self.with_tensor(value, shifted.movedim(1, self.unit_dim or 1))

    def _shaped(self, new: Any, moved: Tensor, count: int) -> Tensor:
        """`new` expanded to `(batch, count, ...)`, the shape of the units to be replaced."""
        shape = (moved.shape[0], count, *moved.shape[2:])
        if isinstance(new, Tensor) and new.shape == shape and new.dtype == moved.dtype:
            return new.to(moved.device)
        new = torch.as_tensor(new, dtype=moved.dtype, device=moved.device)
        if new.ndim == 3 and len(shape) > 3 and new.shape[2] == moved[0, 0].numel():
            new = new.reshape(*new.shape[:2], *shape[2:])
        if new.ndim >= 1:
            missing = len(shape) - max(new.ndim, 2)
            new = new.reshape(*((1,) if new.ndim == 1 else ()), *new.shape, *(1,) * missing)
        try:
            return new.expand(shape)
        except RuntimeError as error:
            raise ValueError(
                f"values of shape {tuple(new.shape)} do not fit layer {self.path!r}: expected a "
                f"scalar, ({count},) or {shape} (batch, units, positions)"
            ) from error

    def resolved(self, layer: nn.Module, value: Any) -> Site:
        """This site with `unit_dim` settled for what `layer` returned on a dry run.

        Raises:
            ValueError: The unit dimension is not given and cannot be known from the layer's type,
                or it names the batch dimension.
        """
        if isinstance(layer, nn.RNNBase) and self.output is None and self.io == "output":
            raise ValueError(_fused_recurrent(self.path, type(layer).__name__))
        tensor = self.tensor(value)
        shape = tuple(tensor.shape)
        if tensor.ndim < 2:
            raise ValueError(
                f"the {self.io} of layer {self.path!r} has shape {shape}; expected a batch "
                "dimension and a unit dimension"
            )
        dim = self.unit_dim
        if dim is None:
            dim = self._default_dim(layer, tensor)
        if not -tensor.ndim <= dim < tensor.ndim or dim % tensor.ndim == 0:
            raise ValueError(
                f"unit_dim={dim} of layer {self.path!r} does not name a unit dimension of its "
                f"{self.io} of shape {shape} (dimension 0 is the batch)"
            )
        if self.heads is not None and shape[dim] % self.heads:
            raise ValueError(
                f"{shape[dim]} units of layer {self.path!r} do not divide into {self.heads} heads"
            )
        found = replace(self, unit_dim=dim % tensor.ndim)
        if self.positions is not None:
            found._check_places(tensor)
        return found

    def places(self, tensor: Tensor) -> tuple[int, ...]:
        """The positions that are taken, counted from the first, of what the layer returned."""
        shape = self._axes_first(tensor).shape[2 if self.heads is None else 3 :]
        count = math.prod(shape) if shape else 0
        chosen = range(count) if self.positions is None else self.positions
        return tuple(p % count if -count <= p < count else p for p in chosen)

    def _check_places(self, tensor: Tensor) -> None:
        count, found = len(replace(self, positions=None).places(tensor)), self.places(tensor)
        if not all(0 <= p < count for p in found) or len(set(found)) < len(found):
            raise ValueError(
                f"expected positions of layer {self.path!r} to be among its {count}, each once, "
                f"got {list(self.positions or ())}: its {self.io} has shape {tuple(tensor.shape)}"
            )

    def _default_dim(self, layer: nn.Module, tensor: Tensor) -> int:
        if tensor.ndim == 2 or isinstance(layer, _UNITS_SECOND):
            return 1
        known = self.io == "output" if isinstance(layer, nn.Embedding) else _units_last(layer)
        if known:
            return tensor.ndim - 1
        raise ValueError(
            f"the {self.io} of layer {self.path!r} ({type(layer).__name__}) has shape "
            f"{tuple(tensor.shape)}: which dimension holds the units? Say "
            f"Site({self.path!r}, unit_dim=1) for channels, unit_dim=-1 for features"
        )


def _units_last(layer: nn.Module) -> bool:
    if isinstance(layer, _UNITS_LAST):
        return True
    module, name = type(layer).__module__, type(layer).__name__
    if module.startswith("transformers.models."):
        return name.endswith(("RMSNorm", "LayerNorm"))
    return (module, name) == ("transformers.pytorch_utils", "Conv1D")  # a linear layer


def knows_its_units(layer: nn.Module) -> bool:
    """Whether a layer's type says along which dimension of its output the units lie."""
    return isinstance(layer, _UNITS_SECOND) or _units_last(layer)


def _is_record(value: Any) -> bool:
    """A dataclass that is no mapping as well, as the outputs of Hugging Face are."""
    return is_dataclass(value) and not hasattr(value, "__getitem__")


def _with_item(value: Any, key: int | str, tensor: Tensor) -> Any:
    if isinstance(value, tuple):
        index = int(key)
        items = [*value[:index], tensor, *value[index:][1:]]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if _is_record(value):
        return replace(value, **{str(key): tensor})
    copied = value.copy()  # dict, OrderedDict, list: the layer's own object stays as it was
    copied[key] = tensor
    return copied


def _fused_recurrent(path: str, kind: str) -> str:
    return (
        f"layer {path!r} is a fused nn.{kind}: all time steps run inside one call, so "
        "its hidden state cannot be intervened on step by step. Its output sequence can "
        f"be recorded and replaced as a whole: Site({path!r}, output=0, "
        f"unit_dim=-1); to reach the state inside the loop, record infoflow.unrolled(model), or "
        f"use nn.{kind}Cell."
    )


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} with keys {list(value)}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"
