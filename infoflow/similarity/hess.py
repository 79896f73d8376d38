"""Similarity by the loss Hessian (eq. 4): S = |mean_k ∂²L_k/∂h∂h|, L_k the loss of sample k."""

from __future__ import annotations

import torch
from torch import Tensor

from infoflow.record import Recording
from infoflow.similarity.per_sample_loss import Loss, per_sample_loss
from infoflow.similarity.perturbed import PerturbedBatch


def check_loss(rec: Recording) -> tuple[Loss, Tensor]:
    """The recording's loss and targets.

    Raises:
        ValueError: The recording lacks one of them.
    """
    if rec.loss is None or rec.targets is None:
        missing = "loss" if rec.loss is None else "targets"
        raise ValueError(
            f"measures 'hess' and 'hess_norm' need the recording's {missing}: "
            "record(model, layers, inputs, targets, loss=torch.nn.functional.cross_entropy)"
        )
    return rec.loss, rec.targets


def sum_over_batch(batch: PerturbedBatch, loss: Loss, targets: Tensor) -> Tensor:
    """Σ_k ∂²L_k/∂δ∂δ `(n, n)` over the samples of a batch, by two backward passes per unit."""
    n = batch.delta.shape[1]
    rows = torch.zeros(n, n, dtype=torch.float64, device=batch.delta.device)
    if not batch.outputs.requires_grad:
        return rows
    total = per_sample_loss(loss, batch.outputs, targets).sum()
    (slope,) = torch.autograd.grad(
        total, batch.delta, create_graph=True, allow_unused=True, materialize_grads=True
    )
    if not slope.requires_grad:  # a loss linear in the units curves nowhere
        return rows
    for unit in range(n):
        (row,) = torch.autograd.grad(
            slope[:, unit].sum(),
            batch.delta,
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        rows[unit] = row.double().sum(0)
    return rows
