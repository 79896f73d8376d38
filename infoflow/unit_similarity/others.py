"""Measures for comparison with the eight of the paper: weights alone, and rank correlation.

Which weights feed the units of a site, and which read them, is read off the autograd graph: the one
linear map or convolution before or after it. Between the two there may be what leaves every unit in
its place and at its scale: nonlinearities of one number, constants added, pooling over a channel's
positions, flattening of a map. Normalisation in evaluation mode scales the weights. Whatever else
stands between (a permutation, a slice, a factor, a mixing) is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infoflow._safety import evaluating
from infoflow.recording import Recording
from infoflow.unit_similarity.graph import (
    BATCH_NORMS,
    ELEMENTWISE,
    VIEWS,
    dependent_inputs,
    depending,
    kind,
    shape_of,
)
from infoflow.unit_similarity.perturbed import run_perturbed
from infoflow.unit_similarity.request import make_request

_POOLS = {
    "MaxPool2DWithIndices", "MaxPool3DWithIndices", "AvgPool2D", "AvgPool3D", "AdaptiveAvgPool2D",
    "AdaptiveMaxPool2D",
}  # fmt: skip
_ACTIVATIONS = ELEMENTWISE - {"Neg", "Pow"} | {"PreluKernel"}
_WEIGHTED = {"Addmm", "Mm", "Convolution"}
_REMEDY = "record the layer itself, one step of linear or convolution away from its weights"


def weight_graph(rec: Recording, names: list[str]) -> np.ndarray:
    """The graph of the classical modularity score: |W_ij| between unit i of a layer and unit j of
    the recorded layer that feeds it (summed over a kernel's or a flattened map's positions), 0
    elsewhere.

    Returns:
        `(n, n)` float64, symmetric, with zero diagonal blocks.

    Raises:
        ValueError: No two of the layers follow one another, or something other than weights stands
            between two that do.
    """
    run = _WeightRun(rec, names)
    graph = np.zeros((sum(run.sizes), sum(run.sizes)))
    for target in range(len(names)):
        sources = run.sources(target)
        weights = run.feeding(target) if sources else None
        for source in sources:
            reading = run.reading(source)
            if weights is None or reading.node is not weights.node:
                raise ValueError(
                    f"layer {names[source]!r} reaches layer {names[target]!r} by more than one set "
                    f"of weights: {_REMEDY}"
                )
            block = (reading.per_unit(run.sizes[source]) * weights.scale[:, None, None]).abs()
            rows, columns = run.units(target), run.units(source)
            graph[rows, columns] = block.sum(2).numpy()
            graph[columns, rows] = graph[rows, columns].T
    if not graph.any():
        raise ValueError(
            f"no two of the layers {names} follow one another, so there are no weights between "
            f"them: {_REMEDY}"
        )
    return graph


def incoming(rec: Recording, names: list[str]) -> np.ndarray:
    """W Wᵀ of the weights that feed each layer; 0 between layers. `(n, n)` float64, signed."""
    run = _WeightRun(rec, names)
    return run.blocks(lambda site: run.feeding(site).rows())


def outgoing(rec: Recording, names: list[str]) -> np.ndarray:
    """Wᵀ W of the weights that read each layer; 0 between layers. `(n, n)` float64, signed."""
    run = _WeightRun(rec, names)
    return run.blocks(
        lambda site: run.reading(site).per_unit(run.sizes[site]).transpose(0, 1).flatten(1)
    )


@dataclass(frozen=True, eq=False)
class _Weights:
    """A linear map or convolution, and by how much each unit of the site is scaled on the way."""

    node: Any
    scale: Tensor

    def matrix(self) -> Tensor:
        """`(out, in, ...)` float64."""
        if kind(self.node) != "Convolution":
            return self.node._saved_mat2.detach().cpu().double().T
        if self.node._saved_transposed or self.node._saved_groups != 1:
            raise ValueError(
                "grouped and transposed convolutions are not supported by the weight measures"
            )
        return self.node._saved_weight.detach().cpu().double()

    def rows(self) -> Tensor:
        """What feeds each unit, `(units, ...)`."""
        return self.matrix().flatten(1) * self.scale[:, None]

    def per_unit(self, units: int) -> Tensor:
        """What reads each unit, `(out, units, positions)`."""
        matrix = self.matrix()
        return matrix.reshape(len(matrix), units, -1) * self.scale[:, None]


class _WeightRun:
    """One run of a few samples, and where in its graph the units of each layer are."""

    def __init__(self, rec: Recording, names: list[str]) -> None:
        self.names = names
        self.sizes = [len(rec.units.indices(name)) for name in names]
        self.sites = [rec.units.site(name) for name in names]
        for site in self.sites:
            if (site.basis, site.heads, site.positions) != (None,) * 3:
                raise ValueError(
                    f"units of layer {site.name!r} are directions, heads or at chosen positions, "
                    "which have no weights of their own: record the layer's own axes"
                )
            if site.call == "all":
                raise ValueError(f"layer {site.name!r} is taken over all its calls: record one")
        request = make_request(rec, names, frozenset(), across=True)
        with evaluating(rec.model):
            self.batch = run_perturbed(request, slice(0, 2))
        starts = (*self.batch.inputs, *self.batch.deltas)
        self.nodes = depending([self.batch.outputs, *self.batch.units], starts)
        self.onward = depending([self.batch.outputs], starts)
        self.places = [place for place in self.batch.found if place is not None]
        self.after = {place.after: site for site, place in enumerate(self.places)}

    def units(self, site: int) -> slice:
        start = sum(self.sizes[:site])
        return slice(start, start + self.sizes[site])

    def blocks(self, vectors: Callable[[int], Tensor]) -> np.ndarray:
        """The inner products of the units' weight vectors, layer by layer."""
        found = np.zeros((sum(self.sizes), sum(self.sizes)))
        for site in range(len(self.names)):
            rows = vectors(site)
            found[self.units(site), self.units(site)] = (rows @ rows.T).numpy()
        return found

    def feeding(self, site: int) -> _Weights:
        """The weights whose result, passed through steps that keep its units, is the site."""
        node, way = self.places[site].before, self._way(site)
        while node is not None and kind(node) not in _WEIGHTED:
            parents = self._parents(node)
            if len(parents) != 1 or not way.keeps(node, shape_of(parents[0]), shape_of(node)):
                node = None
            else:
                node = parents[0]
        weights = None if node is None else _Weights(node, way.scale)
        if weights is None or not way.reaches(node) or len(weights.matrix()) != self.sizes[site]:
            raise ValueError(
                f"no single weight matrix feeds layer {self.names[site]!r}, through steps that "
                f"keep its units: {_REMEDY}"
            )
        return weights

    def reading(self, site: int) -> _Weights:
        """The weights that are applied to the site, passed through steps that keep its units."""
        node, way = self.places[site].after, self._way(site)
        while kind(node) not in _WEIGHTED or node is self.places[site].after:
            readers = [n for n in self.onward if dependent_inputs(n, {node})]
            known = len(readers) == 1 and (
                kind(readers[0]) in _WEIGHTED
                or way.keeps(readers[0], shape_of(node), shape_of(readers[0]))
            )
            if not known or (kind(readers[0]) in _WEIGHTED and not way.enters(readers[0], node)):
                raise ValueError(
                    f"no single weight matrix reads layer {self.names[site]!r}, through steps that "
                    f"keep its units: {_REMEDY}"
                )
            node = readers[0]
        return _Weights(node, way.scale)

    def sources(self, site: int) -> list[int]:
        """The recorded layers from which the site is one set of weights away."""
        found, stack = set(), [(self.places[site].before, False)]
        seen = set()
        while stack:
            node, passed = stack.pop()
            if node is None or (node, passed) in seen:
                continue
            seen.add((node, passed))
            if node in self.after and passed:
                found.add(self.after[node])
                continue
            weighted = kind(node) in _WEIGHTED
            if weighted and passed:
                continue
            parents = [following for following, _ in node.next_functions if following in self.nodes]
            stack += [(parent, passed or weighted) for parent in parents]
        return sorted(found)

    def _parents(self, node: Any) -> list[Any]:
        """What a node is applied to: what depends on the data; else all but the parameters."""
        every = [following for following, _ in node.next_functions if following is not None]
        depend = [n for n in every if n in self.nodes]
        if node in self.after:  # h + δ
            depend = [n for n in depend if n is self.places[self.after[node]].before]
        return depend or [n for n in every if not n.name().endswith("AccumulateGrad")]

    def _way(self, site: int) -> _Way:
        dim, shape = self.sites[site].unit_dim or 1, self.places[site].shape
        last = dim % len(shape) == len(shape) - 1
        return _Way(self.sizes[site], channels=not last, after=set(self.after))


