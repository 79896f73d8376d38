"""How directions of the outputs are pulled back to the units."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from infoflow._warnings import warn
from infoflow.unit_similarity.directions import laid_out, placed
from infoflow.unit_similarity.graph import VIEWS, dependent_inputs, depending, kind, shape_of
from infoflow.unit_similarity.perturbed import PerturbedBatch

_CLOSE = {torch.float64: 1e-8, torch.float32: 1e-3}


@dataclass(frozen=True, eq=False)
class WayOut:
    """The way from the units to the outputs y `(batch, places, features)`.

    Where y = z M with M the same for all samples and places, as in a language model's head, it
    starts at z: nothing as wide as the vocabulary is pulled back, and since only M Mᵀ matters for
    J_yᵀ J_y, directions for that are drawn among the fewer features of z.

    Attributes:
        batch: The batch.
        dim: Dimension of the outputs that has their features.
        edge: z, `(batch * places, width)`; None: no such M.
        matrix: M `(width, features)`.
        root: R `(width, width)` with R Rᵀ = M Mᵀ, where that is the smaller.
    """

    batch: PerturbedBatch
    dim: int
    edge: GradientEdge | None = None
    matrix: Tensor | None = None
    root: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Number of features of the directions that `sensed` takes, and of places."""
        laid = laid_out(self.batch.outputs, self.dim).shape
        return laid[2] if self.root is None else len(self.root), laid[1]

    def sensed(self, v: Tensor, place: Tensor) -> Tensor:
        """J_yᵀ v `(batch, n * positions)` of a random direction; with a root, of one that is as
        good: with the same E J_yᵀ v vᵀ J_y."""
        if self.root is None:
            return self.pulled(v, place, self.dim)
        return self._from_edge(v.to(self.root) @ self.root, place)

    def pulled(self, v: Tensor, place: Tensor, dim: int) -> Tensor:
        """J_yᵀ v of a direction of the outputs, whose features are along `dim`."""
        y = self.batch.outputs
        if self.matrix is None or dim != self.dim:
            return _pulled(self.batch, y, placed(v, place, y, dim))
        return self._from_edge(v.to(self.matrix) @ self.matrix.T, place)

    def checked(self, *, whole: bool) -> WayOut:
        """This way, if it pulls a random direction back as autograd does; else the way from the
        outputs, which is said.

        Args:
            whole: Back to the units; else from the outputs to z, which costs one product with M and
                is all that a later batch can have otherwise: behind z both go the same way.
        """
        direct = replace(self, edge=None, matrix=None, root=None)
        if self.edge is None or self.matrix is None:
            return self
        y = self.batch.outputs
        generator = torch.Generator().manual_seed(0)
        v = torch.randn(len(y), y.shape[-1], generator=generator, dtype=torch.float64).to(y)
        place = torch.arange(len(y)) % self.shape[1]
        if whole:
            found, right = (way.pulled(v, place, self.dim) for way in (self, direct))
        else:
            ends: Any = (self.edge,)
            weights = placed(v, place, y, self.dim)
            (right,) = torch.autograd.grad((y,), ends, (weights,), retain_graph=True)
            found = self._at_edge(v.to(self.matrix) @ self.matrix.T, place)
        close = _CLOSE.get(y.dtype, 0.1)
        if float((found - right).abs().max()) <= close * float(right.abs().max()):
            return self
        warn(
            "what is pulled back from before the last linear map is not what is pulled back from "
            "the outputs: probes start at the outputs"
        )
        return direct

    def _from_edge(self, v: Tensor, place: Tensor) -> Tensor:
        return _pulled(self.batch, self.edge, self._at_edge(v, place))

    def _at_edge(self, v: Tensor, place: Tensor) -> Tensor:
        """Directions `(batch, width)` at one place of each sample, `(batch * places, width)`."""
        weights = v.new_zeros(len(self.batch.outputs), self.shape[1], v.shape[1])
        weights[torch.arange(len(weights), device=v.device), place.to(v.device)] = v
        return weights.flatten(0, 1)


def _pulled(batch: PerturbedBatch, end: Any, weights: Tensor) -> Tensor:
    found = torch.autograd.grad(
        (end,),
        batch.deltas,
        (weights,),
        retain_graph=True,
        allow_unused=True,
        materialize_grads=True,
    )
    return torch.cat(found, 1)


def find_way_out(batch: PerturbedBatch, known: WayOut | None) -> WayOut:
    """By the nodes of the batch's graph: the last linear map, only reshaped after, if the units
    act on the outputs through nothing else. `known`: of another batch."""
    y = batch.outputs
    dim = 2 if y.ndim == 3 else 1
    if known is not None and known.edge is None:
        return replace(known, batch=batch)
    node: Any = y.grad_fn
    while kind(node) in VIEWS and shape_of(node)[-1:] == tuple(y.shape[-1:]):
        node = node.next_functions[0][0]
        if node is None:
            return WayOut(batch, dim)
    place = {"Addmm": 1, "Mm": 0}.get(kind(node))
    plain = getattr(node, "_saved_alpha", 1) == 1 and shape_of(node)[-1:] == tuple(y.shape[-1:])
    if place is None or not plain or y.ndim < 2:
        return WayOut(batch, dim)
    if dependent_inputs(node, depending([y], batch.deltas)) != [place]:
        return WayOut(batch, dim)
    matrix = node._saved_mat2.detach()
    edge = GradientEdge(*node.next_functions[place])
    if known is not None and known.matrix is not None and known.matrix.equal(matrix):
        return replace(known, batch=batch, edge=edge)
    root = _square_root(matrix) if len(matrix) < matrix.shape[1] else None
    return WayOut(batch, y.ndim - 1, edge, matrix, root)


def _square_root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix.double() @ matrix.double().T)
    return ((vectors * values.clamp_min(0).sqrt()) @ vectors.T).to(matrix.dtype)
