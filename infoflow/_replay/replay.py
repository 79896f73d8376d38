"""One pass of a model in which finished calls are answered, and the rest runs as it always does.

README.md in this folder says why that is right, and what guards it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from infoflow._hooks import CallFunction, layer_at, removed_after
from infoflow._replay.calls import Call, live_calls, moments
from infoflow._replay.chunks import Guard
from infoflow._replay.tables import Answer, Key, LazyTensor, ReplayError, Stop, Thunk, materialised
from infoflow.recording import Recording
from infoflow.site import Site


@dataclass(frozen=True, eq=False)
class _Inputs(Thunk):
    """Thunk of `LazyTensor`: a model's argument, which stays on the CPU until it is asked for."""

    data: Tensor
    index: Tensor
    like: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.index), *self.data.shape[1:])

    def compute(self) -> Tensor:
        return self.data.index_select(0, self.index.cpu()).to(self.index.device)


@dataclass(frozen=True, eq=False)
class Replay:
    """How to run the model from a first intervention on.

    Attributes:
        rec: The recording.
        calls: The calls of a normal pass.
        first: The moment of the first intervention.
        answers: What calls that are over by then return.
        guard: Says which rows of a run are compared with a full pass.
    """

    rec: Recording
    calls: Sequence[Call]
    first: int
    answers: Mapping[Key, Answer]
    guard: Guard = field(default_factory=Guard)
    _moments: dict[str, tuple[dict[int, int], dict[int, int]]] = field(default_factory=dict)
    _nbytes: dict[tuple[str, ...], tuple[int, int]] = field(default_factory=dict)
    _places: dict[tuple[str, ...], tuple[list[Any], list[Any]]] = field(default_factory=dict)

    @cached_property
    def answered(self) -> dict[Key, Call]:
        """The calls that are answered."""
        return {call.key: call for call in self.calls if call.key in self.answers}

    @cached_property
    def live(self) -> dict[int, list[Call]]:
        """By layer, the calls that the model still makes; the answered ones among them."""
        return live_calls(self.calls, self.answered)

    @cached_property
    def layers(self) -> dict[str, nn.Module]:
        """The recorded sites' layers, by path."""
        return {s.path: layer_at(self.rec.model, s.path) for s in self.rec.units.sites}

    @cached_property
    def _empty(self) -> list[Tensor]:
        return [torch.empty(0, dtype=x.dtype, device=self.rec.device) for x in self.rec.inputs]

    def _moments_of(self, site: Site) -> tuple[dict[int, int], dict[int, int]]:
        if site.name not in self._moments:
            at = moments(self.rec.model, self.calls, site)
            self._moments[site.name] = at, {n: t for n, t in at.items() if t >= self.first}
        return self._moments[site.name]

    def live_moments(self, site: Site) -> dict[int, int]:
        """Call number and moment of the site's activations that are computed, not answered."""
        return self._moments_of(site)[1]

    def n_seen(self, observe: tuple[str, ...]) -> int:
        """How many activations of these sites there are in a full pass."""
        return sum(len(self._moments_of(self.rec.units.site(name))[0]) for name in observe)

    def nbytes(self, observe: tuple[str, ...]) -> tuple[int, int]:
        """Bytes per sample that layers return up to the last of these sites: from the first
        intervention on, and from the start."""
        if observe not in self._nbytes:
            sites = [self.rec.units.site(name) for name in observe]
            ends = [max(self.live_moments(site).values(), default=0) for site in sites]
            last = max(ends, default=0)
            parents = {call.parent.key for call in self.calls if call.parent is not None}
            own = [c for c in self.calls if c.key not in parents]
            full = [c for c in own if not last or c.end <= last]
            live = [c for c in full if c.end >= self.first]
            sizes = (max(1, sum(c.nbytes for c in some)) for some in (live, full))
            self._nbytes[observe] = next(sizes), next(sizes)
        return self._nbytes[observe]

    def run(
        self,
        index: Tensor,
        functions: Sequence[tuple[Site, CallFunction]],
    ) -> Any:
        """One pass over those samples; the model's output, or None if a function raised `Stop`.

        Args:
            index: `(rows,)` samples, on the model's device.
            functions: What to do at each site, as for `call_hooks`, with the call's number.

        Raises:
            ReplayError: The calls were not those of the traced pass.
        """
        inputs = zip(self.rec.inputs, self._empty, strict=True)
        args = [LazyTensor(_Inputs(x, index, like)) for x, like in inputs]
        stubs, hooks = self._stubs(index, functions)
        compiled = [own.get(_CALL) for own, _ in stubs]
        output = None
        try:
            for own, stub in stubs:
                own[_CALL] = stub
            with removed_after(hooks):
                output = self.rec.call(args)
        except Stop:
            pass
        finally:
            for (own, _), before in zip(stubs, compiled, strict=True):
                if before is None:
                    own.pop(_CALL, None)
                else:
                    own[_CALL] = before
        if any(call.key in self.answers for _, stub in stubs for call in stub.left):
            raise ReplayError("a layer that was called in the normal run was not called")
        return output if output is None else materialised(output)

    def _stubs(
        self,
        index: Tensor,
        functions: Sequence[tuple[Site, CallFunction]],
    ) -> tuple[list[tuple[dict[str, Any], _Stub]], Iterable[RemovableHandle]]:
        """What stands in for the layers that are answered or looked at, with their attributes; and
        hooks for inputs of the calls that really happen."""
        names = tuple(site.name for site, _ in functions)
        if names not in self._places:
            self._places[names] = self._placed([site for site, _ in functions])
        outputs, inputs = self._places[names]
        stubs = []
        for layer, calls, numbers in outputs:
            own = [functions[number] for number in numbers]
            stubs.append((vars(layer), _Stub(self, layer, [*calls], own, index)))
        return stubs, (
            _watch_input(self.layers[site.path], site, functions[number][1], [*calls])
            for site, calls, number in inputs
        )

    def _placed(self, sites: Sequence[Site]) -> tuple[list[Any], list[Any]]:
        """Layer, live calls and places in `sites` of each that is answered or whose outputs are
        looked at; site, numbers of calls and place of each whose inputs are."""
        layers = {id(call.layer): call.layer for call in self.answered.values()}
        wrapped = [n for n, site in enumerate(sites) if site.io == "output"]
        layers |= {id(m): m for m in (self.layers[sites[n].path] for n in wrapped)}
        outputs = [
            (m, self.live.get(number, []), [n for n in wrapped if self.layers[sites[n].path] is m])
            for number, m in layers.items()
        ]
        inputs = []
        for n, site in enumerate(sites):
            calls = self.live.get(id(self.layers[site.path]), [])
            if site.io == "input":
                inputs.append((site, [c.number for c in calls if c.key not in self.answers], n))
        return outputs, inputs