class _Way:
    """Keeps account, step by step away from a site, of where its units are and how they are scaled.

    They lie along the last dimension, or along the second one of maps (`channels`), or side by
    side with all their positions (`flat`).
    """

    def __init__(self, units: int, *, channels: bool, after: set[Any]) -> None:
        self.n, self.channels, self.flat, self.after = units, channels, False, after
        self.scale = torch.ones(units, dtype=torch.float64)

    def keeps(self, node: Any, before: tuple[int, ...], result: tuple[int, ...]) -> bool:
        """Whether a step leaves every unit where it is, up to a scale that is taken note of."""
        name, same = kind(node), before == result
        if name in VIEWS or name == "Permute":
            return self._viewed(before, result) if name in VIEWS else same and _unmoved(node)
        if name in _POOLS:
            return self.channels and before[:2] == result[:2]
        if name in BATCH_NORMS and same and not self.flat and not node._saved_training:
            place = 1 if self.channels else -1
            return (self.channels or len(result) == 2) and self._scaled(node, result[place])
        shifted = name in ("Add", "Sub")  # by a constant
        if node in self.after:
            return same
        return same and (name in _ACTIVATIONS or (shifted and node._saved_alpha == 1))

    def enters(self, weights: Any, node: Any) -> bool:
        """Whether weights are applied to the units: a linear map along them, a convolution over
        their maps."""
        shape = shape_of(node)
        if kind(weights) == "Convolution":
            return (
                self.channels and shape[1:2] == (self.n,) and weights.next_functions[0][0] is node
            )
        place = 1 if kind(weights) == "Addmm" else 0
        return not self.channels and weights.next_functions[place][0] is node

    def reaches(self, weights: Any) -> bool:
        """Whether the units are what weights give."""
        shape = shape_of(weights)
        if kind(weights) == "Convolution":
            return self.channels and shape[1] == self.n
        return not self.channels and not self.flat and shape[-1] == self.n

    def _viewed(self, before: tuple[int, ...], result: tuple[int, ...]) -> bool:
        if self.flat:
            return before == result
        if not self.channels:
            return before[-1:] == result[-1:] == (self.n,)
        if before[:2] == result[:2] and len(result) > 2:
            return True
        # a map laid out in a row: all positions of one unit, then those of the next
        self.flat = len(result) == 2 and before[:1] == result[:1] and before[1] == self.n
        self.channels = not self.flat
        return self.flat

    def _scaled(self, node: Any, units: int) -> bool:
        if units != self.n or node._saved_running_var is None:
            return False
        factor = (node._saved_running_var.detach().double() + node._saved_eps).rsqrt()
        weight = node._saved_weight
        factor = factor if weight is None else factor * weight.detach().double()
        self.scale = self.scale * factor.cpu()
        return True


def _unmoved(node: Any) -> bool:
    return tuple(node._saved_dims) == tuple(range(len(node._saved_dims)))


def spearman(rec: Recording, names: list[str]) -> np.ndarray:
    """Spearman's ρ of every two units over the samples; ties share their mean rank.

    Returns:
        `(n, n)` float64, signed; the rows of a unit that never changes are 0.

    Examples:
        >>> import torch, infoflow as ifl
        >>> x = torch.tensor([[0.0, 8.0, 1.0], [1.0, 1.0, 1.0], [2.0, 0.0, 1.0]])
        >>> net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(3, 1))
        >>> spearman(ifl.record(net, ["0"], x), ["0"]).round(12)
        array([[ 1., -1.,  0.],
               [-1.,  1.,  0.],
               [ 0.,  0.,  0.]])
    """
    from scipy.stats import rankdata

    ranks = rankdata(rec.matrix(names), axis=0)
    centred = ranks - ranks.mean(0)
    length = np.sqrt((centred**2).sum(0))
    unit = centred / np.where(length > 0, length, 1)
    return unit.T @ unit
