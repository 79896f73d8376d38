"""How units answer to each other: derivatives of single samples, and their mean size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from infoflow._safety import evaluating
from infoflow.recording import Recording
from infoflow.unit_similarity.perturbed import PerturbedBatch, run_perturbed
from infoflow.unit_similarity.request import Request, make_request

_SAMPLES = 32


def slopes(rec: Recording, names: list[str]) -> np.ndarray:
    """mean_k |∂h_j/∂h_i| over 32 consecutive samples, unit i of one layer, j of a later one.

    One backward pass for each unit. A function with steps has no slope, whatever it passes on.

    Returns:
        `(n, n)` float64, not symmetric; 0 within layers.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(2, 1))
        >>> net[1].weight.data[:] = torch.tensor([[3.0, -4.0]])
        >>> slopes(ifl.record(net, ["0", "1"], torch.randn(40, 2)), ["0", "1"])
        array([[0., 0., 0.],
               [0., 0., 0.],
               [3., 4., 0.]])
    """
    return np.abs(unit_jacobians(rec, _SAMPLES, layers=names)).mean(0)


def unit_jacobians(
    rec: Recording, samples: int = 32, seed: int = 0, layers: Sequence[str] | None = None
) -> np.ndarray:
    """∂h_j/∂h_i of single samples, `(samples, n, n)` float64; `[k, j, i]`: how unit j answers to a
    perturbation of unit i. Positions are averaged; a layer's own block is zero.

    Args:
        rec: A recording.
        samples: Consecutive rows of the data set.
        seed: Of where they begin.
        layers: Whose units; None: of all recorded layers.
    """
    with evaluating(rec.model):
        batch = run_perturbed(*some_rows(rec, samples, seed, "o_sens", layers))
        found = gradients_of_each(torch.cat(batch.units, 1), batch)
    sizes = [units.shape[1] for units in batch.units]
    layer = np.repeat(np.arange(len(sizes)), sizes)
    found[:, layer[:, None] == layer] = 0.0
    return found


def gradients_of_each(values: torch.Tensor, batch: PerturbedBatch) -> np.ndarray:
    """`(rows, columns of values, n)`: gradient of each column with respect to the perturbations."""
    if not values.requires_grad:
        return np.zeros((len(values), values.shape[1], batch.n))
    how: Any = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
    each = [torch.autograd.grad(column.sum(), batch.deltas, **how) for column in values.unbind(1)]
    rows = [torch.cat(parts, 1) for parts in each]
    return torch.stack(rows, 1).detach().double().cpu().numpy()


def some_rows(
    rec: Recording, samples: int, seed: int, base: str, layers: Sequence[str] | None = None
) -> tuple[Request, slice]:
    """A request for a measure of some layers or all, and so many consecutive rows."""
    names = list(rec.units.layers if layers is None else layers)
    request = make_request(rec, names, frozenset({base}), across=True)
    start = int(np.random.default_rng(seed).integers(max(len(rec) - samples, 0) + 1))
    return request, slice(start, min(start + samples, len(rec)))
