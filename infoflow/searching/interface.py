"""How many dimensions pass between modules: effective ranks of Jacobian and Hessian blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from infoflow._safety import evaluating
from infoflow.partition import PartitionLike, as_partition
from infoflow.recording import Recording
from infoflow.unit_similarity.per_sample_loss import per_sample_loss
from infoflow.unit_similarity.perturbed import PerturbedBatch, run_perturbed
from infoflow.unit_similarity.request import Request, make_request


def effective_rank(matrix: np.ndarray) -> np.ndarray:
    """exp of the entropy of the normalised squared singular values, of each `(..., r, c)` block.

    1 for rank one, r for r equal singular values, 0 for a block of zeros.

    Source: after O. Roy and M. Vetterli, The effective rank, 2007 (there of the singular values).

    Examples:
        >>> blocks = np.stack([np.eye(3), np.ones((3, 3)), np.zeros((3, 3))])
        >>> effective_rank(blocks).round(6).tolist()
        [3.0, 1.0, 0.0]
    """
    squares = np.linalg.svd(matrix, compute_uv=False) ** 2
    total = squares.sum(-1, keepdims=True)
    share = squares / np.where(total > 0, total, 1.0)
    entropy = -(share * np.log(np.where(share > 0, share, 1.0))).sum(-1)
    return np.where(total[..., 0] > 0, np.exp(entropy), 0.0)


def interface(blocks: np.ndarray, partition: PartitionLike) -> float:
    """Σ over ordered pairs of different modules of the mean effective rank of their block.

    Args:
        blocks: `(..., n, n)`; `[..., a, b]` is read with rows a and columns b.
        partition: Of the n units; unused ones are left out.
    """
    total, partition = 0.0, as_partition(partition)
    for a in partition.modules:
        for b in partition.modules:
            if a is not b:
                total += float(effective_rank(blocks[..., a[:, None], b]).mean())
    return total


def unit_jacobians(rec: Recording, samples: int = 32, seed: int = 0) -> np.ndarray:
    """∂h_j/∂h_i of single samples, `(samples, n, n)` float64; `[k, j, i]`: how unit j answers to a
    perturbation of unit i. Positions are averaged; a layer's own block is zero.

    Args:
        rec: A recording.
        samples: Consecutive rows of the data set.
        seed: Of where they begin.
    """
    with evaluating(rec.model):
        batch = run_perturbed(*_request(rec, samples, seed, "o_sens"))
        found = _gradients_of_each(torch.cat(batch.units, 1), batch)
    layer = rec.units.layer_index
    found[:, layer[:, None] == layer] = 0.0
    return found


def mean_hessian(rec: Recording, samples: int = 128, seed: int = 0) -> np.ndarray:
    """mean_k ∂²L_k/∂h∂h over all recorded layers together, `(n, n)` float64, signed.

    Args:
        rec: A recording with targets and a loss.
        samples: Consecutive rows of the data set.
        seed: Of where they begin.

    Raises:
        ValueError: Without targets or loss.
    """
    request, index = _request(rec, samples, seed, "hess")
    with evaluating(rec.model):
        batch = run_perturbed(request, index)
        loss = per_sample_loss(request.loss, batch.outputs, request.labels(index)).sum()
        found = _gradients_of_each(torch.cat(batch.slopes(loss), 1), batch).mean(0)
    return (found + found.T) / 2


def _gradients_of_each(values: torch.Tensor, batch: PerturbedBatch) -> np.ndarray:
    """`(rows, columns of values, n)`: gradient of each column with respect to the perturbations."""
    if not values.requires_grad:
        return np.zeros((len(values), values.shape[1], batch.n))
    how: Any = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
    each = [torch.autograd.grad(column.sum(), batch.deltas, **how) for column in values.unbind(1)]
    rows = [torch.cat(parts, 1) for parts in each]
    return torch.stack(rows, 1).detach().double().cpu().numpy()


def _request(rec: Recording, samples: int, seed: int, base: str) -> tuple[Request, slice]:
    request = make_request(rec, list(rec.units.layers), frozenset({base}), across=True)
    start = int(np.random.default_rng(seed).integers(max(len(rec) - samples, 0) + 1))
    return request, slice(start, min(start + samples, len(rec)))
