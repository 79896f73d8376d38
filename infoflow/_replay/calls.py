"""The order in which a model calls its layers, and which calls are over before an intervention; who
shares memory with whom, and who writes to it.

An answered call returns fresh memory. That is only right where the model could not tell: every
operation of the traced pass is seen below autograd, where neither `.data` nor a view hides a write.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.hooks import RemovableHandle

from infoflow._hooks import layer_at, removed_after
from infoflow._unchanged import every_layer
from infoflow.site import Site


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


@dataclass(eq=False)
class Call:
    """One call of one layer in a forward pass.

    Attributes:
        layer: The module that is called.
        number: How often it was called before in this pass.
        start, end: Moments of the pass; the calls inside it have theirs in between.
        parent: The call in which it happens; None for the model itself.
        nbytes: Size of the tensors it returned, per sample.
        same: `{leaf of what it returned: leaf of its arguments}` that are one tensor, as those of
            a layer that works in place are.
        entangled: It shares memory with others in a way that an answer would cut, so it has to
            run: it writes to what it does not return, or a later write reaches it through a view.
    """

    layer: nn.Module
    number: int
    start: int
    parent: Call | None
    end: int = -1
    nbytes: int = 0
    same: Mapping[int, int] = field(default_factory=dict)
    entangled: bool = False

    @cached_property
    def key(self) -> tuple[int, int]:
        """Identity of the layer, and the number of the call."""
        return id(self.layer), self.number

    @property
    def inside(self) -> Iterator[Call]:
        """The calls it happens in, innermost first."""
        above = self.parent
        while above is not None:
            yield above
            above = above.parent


def trace_calls(
    model: nn.Module, args: Sequence[Any], run: Callable[[Sequence[Any]], Any]
) -> list[Call]:
    """The calls of one pass `run(args)` of the model, in the order in which they begin."""
    calls: list[Call] = []
    open_calls: list[Call] = []
    counts: Counter[int] = Counter()
    returned: list[tuple[Call, Shared]] = []
    memory = Memory()

    def begin(layer: nn.Module, *_: Any) -> None:
        parent = open_calls[-1] if open_calls else None
        calls.append(Call(layer, counts[id(layer)], memory.tick(), parent))
        open_calls.append(calls[-1])
        counts[id(layer)] += 1

    def finish(_layer: nn.Module, given: Any, named: Any, output: Any) -> None:
        call, leaves = open_calls.pop(), tree_leaves(output)
        size = sum(t.numel() * t.element_size() for t in leaves if isinstance(t, Tensor))
        call.nbytes = size // len(args[0])
        returned.append((call, memory.shared(call.start, tree_leaves((given, named)), leaves)))
        call.end = memory.tick()

    memory.note([*args, *model.parameters(), *model.buffers()])
    with removed_after(_on_every_layer(model, begin, finish)), torch.no_grad(), memory:
        run(args)
    if open_calls:
        raise RuntimeError("a layer was called and did not return")
    for call, shared in returned:
        call.same = {leaf: arg for leaf, (arg, _) in shared.same.items()}
        call.entangled = memory.entangled(call.start, call.end, shared)
    return calls


def _on_every_layer(model: nn.Module, begin: Any, finish: Any) -> Iterator[RemovableHandle]:
    for layer in every_layer(model):
        # a scripted layer takes no hooks; it runs, like what lies between layers
        if not isinstance(layer, torch.jit.ScriptModule):
            yield layer.register_forward_pre_hook(begin)
            yield layer.register_forward_hook(finish, with_kwargs=True)


def moments(model: nn.Module, calls: Sequence[Call], site: Site) -> dict[int, int]:
    """When the site's tensor is there: `{number of the call: moment}`."""
    layer = layer_at(model, site.path)
    own = [call for call in calls if call.layer is layer]
    return {
        call.number: call.end if site.io == "output" else call.start
        for call in own
        if site.call in (None, "all", call.number)
    }


def finished_calls(
    calls: Sequence[Call], moment: int, opaque: set[tuple[int, int]]
) -> dict[tuple[int, int], Call]:
    """The outermost calls that are over at `moment`, by key.

    Args:
        calls: All calls of a pass.
        moment: The first intervention.
        opaque: Calls that cannot be replayed because of what they return; the calls in them
            may be.
    """
    opaque = opaque | {c.key for c in calls if c.entangled}
    over = {c.key: c for c in calls if c.end <= moment and c.key not in opaque}
    return {
        key: call
        for key, call in over.items()
        if not any(above.key in over for above in call.inside)
    }


def live_calls(
    calls: Sequence[Call], finished: dict[tuple[int, int], Call]
) -> dict[int, list[Call]]:
    """By identity of the layer, the calls that still happen when `finished` ones are replayed.

    The finished calls themselves are among them (they are answered), those inside them are not.
    """
    found: dict[int, list[Call]] = {}
    for call in calls:
        if not any(above.key in finished for above in call.inside):
            found.setdefault(id(call.layer), []).append(call)
    return found
