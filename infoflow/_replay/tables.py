"""What finished layers returned on every sample, and answers made of it that are gathered only when
somebody computes with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_map_only, tree_unflatten

from infoflow._hooks import removed_after
from infoflow._replay.calls import Call

_METADATA = {
    getattr(Tensor, name).__get__
    for name in ("shape", "dtype", "device", "ndim", "requires_grad", "is_cuda", "layout")
} | {Tensor.size, Tensor.dim, Tensor.__len__, Tensor.is_floating_point, Tensor.numel}


class Thunk(ABC):
    """What a `LazyTensor` stands for, and how to get it."""

    like: Any
    """A tensor of the same type on the same device."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""

    @abstractmethod
    def compute(self) -> Tensor:
        """A fresh tensor, which the model may edit in place."""

    def wanted(self) -> None:
        """Told that an operation of the model takes the rows themselves, no shorter way."""
        return

    def apply(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
        """`function(self, *args, **kwargs)` by a shorter way, or None if there is none."""
        return None


class LazyTensor(Tensor):
    """A tensor that knows its shape but has no values until an operation asks for them.

    A replayed layer returns one of these. If only other replayed layers receive it, its values
    are never gathered; so nothing upstream of an intervention costs anything, whatever the
    model's forward code looks like.
    """

    _thunk: Thunk
    _value: Tensor | None

    @staticmethod
    def __new__(cls: type[LazyTensor], thunk: Thunk) -> LazyTensor:
        like = thunk.like
        rows = Tensor._make_wrapper_subclass(cls, thunk.shape, dtype=like.dtype, device=like.device)
        rows._thunk = thunk
        rows._value = None
        return rows

    def value(self) -> Tensor:
        """The values; the same tensor each time, so that an edit in place is seen by all."""
        if self._value is None:
            self._thunk.wanted()
            self._value = self._thunk.compute()
        return self._value

    def seen(self) -> Tensor:
        """The values as they are now, for somebody who looks on: the model's next operation may
        still take a shorter way."""
        return self._thunk.compute() if self._value is None else self._value

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = {} if kwargs is None else kwargs
        if func in _METADATA:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        first = args[0] if args else None
        if isinstance(first, LazyTensor) and first._value is None:
            short = first._thunk.apply(func, args[1:], kwargs)
            if short is not None:
                return short
        args, kwargs = materialised((args, kwargs))
        return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        args, kwargs = materialised((args, kwargs))
        return func(*args, **(kwargs or {}))


def looked_at(value: Any) -> Any:
    """`value` with every `LazyTensor` in it replaced by what it is now."""
    if type(value) is Tensor:
        return value
    return tree_map_only(LazyTensor, LazyTensor.seen, value)


def materialised(value: Any) -> Any:
    """`value` with every `LazyTensor` in it replaced by its values."""
    if type(value) is Tensor:
        return value
    return tree_map_only(LazyTensor, LazyTensor.value, value)


_PLAIN = (int, float, bool, str, type(None), torch.dtype, torch.device, torch.Size)
Key = tuple[int, int]
Leaf = tuple[Key, int]
"""A call, and the number of a leaf of what it returns."""


class ReplayError(RuntimeError):
    """The pass did not go as it did when it was traced."""


class Stop(BaseException):
    """Everything asked for has been seen: leave the forward pass.

    Not an `Exception`, so that a model that catches those does not catch this.
    """


@dataclass(frozen=True, eq=False)
class Table:
    """A tensor that a layer returns, for all samples.

    Attributes:
        values: `(K, per, ...)` where the layer's tensor has `batch * per` entries along `dim`, or
            `(K, ...)` with the batch moved to dimension 0.
        dim: Where the batch lies in the layer's tensor.
        per: Entries per sample along `dim`; more than 1 if the model folded another axis into it.
    """

    values: Tensor
    dim: int
    per: int

    def shape(self, rows: int) -> tuple[int, ...]:
        """Shape of the layer's tensor for that many samples."""
        rest = list(self.values.shape[1 if self.per == 1 else 2 :])
        return (*rest[: self.dim], rows * self.per, *rest[self.dim :])

    def empty(self, count: int = 0, device: torch.device | None = None) -> Table:
        """A table of the same shape to be filled; without samples, for a tensor nobody reads."""
        shape = (count, *self.values.shape[1:])
        return Table(self.values.new_empty(shape, device=device), self.dim, self.per)

    def put(self, rows: slice, values: Tensor) -> None:
        """Fill in some samples: copied at once, as a later layer may edit the tensor in place.

        Raises:
            ReplayError: It has no value for every sample.
        """
        part = as_table(values, self.dim, self.per).values
        if part.shape != self.values[rows].shape:
            raise ReplayError("a layer does not return a value for every sample")
        self.values[rows].copy_(part)

    def gather(self, index: Tensor) -> Tensor:
        """The layer's tensor for those samples; fresh memory.

        Raises:
            ReplayError: Nobody read this tensor when the model was traced.
        """
        if not len(self.values):
            raise ReplayError("a layer's output is used that was not used in the normal run")
        picked = self.values.index_select(0, index)
        picked = picked if self.per == 1 else picked.flatten(0, 1)
        return picked if self.dim == 0 else picked.movedim(0, self.dim).contiguous()


@dataclass(frozen=True, eq=False)
class Noted(Table):
    """A table of which it is noted whether somebody reads it.

    Attributes:
        at: Which it is.
        read: Those that were read.
    """

    at: Leaf
    read: set[Leaf]

    def gather(self, index: Tensor) -> Tensor:
        """As `Table.gather`."""
        self.read.add(self.at)
        return super().gather(index)


@dataclass(frozen=True, eq=False)
class Gather(Thunk):
    """Thunk of `LazyTensor`: those samples of a table."""

    table: Table
    index: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return self.table.shape(len(self.index))

    @property
    def like(self) -> Tensor:
        """Carries type and device."""
        return self.table.values

    def compute(self) -> Tensor:
        """The gathered rows."""
        return self.table.gather(self.index)


@dataclass(frozen=True, eq=False)
class Answer:
    """What one call returns, leaf by leaf: a `Table`, or a value that is the same for all.

    Attributes:
        leaves, spec: The leaves, and how they are put together.
        same: `{leaf: leaf of the arguments}` that are one tensor and stay one.
    """

    leaves: tuple[Any, ...]
    spec: TreeSpec
    same: Mapping[int, int]

    def __call__(self, index: Tensor, given: Any) -> Any:
        """The returned value for those samples, of a call with the arguments `given`."""
        leaves = []
        for number, leaf in enumerate(self.leaves):
            if isinstance(leaf, Table):
                rows = Gather(leaf, index)
                arg = tree_leaves(given)[self.same[number]] if number in self.same else None
                leaves.append(LazyTensor(rows) if arg is None else _become(arg, rows))
            else:
                leaves.append(leaf.clone() if isinstance(leaf, Tensor) else leaf)
        return leaves[0] if self.spec.is_leaf() else tree_unflatten(leaves, self.spec)


def _become(tensor: Tensor, rows: Gather) -> Tensor:
    """The tensor itself, with the values that a layer would have given it in place."""
    if not isinstance(tensor, LazyTensor):
        return tensor.copy_(rows.compute())
    tensor._thunk = rows  # an edit that follows reads the rows from here
    if tensor._value is not None:
        tensor._value.copy_(rows.compute())
    return tensor


def small_answer(two: Any, three: Any, same: Mapping[int, int]) -> Answer | None:
    """The answer of a call for two samples, from what it returned for two and for three.

    The two runs tell which dimension of each tensor is the batch. None: the call cannot be
    replayed, because it returned something that is neither a tensor per sample nor constant.
    """
    a, spec = tree_flatten(two)
    b, other = tree_flatten(three)
    if spec != other:
        return None
    leaves = []
    for x, y in zip(a, b, strict=True):
        if isinstance(x, Tensor) and isinstance(y, Tensor):
            split = _batch_dim(x, y)
            if split is None or (split == (-1, 0) and not (x.numel() and torch.equal(x, y))):
                return None
            leaves.append(x.clone() if split == (-1, 0) else as_table(x, *split))
        elif isinstance(x, _PLAIN) and type(x) is type(y) and x == y:
            leaves.append(x)
        else:
            return None
    return Answer(tuple(leaves), spec, same)


def _batch_dim(two: Tensor, three: Tensor) -> tuple[int, int] | None:
    """(dimension, entries per sample); (-1, 0) if there is no batch; None if it is unclear."""
    if two.ndim != three.ndim or type(two) not in (Tensor, nn.Parameter):
        return None
    differ = [d for d in range(two.ndim) if two.shape[d] != three.shape[d]]
    if not differ:
        return -1, 0
    dim, per = differ[0], two.shape[differ[0]] // 2
    if len(differ) > 1 or two.shape[dim] != 2 * per or three.shape[dim] != 3 * per:
        return None
    return dim, per


def as_table(values: Tensor, dim: int, per: int) -> Table:
    """A layer's tensor as a table of its samples."""
    first = values.detach().movedim(dim, 0)
    first = first if per == 1 else first.unflatten(0, (-1, per))
    return Table(first.clone(), dim, per)


def watch(
    run: Callable[[], Any], calls: Mapping[Key, Call], see: Callable[[Key, Any], None]
) -> None:
    """Let `run` start a pass, hand over what each of `calls` returns; stop after the last."""
    last = max(calls.values(), key=lambda call: call.end).key
    layers = {id(call.layer): call.layer for call in calls.values()}
    counts = dict.fromkeys(layers, 0)

    def look(layer: nn.Module, _args: Any, value: Any) -> None:
        key = (id(layer), counts[id(layer)])
        counts[id(layer)] += 1
        if key in calls:
            see(key, value)
        if key == last:
            raise Stop

    hooks = removed_after(layer.register_forward_hook(look) for layer in layers.values())
    with suppress(Stop), hooks, torch.no_grad():
        run()
