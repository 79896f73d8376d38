"""The closed form: forward-mode derivatives through linear maps, sums and elementwise functions.

A direction is pushed through each step: a linear map is applied to it, a sum adds it up, an
elementwise function multiplies it by its slope. What is the same for every sample, as before the
first nonlinearity, is pushed once. The steps are read off the autograd graph; one node that is
not known, and there is no closed form.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from infoflow.unit_similarity.graph import (
    BATCH_NORMS,
    ELEMENTWISE,
    VIEWS,
    dependent_inputs,
    depending,
    kind,
    node_of,
    shape_of,
)

_TILE = 2**18  # numbers: 1 MiB in float32


@dataclass(frozen=True, eq=False)
class Linear:
    """a = h M + b, M `(in, out)`."""

    matrix: Tensor

    def pushed(self, given: list[Tensor], _rows: slice) -> Tensor:
        return given[0] @ self.matrix


@dataclass(frozen=True, eq=False)
class Elementwise:
    """h_i = σ_i(a_i), with σ' `(batch, units)` at the batch's values, and σ'' or, where that is
    zero throughout, None."""

    slope: Tensor
    curvature: Tensor | None

    def pushed(self, given: list[Tensor], rows: slice) -> Tensor:
        return given[0] * self.slope[rows]


@dataclass(frozen=True, eq=False)
class Sum:
    """The arguments, each times a number, added up."""

    factors: tuple[float, ...]

    def pushed(self, given: list[Tensor], _rows: slice) -> Tensor:
        total = given[0] if self.factors[0] == 1 else given[0] * self.factors[0]
        for factor, value in zip(self.factors[1:], given[1:], strict=True):
            total = torch.add(total, value, alpha=factor)
        return total


Step = Linear | Elementwise | Sum


@dataclass(frozen=True, eq=False)
class Bend:
    """An elementwise step with a curvature.

    Attributes:
        slot: What goes into it.
        result: h = σ(a) `(batch, m)`, in the batch's graph.
        curvature: σ''(a) `(batch, m)`.
    """

    slot: int
    result: GradientEdge
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

    steps: tuple[tuple[Step, tuple[int, ...]], ...]
    ends: tuple[int, ...]
    bends: tuple[Bend, ...]
    count: int

    def push(self, starts: Sequence[Tensor], rows: slice) -> list[Tensor]:
        """Directions `(directions, 1, features)` to `(directions, samples or 1, features)` in every
        slot; one sample: the same for all."""
        slots = list(starts)
        for step, taken in self.steps:
            slots.append(step.pushed([slots[slot] for slot in taken], rows))
        return slots

    def tiles(self, numbers: int) -> Iterator[slice]:
        """A few samples at a time, for so many numbers per sample."""
        rows = max(_TILE // numbers, 1)
        for start in range(0, self.count, rows):
            yield slice(start, min(start + rows, self.count))


def read_carrier(starts: Sequence[Tensor | GradientEdge], ends: Sequence[Tensor]) -> Carrier | str:
    """The steps by which `ends` depend on `starts`, or why there is no closed form."""
    for end in ends:
        if end.dtype not in (torch.float32, torch.float64) or end.ndim != 2:
            return f"{tuple(end.shape)[1:]} {end.dtype} a sample is not one row of numbers"
    first = [node_of(start) for start in starts]
    slots = {node: i for i, node in enumerate(first)}
    steps: list[tuple[Step, tuple[int, ...]]] = []
    bends: list[Bend] = []
    for node in depending(ends, starts):
        if node in slots:
            continue
        given = dependent_inputs(node, slots)
        taken = tuple(slots[node.next_functions[i][0]] for i in given)
        step = _read(node, given, ends[0])
        if step is None:
            return f"{node.name()} is no linear map, sum or elementwise function of rows"
        if isinstance(step, Elementwise) and step.curvature is not None:
            bends.append(Bend(taken[0], GradientEdge(node, 0), step.curvature))
        if step is _SAME:
            slots[node] = taken[0]
        else:
            slots[node] = len(starts) + len(steps)
            steps.append((step, taken))
    if any(end.grad_fn not in slots for end in ends):
        return "something does not depend on what comes before it"
    found = tuple(slots[end.grad_fn] for end in ends)
    return Carrier(tuple(steps), found, tuple(bends), len(ends[0]))


def _read(node: Any, given: list[int], like: Tensor) -> Step | None:
    """What a node does to the inputs `given`, if that is known."""
    pairs = [node.next_functions[i] for i in given]
    shape, before = shape_of(node), [shape_of(parent) for parent, _ in pairs]
    single = len(shape) == 2 and shape[0] == len(like) and not any(nr for _, nr in pairs)
    if not single or node._input_metadata[0].dtype != like.dtype:
        return None
    name = kind(node)
    if name in ("Addmm", "Mm"):
        plain = given == [1 if name == "Addmm" else 0] and getattr(node, "_saved_alpha", 1) == 1
        return Linear(node._saved_mat2.detach()) if plain else None
    if any(size != shape for size in before):
        return None
    if name in ("Add", "Sub"):
        second = node._saved_alpha * (1 if name == "Add" else -1)
        return _known_sum(tuple(float((1, second)[i]) for i in given))
    if name in VIEWS | {"Clone"} or (name == "Permute" and tuple(node._saved_dims) == (0, 1)):
        return _SAME
    known = name in ELEMENTWISE or (name == "Mul" and len(given) == 1)
    affine = name in BATCH_NORMS and not getattr(node, "_saved_training", True)
    if known or ((affine or name == "Div") and given == [0]):
        return _elementwise(node, given[0], like)
    return None


_SAME = Sum((1.0,))


def _known_sum(factors: tuple[float, ...]) -> Sum:
    return _SAME if factors == (1.0,) else Sum(factors)


def _elementwise(node: Any, place: int, like: Tensor) -> Elementwise:
    """The slope is what the node makes of ones, and the curvature the slope's derivative."""
    with torch.enable_grad():
        ones = torch.ones(shape_of(node), dtype=like.dtype, device=like.device)
        found = node(ones, *[None] * (len(node._input_metadata) - 1))
        slope = found[place] if isinstance(found, tuple) else found
    curvature = None
    if slope.requires_grad:
        edge = GradientEdge(*node.next_functions[place])
        (curvature,) = torch.autograd.grad(
            slope.sum(), [edge], retain_graph=True, allow_unused=True
        )
    bent = curvature is not None and bool(curvature.any())
    return Elementwise(
        slope.detach(), curvature.detach() if bent and curvature is not None else None
    )


