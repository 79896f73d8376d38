"""The order in which a model calls its layers, and which calls are over before an intervention."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.hooks import RemovableHandle

from infoflow._hooks import layer_at, removed_after
from infoflow._replay.memory import Memory, Shared
from infoflow._unchanged import every_layer
from infoflow.site import Site


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
