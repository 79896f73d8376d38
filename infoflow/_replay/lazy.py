"""Rows of a recorded table that are gathered only when somebody computes with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

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
