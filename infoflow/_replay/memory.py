"""Who shares memory with whom in a forward pass, and who writes to it.

An answered call returns fresh memory. That is only right where the model could not tell: every
operation of the traced pass is seen below autograd, where neither `.data` nor a view hides a write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass
class Shared:
    """What the tensors that a call returned share with what was there before it.

    Attributes:
        same: `{leaf returned: (leaf of the arguments, its memory)}` where both are one tensor.
        loose: Memory that is shared in any other way.
        unseen: Some have memory that cannot be told apart from others.
    """

    same: dict[int, tuple[int, int]] = field(default_factory=dict)
    loose: set[int] = field(default_factory=set)
    unseen: bool = False


class Memory(TorchDispatchMode):
    """While it is open: when each storage came to be, and when it was written to.

    Storages are held until the end, so that no address stands for two of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now = -1
        self._born: dict[int, int] = {}
        self._held: list[Any] = []
        self._writes: list[tuple[int, int]] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # it would be imported for that, in two seconds; nothing compiled runs here

    def tick(self) -> int:
        """The next moment: a call begins or ends."""
        self._now += 1
        return self._now

    def note(self, value: Any) -> None:
        """These tensors are there."""
        for leaf in tree_leaves(value):
            place = _place(leaf)
            if place is not None and place not in self._born:
                self._born[place] = self._now
                self._held.append(leaf.untyped_storage())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        for number, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                given = args[number] if number < len(args) else kwargs.get(argument.name)
                places = [_place(leaf) for leaf in tree_leaves(given) if isinstance(leaf, Tensor)]
                if None in places:
                    raise RuntimeError(f"{func} writes to memory that cannot be seen")
                self._writes += [(self._now, p) for p in places if p in self._born]
        self.note(output)
        return output

    def shared(self, start: int, given: Sequence[Any], returned: Sequence[Any]) -> Shared:
        """What a call that began at `start` returns, beside its arguments."""
        found, fresh = Shared(), set()
        for number, leaf in enumerate(returned):
            if not isinstance(leaf, Tensor):
                continue
            place = _place(leaf)
            if place is None:
                found.unseen = True
                continue
            alike = [n for n, arg in enumerate(given) if _geometry(arg) == _geometry(leaf)]
            if self._born.get(place, start) >= start:
                (found.loose if place in fresh else fresh).add(place)
            elif alike:
                found.same[number] = (alike[0], place)
            else:
                found.loose.add(place)
        return found

    def entangled(self, start: int, end: int, shared: Shared) -> bool:
        """The call writes to memory of others that it does not return whole, or what it returns
        shares memory, other than whole, that is written to later, or that cannot be seen."""
        own = {place for _, place in shared.same.values()}
        inside = {p for at, p in self._writes if start <= at < end and self._born[p] < start}
        after = {p for at, p in self._writes if at >= end}
        return shared.unseen or bool(inside - own or after & shared.loose)


def _place(value: Any) -> int | None:
    """What tells a tensor's memory from all other that is held; None for what is no tensor, and
    for tensors of which torch shows no storage (sparse ones)."""
    if not isinstance(value, Tensor):
        return None
    try:
        return value.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):
        return None


def _geometry(value: Any) -> Any:
    place = _place(value)
    if place is None:
        return None
    return place, value.dtype, value.shape, value.stride(), value.storage_offset()
