"""One pass of a model in which finished calls are answered, and the rest runs as it always does.

README.md in this folder says why that is right, and what guards it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from infoflow._hooks import CallFunction, layer_at, removed_after
from infoflow._replay.calls import Call, live_calls, moments
from infoflow._replay.guard import Guard
from infoflow._replay.lazy import LazyTensor, Thunk, materialised
from infoflow._replay.tables import Answer, Key, ReplayError, Stop
from infoflow.recording import Recording
from infoflow.site import Site


@dataclass(frozen=True, eq=False)
class _Inputs(Thunk):
    """Thunk of `LazyTensor`: a model's argument, which stays on the CPU until it is asked for."""

    data: Tensor
    index: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.index), *self.data.shape[1:])

    @property
    def like(self) -> Tensor:
        return torch.empty(0, dtype=self.data.dtype, device=self.index.device)

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
    _moments: dict[str, dict[int, int]] = field(default_factory=dict)
    _nbytes: dict[tuple[str, ...], int] = field(default_factory=dict)

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

    def live_moments(self, site: Site) -> dict[int, int]:
        """Call number and moment of the site's activations that are computed, not answered."""
        if site.name not in self._moments:
            at = moments(self.rec.model, self.calls, site)
            self._moments[site.name] = {n: when for n, when in at.items() if when >= self.first}
        return self._moments[site.name]

    def nbytes_until(self, observe: tuple[str, ...]) -> int:
        """Bytes per sample that layers return from the first intervention to the last of these."""
        if observe not in self._nbytes:
            sites = [self.rec.units.site(name) for name in observe]
            ends = [max(self.live_moments(site).values(), default=0) for site in sites]
            self._nbytes[observe] = self.nbytes_per_row(max(ends, default=0))
        return self._nbytes[observe]

    def nbytes_per_row(self, last: int | None = None, first: int | None = None) -> int:
        """Bytes per sample that layers return between two moments (None: the first intervention,
        the end)."""
        parents = {call.parent.key for call in self.calls if call.parent is not None}
        start = self.first if first is None else first
        own = [c for c in self.calls if c.end >= start and c.key not in parents]
        return max(1, sum(c.nbytes for c in own if not last or c.end <= last))

    def run(
        self,
        index: Tensor,
        functions: Sequence[tuple[Site, CallFunction]],
        used: Callable[[Key, int], None] | None = None,
    ) -> Any:
        """One pass over those samples; the model's output, or None if a function raised `Stop`.

        Args:
            index: `(rows,)` samples, on the model's device.
            functions: What to do at each site, as for `call_hooks`, with the call's number.
            used: Told when somebody computes with an answer's leaf.

        Raises:
            ReplayError: The calls were not those of the traced pass.
        """
        args = tuple(LazyTensor(_Inputs(x, index)) for x in self.rec.inputs)
        left = {layer: list(calls) for layer, calls in self.live.items()}
        output = None
        answering = self._intercepting(index, functions, left, used)
        with contextlib.suppress(Stop), answering, removed_after(self._hooks(functions)):
            output = self.rec.call(args)
        if any(call.key in self.answers for calls in left.values() for call in calls):
            raise ReplayError("a layer that was called in the normal run was not called")
        return output if output is None else materialised(output)

    def attempt(self, *args: Any, **kwargs: Any) -> Any:
        """`run`, for the first time: whatever goes wrong with lazy tensors is a `ReplayError`."""
        try:
            return self.run(*args, **kwargs)
        except Exception as error:
            raise ReplayError(f"{type(error).__name__}: {error}") from error

    @contextmanager
    def _intercepting(
        self,
        index: Tensor,
        functions: Sequence[tuple[Site, CallFunction]],
        left: dict[int, list[Call]],
        used: Callable[[Key, int], None] | None,
    ) -> Iterator[None]:
        """Answered calls get their answer; after live calls of a site's layer its function runs.

        Answers bypass hooks, the user's too, whose effect the answer has in it already.
        """
        layers = {id(call.layer): call.layer for call in self.answered.values()}
        wrapped = [(s, f) for s, f in functions if s.io == "output"]
        layers |= {id(self.layers[s.path]): self.layers[s.path] for s, _ in wrapped}
        compiled = {number: vars(m).get("_compiled_call_impl") for number, m in layers.items()}
        try:
            for number, layer in layers.items():
                own = [(s, f) for s, f in wrapped if self.layers[s.path] is layer]
                stub = self._stub(layer, index, left.get(number, []), own, used)
                vars(layer)["_compiled_call_impl"] = stub
            yield
        finally:
            for number, layer in layers.items():
                vars(layer).pop("_compiled_call_impl", None)
                if compiled[number] is not None:
                    vars(layer)["_compiled_call_impl"] = compiled[number]

    def _stub(
        self,
        layer: nn.Module,
        index: Tensor,
        left: list[Call],
        functions: Sequence[tuple[Site, CallFunction]],
        used: Callable[[Key, int], None] | None,
    ) -> Callable[..., Any]:
        def call_layer(*args: Any, **kwargs: Any) -> Any:
            call = left.pop(0) if left else None
            if call is None:
                raise ReplayError("a layer was called more often than in the normal run")
            if call.key not in self.answers:
                value = layer._call_impl(*args, **kwargs)
            else:
                told = None if used is None else partial(used, call.key)
                value = self.answers[call.key](index, (args, kwargs), told)
            for site, function in functions if call.end >= self.first else ():
                if site.call in (None, "all", call.number):
                    changed = function(value, call.number)
                    value = value if changed is None else changed
            return value

        return call_layer

    def _hooks(self, functions: Sequence[tuple[Site, CallFunction]]) -> Iterator[RemovableHandle]:
        """Hooks for inputs of the calls that really happen, told their numbers in a full pass."""
        for site, function in functions:
            layer = self.layers[site.path]
            if site.io == "input":
                own = [c.number for c in self.live.get(id(layer), ())]
                own = [n for n in own if (id(layer), n) not in self.answers]
                yield _watch_input(layer, site, function, own)


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
