"""Derivatives carried forward through what a batch did: the closed forms of a chain, for networks
that branch and add, as residual ones do.

A direction is pushed through each step: a linear map is applied to it, a sum adds it up, an
elementwise function multiplies it by its slope. What is the same for every sample, as before the
first nonlinearity, is pushed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from infoflow.unit_similarity.chain import Elementwise, Linear, read_step
from infoflow.unit_similarity.graph import depending
from infoflow.unit_similarity.perturbed import PerturbedBatch
from infoflow.unit_similarity.trace import Call

_ADDING = {torch.add: 1, Tensor.add: 1, Tensor.__add__: 1, Tensor.__radd__: 1}
_TAKING = {torch.sub: -1, Tensor.sub: -1, Tensor.__sub__: -1}
_TILE = 2**18  # numbers: 1 MiB in float32


@dataclass(frozen=True, eq=False)
class Sum:
    """The first argument plus or minus the second."""

    signs: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Bend:
    """An elementwise step with a curvature.

    Attributes:
        slot: What goes into it.
        result: h = σ(a) `(batch, m)`, in the batch's graph.
        curvature: σ''(a) `(batch, m)`.
    """

    slot: int
    result: Tensor
    curvature: Tensor


@dataclass(frozen=True, eq=False)
class Carrier:
    """The steps between some tensors of a batch and others, `(batch, features)` all.

    Attributes:
        steps: Each with the slots it takes; what it gives is the next slot. The first slots are
            where directions start.
        ends: The slots of the tensors that are wanted.
        bends: The steps with a curvature.
        count: Number of samples.
    """

    steps: tuple[tuple[Linear | Elementwise | Sum, tuple[int, ...]], ...]
    ends: tuple[int, ...]
    bends: tuple[Bend, ...]
    count: int

    def push(self, starts: Sequence[Tensor], rows: slice) -> list[Tensor]:
        """Directions `(directions, 1, features)` to `(directions, samples or 1, features)` in every
        slot; one sample: the same for all."""
        slots = list(starts)
        for step, taken in self.steps:
            slots.append(_pushed(step, [slots[slot] for slot in taken], rows))
        return slots

    def tiles(self, numbers: int) -> Iterator[slice]:
        """A few samples at a time, for so many numbers per sample."""
        rows = max(_TILE // numbers, 1)
        for start in range(0, self.count, rows):
            yield slice(start, min(start + rows, self.count))


def read_carrier(
    batch: PerturbedBatch, starts: Sequence[Tensor], ends: Sequence[Tensor | None]
) -> Carrier | None:
    """The steps by which `ends` depend on `starts`, or None if they are not all of these kinds.

    Every function called with a tensor that depends on the starts has to be `F.linear`, a sum, a
    view of the same shape, or elementwise at this batch (see `run_chain`); and no tensor may depend
    on them by a way that the trace has not seen, by the autograd graph.
    """
    if any(start.dtype not in (torch.float32, torch.float64) for start in starts):
        return None
    slots = {id(start): i for i, start in enumerate(starts)}
    nodes = depending(ends, starts)
    steps: list[tuple[Linear | Elementwise | Sum, tuple[int, ...]]] = []
    bends: list[Bend] = []
    for call in batch.calls:
        known = [t for t in call.tensors if id(t) in slots]
        if any(t.grad_fn in nodes for t in call.tensors if id(t) not in slots):
            return None
        if not known or call.result.grad_fn not in nodes:
            continue
        taken = tuple(slots[id(t)] for t in known)
        if _is_view(call, known):
            slots[id(call.result)] = taken[0]
            continue
        step = _read(call, known)
        if step is None:
            return None
        if isinstance(step, Elementwise) and step.curvature is not None:
            bends.append(Bend(taken[0], call.result, step.curvature))
        slots[id(call.result)] = len(starts) + len(steps)
        steps.append((step, taken))
    if any(end is None or id(end) not in slots for end in ends):
        return None
    found = tuple(slots[id(end)] for end in ends)
    return Carrier(tuple(steps), found, tuple(bends), len(batch.outputs))


def _is_view(call: Call, known: list[Tensor]) -> bool:
    value, result = known[0], call.result
    return result is value or (
        len(known) == 1
        and not call.changed
        and result.data_ptr() == value.data_ptr()
        and (result.shape, result.stride()) == (value.shape, value.stride())
    )


def _read(call: Call, known: list[Tensor]) -> Linear | Elementwise | Sum | None:
    every = (*known, call.result)
    if call.changed or any(t.ndim != 2 or t.dtype != known[0].dtype for t in every):
        return None
    signs = _ADDING.get(call.function) or _TAKING.get(call.function)
    if signs is not None:
        plain = not call.kwargs and all(t.shape == call.result.shape for t in known)
        order = [i for i, value in enumerate(call.args) if any(value is t for t in known)]
        return (
            Sum(tuple((1, signs)[i] for i in order)) if plain and len(order) == len(known) else None
        )
    if len(known) > 1:
        return None
    found = read_step(call, known[0])
    return found[0] if found else None


def _pushed(step: Linear | Elementwise | Sum, taken: list[Tensor], rows: slice) -> Tensor:
    if isinstance(step, Linear):
        return F.linear(taken[0], step.weight)
    if isinstance(step, Elementwise):
        return taken[0] * step.slope[rows]
    total = taken[0] if step.signs[0] == 1 else -taken[0]
    for sign, value in zip(step.signs[1:], taken[1:], strict=True):
        total = torch.add(total, value, alpha=sign)
    return total