_CALL = "_compiled_call_impl"


@dataclass(slots=True, eq=False)
class _Stub:
    """Stands in for a layer in one pass: answered calls get their answer, after live calls the
    functions of its sites run. Answers bypass hooks, the user's too, whose effect they have in
    them already."""

    replay: Replay
    layer: nn.Module
    left: list[Call]
    functions: Sequence[tuple[Site, CallFunction]]
    index: Tensor

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.left:
            raise ReplayError("a layer was called more often than in the normal run")
        call = self.left.pop(0)
        answer = self.replay.answers.get(call.key)
        if answer is None:
            value = self.layer._call_impl(*args, **kwargs)
        else:
            value = answer(self.index, (args, kwargs))
        for site, function in self.functions if call.end >= self.replay.first else ():
            if site.call in (None, "all", call.number):
                changed = function(value, call.number)
                value = value if changed is None else changed
        return value


def _watch_input(
    layer: nn.Module, site: Site, function: CallFunction, numbers: list[int]
) -> RemovableHandle:
    def see(_layer: nn.Module, args: Any, kwargs: Any) -> Any:
        if not numbers:
            raise ReplayError(f"layer {site.path!r} was called more often than in the normal run")
        number = numbers.pop(0)
        chosen = site.call in (None, "all", number)
        return function((args, kwargs), number) if chosen else None

    return layer.register_forward_pre_hook(see, with_kwargs=True)
