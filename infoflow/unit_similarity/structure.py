"""What holds for a batch, by every operation that its derivatives pass through.

A short cut is taken only where the autograd graph of this very batch says that it is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge
from torch.nn import functional as F

from infoflow.unit_similarity.carried import Carrier, read_carrier
from infoflow.unit_similarity.graph import (
    VIEWS,
    dependent_inputs,
    depending,
    is_piecewise_linear,
    kind,
    long_product,
    node_of,
    shape_of,
    wide,
)
from infoflow.unit_similarity.perturbed import PerturbedBatch


@dataclass(frozen=True, eq=False)
class Entrance:
    """The one linear map or convolution a = W x + b through which the inputs enter.

    If they act only through it, J_x J_xᵀ = J_a (W Wᵀ) J_aᵀ, and differentiation stops at a, which
    is smaller than x. For a convolution the way from a to x is an ordinary convolution with the
    turned kernel: for few input channels torch's own backward pass was 6 times slower.

    Attributes:
        edge: a, `(batch, ...)`.
        weight: W `(out, in)`, or a kernel `(out, in, height, width)`.
        padding: Of the convolution.
    """

    edge: GradientEdge
    weight: Tensor
    padding: tuple[int, int] | None = None

    @property
    def is_smaller(self) -> bool:
        """Whether there is less to differentiate at a than at x."""
        return self.padding is not None or len(self.weight) < self.weight.shape[1]

    def products(self, rows: Tensor) -> Tensor:
        """Σ J_x J_xᵀ `(n, n)` from J_a `(n, batch, ...)`."""
        n = len(rows)
        if self.padding is None:
            kernel = wide(self.weight) @ wide(self.weight).T
            flat = wide(rows)
            heavy = (flat.reshape(-1, len(kernel)) @ kernel).reshape(flat.shape)
            return long_product(heavy.reshape(n, -1), flat.reshape(n, -1))
        turned = self.weight.flip(2, 3).transpose(0, 1)
        size = self.weight.shape[2:]
        rest = tuple(k - 1 - p for k, p in zip(size, self.padding, strict=True))
        inputs = [F.conv2d(part, turned, padding=rest).flatten(1) for part in rows]
        flat = wide(torch.stack(inputs)).reshape(n, -1)
        return long_product(flat, flat)


@dataclass(frozen=True, eq=False)
class Structure:
    """Short cuts that hold for a batch; with none, everything is differentiated exactly as it
    stands, one unit at a time in batched backward passes.

    Attributes:
        entrance: Where the inputs enter; `i_sens` stops there.
        inward: The steps from the entrance to the units, if all are known.
        outward: Per group of sites, the steps from the perturbations to the outputs.
        piecewise_linear: The outputs are piecewise linear in the units: the Hessian comes from
            the Jacobian of the outputs.
        apart: Positions that have nothing to do with each other are differentiated together.
        ways: By measure, how it is computed, and if exactly, why.
    """

    entrance: Entrance | None = None
    inward: Carrier | None = None
    outward: tuple[Carrier, ...] | None = None
    piecewise_linear: bool = False
    apart: bool = False
    ways: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The short cuts that are taken."""
        carried = self.inward is not None or self.outward is not None
        taken = {
            "entrance": self.entrance is not None,
            "carried": carried,
            "piecewise_linear": self.piecewise_linear,
            "apart": self.apart,
        }
        return tuple(name for name, holds in taken.items() if holds)


EXACT = Structure()


def read_structure(batch: PerturbedBatch, bases: frozenset[str], *, across: bool) -> Structure:
    """The short cuts that hold for these measures of a batch."""
    single = batch.chosen is None
    entrance, inward, why_in = _way_in(batch) if "i_sens" in bases else (None, None, "")
    flat, outward, why_out = False, None, ""
    if "hess" in bases:
        flat = is_piecewise_linear(batch.outputs, batch.deltas)
        outward, why_out = (None, "") if flat or not single else _way_out(batch, across)
        if flat:
            why_out = "from the outputs' Jacobian: they are piecewise linear in the units"
    why = {"i_sens": why_in, "o_sens": "exact", "hess": why_out or "exact, position by position"}
    if outward is not None:
        why["o_sens"] = why_out
    return Structure(
        entrance, inward, outward, flat, apart=not single, ways={b: why[b] for b in bases & {*why}}
    )


def _way_in(batch: PerturbedBatch) -> tuple[Entrance | None, Carrier | None, str]:
    """The short cuts of `i_sens`, and which way is taken for what reason."""
    entrance = find_entrance(batch)
    if entrance is None:
        return None, None, "exact: the inputs do not enter through one linear map alone"
    reason = "positions are looked at one by one" if batch.chosen is not None else "a convolution"
    if batch.chosen is None and entrance.padding is None:
        reason = f"there are few units for {min(entrance.weight.shape)} directions"
        if min(entrance.weight.shape) <= 2 * batch.n:  # else a backward pass each is less
            inward = read_carrier([entrance.edge], batch.units)
            if isinstance(inward, Carrier):
                return entrance, inward, "closed form"
            reason = inward
    if entrance.is_smaller:
        return entrance, None, f"exact as far as the first linear map or convolution: {reason}"
    return None, None, f"exact: {reason}"


def _way_out(batch: PerturbedBatch, across: bool) -> tuple[tuple[Carrier, ...] | None, str]:
    """The closed form of `hess`, and of `o_sens` with it."""
    groups = [batch.deltas] if across else [(delta,) for delta in batch.deltas]
    carriers = []
    for group in groups:
        carrier = read_carrier(group, [batch.outputs])
        if isinstance(carrier, str):
            return None, f"exact: {carrier}"
        carriers.append(carrier)
    return tuple(carriers), "closed form"


def find_entrance(batch: PerturbedBatch) -> Entrance | None:
    """The first linear map or convolution, if the one input reaches the units through it alone, is
    only reshaped before, and it makes the work less."""
    if len(batch.inputs) != 1:
        return None
    (x,) = batch.inputs
    nodes = depending(batch.units, [x])
    current, count = node_of(x), len(x)
    while True:
        readers = [node for node in nodes if dependent_inputs(node, {current})]
        if len(readers) != 1:
            return None
        (reader,) = readers
        if kind(reader) in VIEWS | {"Clone"} and shape_of(reader)[:1] == (count,):
            current = reader
            continue
        given = shape_of(current)
        return _linear(reader, current, given) or _convolution(reader, current, given)


def _linear(node: Any, before: Any, given: tuple[int, ...]) -> Entrance | None:
    place = {"Addmm": 1, "Mm": 0}.get(kind(node))
    if place is None or dependent_inputs(node, {before}) != [place] or len(given) != 2:
        return None
    if getattr(node, "_saved_alpha", 1) != 1:
        return None
    return Entrance(GradientEdge(node, 0), node._saved_mat2.detach().T)


def _convolution(node: Any, before: Any, given: tuple[int, ...]) -> Entrance | None:
    if kind(node) != "Convolution" or dependent_inputs(node, {before}) != [0] or len(given) != 4:
        return None
    if node._saved_transposed or node._saved_groups != 1:
        return None
    if set(node._saved_stride) | set(node._saved_dilation) != {1}:
        return None
    kernel, padding = node._saved_weight.detach(), tuple(node._saved_padding)
    if any(p >= k for p, k in zip(padding, kernel.shape[2:], strict=True)):
        return None
    return Entrance(GradientEdge(node, 0), kernel, (padding[0], padding[1]))
