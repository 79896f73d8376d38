"""Which positions of a convolutional network's maps have to do with each other, read off the
autograd graph, so that one backward pass serves many positions.

Where two positions share no input, Σ_p J_p J_pᵀ = (Σ_p J_p)(Σ_p J_p)ᵀ: the products between them
vanish. So the positions fall into a few groups (a colouring of a graph, as for sparse Jacobians:
Curtis, Powell & Reid 1974), and each group is differentiated at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from infoflow.unit_similarity.graph import (
    BATCH_NORMS,
    ELEMENTWISE,
    allowed,
    children_first,
    dependent_inputs,
    kind,
    shape_of,
)
from infoflow.unit_similarity.perturbed import PerturbedBatch

_ELEMENTWISE = ELEMENTWISE | {"Add", "Sub", "Mul", "Div", "ToCopy", "Where", "PreluKernel"}
_POOLS = {"MaxPool2DWithIndices", "AvgPool2D"}


@dataclass(frozen=True, eq=False)
class Reach:
    """Position (y, x) of a map depends on (v, u) of another only if rows[y, v] and columns[x, u].

    Attributes:
        rows: `(height, height of the other)` bool.
        columns: `(width, width of the other)` bool.
    """

    rows: Tensor
    columns: Tensor

    @staticmethod
    def same(height: int, width: int) -> Reach:
        """Each position depends on itself."""
        return Reach(torch.eye(height, dtype=torch.bool), torch.eye(width, dtype=torch.bool))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the map."""
        return len(self.rows), len(self.columns)

    def either(self, other: Reach) -> Reach:
        """Dependence by one way or the other."""
        return Reach(self.rows | other.rows, self.columns | other.columns)

    def meet(self, positions: Tensor) -> Tensor:
        """`(p, p)` bool: which of these positions share a position that they depend on."""
        y, x = positions // len(self.columns), positions % len(self.columns)
        return _overlap(self.rows[y]) & _overlap(self.columns[x])

    def meet_later(self, positions: Tensor) -> Tensor:
        """`(p, p)` bool: which of these positions of the other map act on a common position."""
        width = self.columns.shape[1]
        y, x = positions // width, positions % width
        return _overlap(self.rows.T[y]) & _overlap(self.columns.T[x])


def reaches(root: Any, starts: Mapping[Any, Reach]) -> dict[Any, Reach | None]:
    """For each backward node under `root` that depends on one of `starts`: how far it reaches; None
    if that cannot be read off, as after flattening."""
    found: dict[Any, Reach | None] = {}
    for node in children_first(root):
        if node in starts:
            found[node] = starts[node]
            continue
        dependent = dependent_inputs(node, found)
        if dependent:
            below = [found[node.next_functions[i][0]] for i in dependent]
            found[node] = _step(node, dependent, below)
    return found


def groups_by_input(batch: PerturbedBatch) -> list[Tensor]:
    """Indices of the chosen positions, in groups of which no two share an input.

    If dependence cannot be read off, each position is by itself.
    """
    if len(batch.inputs) != 1 or batch.inputs[0].ndim != 4:
        return one_by_one(batch)
    (x,) = batch.inputs
    starts = {get_gradient_edge(x).node: Reach.same(*x.shape[2:])}
    total = None
    for here in batch.maps():
        node = None if here is None else here.before
        reach = None if node is None else reaches(node, starts).get(node)
        if reach is None:
            return one_by_one(batch)
        total = reach if total is None else total.either(reach)
    return one_by_one(batch) if total is None else groups_apart(total.meet(batch.places))


def groups_by_curvature(batch: PerturbedBatch) -> list[Tensor] | None:
    """Indices of the chosen positions, in groups of which no two act on a common place where the
    outputs are curved; the outputs' second derivative between two such positions is zero.

    None if that cannot be read off.
    """
    maps = batch.maps()
    here = maps[0]
    if len(maps) != 1 or here is None or batch.outputs.grad_fn is None:
        return None
    starts = {here.after: Reach.same(*here.shape[2:])}
    found = reaches(batch.outputs.grad_fn, starts)
    meet = torch.eye(batch.positions, dtype=torch.bool)
    for node, reach in found.items():
        if node in starts or allowed(node, found):
            continue
        if reach is None:
            return None
        meet |= reach.meet_later(batch.places)
    return groups_apart(meet)


def one_by_one(batch: PerturbedBatch) -> list[Tensor]:
    """Each of the chosen positions by itself."""
    return list(torch.arange(batch.positions)[:, None])


def groups_apart(meet: Tensor) -> list[Tensor]:
    """Few groups of indices of which no two meet: each goes to the first group that is free.

    Examples:
        >>> meet = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 1, 1]], dtype=torch.bool)
        >>> [group.tolist() for group in groups_apart(meet)]
        [[0, 2], [1]]
    """
    groups: list[list[int]] = []
    taken: list[Tensor] = []
    for i, row in enumerate(meet):
        free = next((g for g, blocked in enumerate(taken) if not blocked[i]), len(groups))
        if free == len(groups):
            groups.append([])
            taken.append(torch.zeros(len(meet), dtype=torch.bool))
        groups[free].append(i)
        taken[free] |= row
    return [torch.tensor(group) for group in groups]


def _overlap(reach: Tensor) -> Tensor:
    wide = reach.float()  # sums of up to 2**24 ones are exact
    return wide @ wide.T > 0


def _step(node: Any, dependent: list[int], below: list[Reach | None]) -> Reach | None:
    known = [reach for reach in below if reach is not None]
    if len(known) < len(below):
        return None
    after = _after(kind(node), node, dependent, known)
    shape = shape_of(node)
    return after if after is not None and len(shape) == 4 and shape[2:] == after.size else None


def _after(name: str, node: Any, dependent: list[int], below: list[Reach]) -> Reach | None:
    if name in _ELEMENTWISE and all(reach.size == below[0].size for reach in below):
        return reduce(Reach.either, below)
    if dependent != [0]:
        return None
    if name in BATCH_NORMS:  # in training mode, samples act on each other
        return None if getattr(node, "_saved_training", True) else below[0]
    if name == "Convolution" and not node._saved_transposed:
        kernel = node._saved_weight.shape[2:]
        return _slid(below[0], node, kernel, node._saved_dilation) if len(kernel) == 2 else None
    if name in _POOLS:
        dilation = getattr(node, "_saved_dilation", (1, 1))
        return _slid(below[0], node, node._saved_kernel_size, dilation)
    return None


def _slid(reach: Reach, node: Any, kernel: Any, dilation: Any) -> Reach | None:
    """Through a kernel that slides over the map."""
    stride = node._saved_stride or kernel
    sizes = node._input_metadata[0].shape[2:]
    bands = [
        _band(sizes[axis], reach.size[axis], kernel[axis], stride[axis],
              node._saved_padding[axis], dilation[axis])
        for axis in (0, 1)
    ]  # fmt: skip
    return Reach(_through(bands[0], reach.rows), _through(bands[1], reach.columns))


def _band(after: int, before: int, kernel: int, stride: int, padding: int, dilation: int) -> Tensor:
    band = torch.zeros(after, before, dtype=torch.bool)
    for k in range(kernel):
        seen = torch.arange(after) * stride - padding + k * dilation
        inside = (seen >= 0) & (seen < before)
        band[inside, seen[inside]] = True
    return band


def _through(band: Tensor, reach: Tensor) -> Tensor:
    return band.float() @ reach.float() > 0
