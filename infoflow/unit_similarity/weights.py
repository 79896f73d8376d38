"""Measures that look at weights alone, for comparison with the eight of the paper.

Which weights feed the units of a site, and which read them, is found in the trace of what the
model did: the one linear or convolutional step before or after it, with steps of one input
(nonlinearities, normalisation in evaluation mode, pooling, flattening) passed over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from infoflow._hooks import evaluating, site_hooks
from infoflow.recording import Recording
from infoflow.site import Site
from infoflow.unit_similarity.trace import Call, tracing

_WEIGHTED = (F.linear, F.conv1d, F.conv2d, F.conv3d)
_EARLIER_WEIGHTS = (
    "record the layer itself, one step of linear or convolution away from its weights"
)


def weight_graph(rec: Recording, names: list[str]) -> np.ndarray:
    """The graph of the classical modularity score: |W_ij| between unit i of a layer and unit j of
    the recorded layer that feeds it (summed over a kernel's or a flattened map's positions), 0
    elsewhere.

    Returns:
        `(n, n)` float64, symmetric, with zero diagonal blocks.

    Raises:
        ValueError: No two of the layers follow one another.
    """
    run = _WeightRun(rec, names)
    n = sum(run.sizes)
    graph = np.zeros((n, n))
    for target in range(len(names)):
        call = run.weight_before(run.tensors[target])
        source = None if call is None else run.site_before(run.given(call))
        if call is not None and source is not None:
            block = run.per_unit(call, run.sizes[source]).abs().sum(2).numpy()
            rows, columns = run.units(target), run.units(source)
            graph[rows, columns] = block
            graph[columns, rows] = block.T
    if not graph.any():
        raise ValueError(
            f"no two of the layers {names} follow one another, so there are no weights between "
            f"them: {_EARLIER_WEIGHTS}"
        )
    return graph


def incoming(rec: Recording, names: list[str]) -> np.ndarray:
    """W Wᵀ of the weights that feed each layer; 0 between layers. `(n, n)` float64, signed."""
    run = _WeightRun(rec, names)
    return run.blocks(lambda site: run.rows_before(site))


def outgoing(rec: Recording, names: list[str]) -> np.ndarray:
    """WᵀW of the weights that read each layer; 0 between layers. `(n, n)` float64, signed."""
    run = _WeightRun(rec, names)
    return run.blocks(lambda site: run.columns_after(site))


class _WeightRun:
    """One traced run of a few samples, and where in it the units of each layer are."""

    def __init__(self, rec: Recording, names: list[str]) -> None:
        self.names = names
        self.sizes = [len(rec.units.indices(name)) for name in names]
        sites = [rec.units.site(name) for name in names]
        for site in sites:
            if site.basis is not None or site.heads is not None:
                raise ValueError(
                    f"units of layer {site.name!r} are directions or heads, which have no weights "
                    "of their own: record the layer's own axes"
                )
        found: dict[Site, Tensor] = {}

        def look(site: Site) -> Callable[[Any], None]:
            return lambda value: found.__setitem__(site, site.tensor(value))

        rows = rec.rows(slice(0, 2))
        hooks = site_hooks(rec.model, {site: look(site) for site in sites})
        with evaluating(rec.model), torch.no_grad(), tracing() as calls, hooks as check:
            rec.model(*rows)
            check()
        self.tensors = [found[site] for site in sites]
        self.calls = [call for call in calls if call.result not in _Same(call.tensors)]
        self.known = {id(tensor) for tensor in (*rows, *(call.result for call in self.calls))}

    def units(self, site: int) -> slice:
        start = sum(self.sizes[:site])
        return slice(start, start + self.sizes[site])

    def given(self, call: Call) -> Tensor:
        """What a linear or convolutional step was applied to."""
        return call.tensors[0]

    def weight_before(self, tensor: Tensor) -> Call | None:
        """The step whose result, passed through steps of one input, is the tensor."""
        while True:
            call = next((c for c in reversed(self.calls) if c.result is tensor), None)
            if call is None or call.function in _WEIGHTED:
                return call
            parents = [t for t in call.tensors if id(t) in self.known]
            if len(parents) != 1:
                return None
            tensor = parents[0]

    def weight_after(self, tensor: Tensor) -> Call | None:
        """The step that is applied to the tensor, passed through steps of one input."""
        while True:
            readers = [c for c in self.calls if tensor in _Same(c.tensors)]
            if len(readers) != 1 or readers[0].function in _WEIGHTED:
                return readers[0] if len(readers) == 1 else None
            tensor = readers[0].result

    def site_before(self, tensor: Tensor) -> int | None:
        """The recorded layer that the tensor is, passed through steps of one input."""
        while True:
            for site, there in enumerate(self.tensors):
                if there is tensor:
                    return site
            call = next((c for c in reversed(self.calls) if c.result is tensor), None)
            parents = [] if call is None else [t for t in call.tensors if id(t) in self.known]
            if call is None or call.function in _WEIGHTED or len(parents) != 1:
                return None
            tensor = parents[0]

    def per_unit(self, call: Call, units: int) -> Tensor:
        """The step's weights `(out, units, positions)`, for so many units going in."""
        weight = call.tensors[1].detach().cpu().double()
        if weight[0].numel() % units:
            raise ValueError(
                f"weights of shape {tuple(weight.shape)} do not divide among {units} units; "
                "grouped convolutions are not supported by the weight measures"
            )
        return weight.reshape(len(weight), units, -1)

    def rows_before(self, site: int) -> Tensor:
        call = self.weight_before(self.tensors[site])
        if call is None or len(call.tensors[1]) != self.sizes[site]:
            raise ValueError(
                f"no single weight matrix feeds layer {self.names[site]!r}: {_EARLIER_WEIGHTS}"
            )
        return call.tensors[1].detach().cpu().double().flatten(1)

    def columns_after(self, site: int) -> Tensor:
        call = self.weight_after(self.tensors[site])
        if call is None:
            raise ValueError(
                f"no single weight matrix reads layer {self.names[site]!r}: {_EARLIER_WEIGHTS}"
            )
        return self.per_unit(call, self.sizes[site]).transpose(0, 1).flatten(1)

    def blocks(self, vectors: Callable[[int], Tensor]) -> np.ndarray:
        """The inner products of the units' weight vectors, layer by layer."""
        found = np.zeros((sum(self.sizes), sum(self.sizes)))
        for site in range(len(self.names)):
            rows = vectors(site)
            found[self.units(site), self.units(site)] = (rows @ rows.T).numpy()
        return found


class _Same:
    """Membership among tensors by identity, where `==` would compare their numbers."""

    def __init__(self, tensors: tuple[Tensor, ...]) -> None:
        self.ids = {id(tensor) for tensor in tensors}

    def __contains__(self, tensor: Tensor) -> bool:
        return id(tensor) in self.ids
