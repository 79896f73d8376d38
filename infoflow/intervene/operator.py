"""The bare operator: while it is open, units take the given values whenever the model runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from infoflow._hooks import CallFunction, checked_passes, layer_at
from infoflow._safety import eagerly, holding
from infoflow.site import Site


@contextmanager
def do(
    model: nn.Module, interventions: Mapping[str | Site, tuple[Any, Any]]
) -> Iterator[nn.Module]:
    """Inside, the named units take the given values whenever the model runs.

    The operator do(H_units = values) of causal inference: whatever the units would have computed
    is replaced, everything downstream follows. Outside, the model is as it was.

    Args:
        model: The model.
        interventions: `{layer: (units, values)}`. `units` are indices within the layer; `values`
            a scalar, `(u,)`, `(batch, u)` or `(batch, u, positions)`.

    Raises:
        KeyError: Unknown layer.
        ValueError: Units out of range or values of another shape, at the forward pass.
        RuntimeError: A pass of the model did not call a layer exactly once.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
        >>> with torch.no_grad(), ifl.do(net, {"1": ([0, 1, 2], 0.0)}):
        ...     bool((net(torch.randn(5, 2)) == net[2].bias).all())
        True
    """

    functions = []
    for layer, (units, values) in interventions.items():
        site = layer if isinstance(layer, Site) else Site(layer)
        functions.append((site, _setter(model, site, units, values)))
    layers = {layer_at(model, site.path) for site, _ in functions}
    with holding(layers), eagerly(), checked_passes(model, functions):
        yield model


def _setter(model: nn.Module, site: Site, units: Any, values: Any) -> CallFunction:
    layer = layer_at(model, site.path)
    index = torch.atleast_1d(torch.as_tensor(np.array(units), dtype=torch.long))

    def set_units(value: Any, _call: int) -> Any:
        resolved = site.resolved(layer, value)
        size = resolved.read(value).shape[1]
        if len(index) and (index.min() < -size or index.max() >= size):
            raise ValueError(f"layer {site.path!r} has {size} units, asked to set {index.tolist()}")
        return resolved.write(value, index, torch.as_tensor(values))

    return set_units