def i_sens(weight: Tensor, carrier: Carrier, sizes: Sequence[int], *, across: bool) -> Tensor:
    """Σ_k J_k J_kᵀ `(n, n)` of the units at the carrier's ends, which start from a = W x + b.

    Only W Wᵀ matters, so W is replaced by a square root of it where that is smaller.
    """
    start = _square_root(weight.T)[:, None]
    total = start.new_zeros(sum(sizes), sum(sizes), dtype=torch.float64)
    blocks = [row.split(list(sizes), 1) for row in total.split(list(sizes), 0)]
    for rows in carrier.tiles(len(start) * max(sizes)):
        slots = carrier.push([start], rows)
        found = [slots[slot] for slot in carrier.ends]
        for i, a in enumerate(found):
            for j in range(i, len(found) if across else i + 1):
                part = _paired(a, found[j], rows.stop - rows.start)
                blocks[i][j].add_(part)
                if i != j:
                    blocks[j][i].add_(part.T)
    return total


def downstream(
    carrier: Carrier, outputs: Tensor, sizes: Sequence[int], slope: Tensor, curvature: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Σ_k J_kᵀ J_k and Σ_k ∂²L_k/∂δ∂δ, of directions that start at units of these sizes.

    Each elementwise step h = σ(a) adds Jᵀ diag(∂L/∂h ⊙ σ''(a)) J, with J the Jacobian of a.

    Args:
        carrier: From the perturbations to the outputs.
        outputs: `(batch, o)`, in the batch's graph.
        sizes: Numbers of units at which directions start.
        slope: ∂L_k/∂y `(batch, o)`.
        curvature: ∂²L_k/∂y∂y `(batch, o, o)`; None: zero.
    """
    eye = torch.eye(sum(sizes), dtype=slope.dtype, device=slope.device)
    starts = [part[:, None] for part in eye.split(list(sizes), 1)]
    results = [bend.result for bend in carrier.bends]
    slopes = torch.autograd.grad(outputs, results, slope, retain_graph=True) if results else ()
    weights = [g * b.curvature for g, b in zip(slopes, carrier.bends, strict=True)]
    o_sens, total = eye.double().mul(0), eye.double().mul(0)
    largest = max(outputs.shape[1], *sizes, *[b.curvature.shape[1] for b in carrier.bends])
    for rows in carrier.tiles(len(eye) * largest):
        slots = carrier.push(starts, rows)
        y = slots[carrier.ends[0]].expand(-1, rows.stop - rows.start, -1)
        o_sens += y.flatten(1) @ y.flatten(1).T
        if curvature is not None:
            total += torch.einsum("kij,rkj->rki", curvature[rows], y).flatten(1) @ y.flatten(1).T
        for bend, weight in zip(carrier.bends, weights, strict=True):
            a = slots[bend.slot]
            some = weight[rows] if a.shape[1] > 1 else weight[rows].sum(0, keepdim=True)
            total += (a * some).flatten(1) @ a.flatten(1).T
    return o_sens, total


def _paired(a: Tensor, b: Tensor, count: int) -> Tensor:
    """Σ_k A_kᵀ B_k of `(rows, count or 1, columns)`; 1: the same for all."""
    if a.shape[1] != b.shape[1]:
        return a.sum(1).T @ b.sum(1)
    part = a.flatten(0, 1).T @ b.flatten(0, 1)
    return part * count if a.shape[1] == 1 else part


def _square_root(matrix: Tensor) -> Tensor:
    """R with RᵀR = MᵀM and the fewest rows."""
    rows, columns = matrix.shape
    if rows <= columns:
        return matrix
    values, vectors = torch.linalg.eigh(matrix.double().T @ matrix.double())
    return (values.clamp_min(0).sqrt()[:, None] * vectors.T).to(matrix.dtype)
