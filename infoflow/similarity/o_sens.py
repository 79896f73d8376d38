"""Similarity by output sensitivity (eq. 3): S = |mean_k J_yᵀ J_y|, J_y = ∂y/∂h, y the logits."""

from __future__ import annotations

import torch
from torch import Tensor

from infoflow.similarity.perturbed import PerturbedBatch


def sum_over_batch(batch: PerturbedBatch) -> Tensor:
    """Σ_k J_kᵀ J_k `(n, n)` over the samples of a batch; J_k is `(o, n)`."""
    n = batch.delta.shape[1]
    total = torch.zeros(n, n, dtype=torch.float64, device=batch.delta.device)
    if not batch.outputs.requires_grad:
        return total
    for output in batch.flat_outputs.unbind(1):
        (row,) = torch.autograd.grad(
            output.sum(), batch.delta, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        row = row.double()
        total += row.T @ row
    return total
