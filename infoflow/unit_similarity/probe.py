"""The exact value of vᵀ S v on a few samples, by which a fast path is accepted or refused.

For a random v two symmetric matrices with the same vᵀ S v are the same, except by a chance of
measure zero; and it takes two or three gradients, however many units there are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from infoflow.unit_similarity.per_sample_loss import Loss, per_sample_loss
from infoflow.unit_similarity.perturbed import PerturbedBatch


def direction(n: int, like: Tensor) -> Tensor:
    """A fixed random v `(n,)`."""
    values = torch.rand(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (values + 0.5).to(like.device, like.dtype)


def i_sens_form(batch: PerturbedBatch, v: Tensor) -> float:
    """vᵀ (Σ_k J_k J_kᵀ) v = Σ_k |∂(v·h)/∂x|²."""
    mixed = (torch.cat(batch.units, 1) * v).sum()
    if not mixed.requires_grad:
        return 0.0
    return sum(float(g.double().square().sum()) for g in _gradients(mixed, batch.inputs))


def o_sens_form(batch: PerturbedBatch, v: Tensor) -> float:
    """vᵀ (Σ_k J_kᵀ J_k) v = Σ_k |J_k v|²; J v is the gradient of (Jᵀu)·v with respect to u."""
    if not batch.outputs.requires_grad:
        return 0.0
    u = torch.zeros_like(batch.outputs, requires_grad=True)
    pulled = torch.cat(
        torch.autograd.grad(
            batch.outputs,
            batch.deltas,
            u,
            create_graph=True,
            allow_unused=True,
            materialize_grads=True,
        ),
        1,
    )
    if not pulled.requires_grad:
        return 0.0
    return float(_gradients((pulled * v).sum(), (u,))[0].double().square().sum())


def hess_form(batch: PerturbedBatch, v: Tensor, loss: Loss, targets: Tensor) -> float:
    """vᵀ (Σ_k ∂²L_k/∂δ∂δ) v, the second derivative along v."""
    if not batch.outputs.requires_grad:
        return 0.0
    total = per_sample_loss(loss, batch.outputs, targets).sum()
    slope = torch.cat(
        torch.autograd.grad(
            total, batch.deltas, create_graph=True, allow_unused=True, materialize_grads=True
        ),
        1,
    )
    if not slope.requires_grad:
        return 0.0
    turned = torch.cat(_gradients((slope * v).sum(), batch.deltas), 1)
    return float((turned * v).double().sum())


def agree(matrix: Tensor, v: Tensor, exact: float) -> bool:
    """Whether vᵀ S v is the exact value, up to the rounding of the model's own precision."""
    close = {torch.float64: 1e-8, torch.float32: 1e-3}.get(v.dtype, 0.1)
    v = v.double()
    found = float(v @ matrix.double() @ v)
    scale = float(v @ matrix.double().abs() @ v)
    return abs(found - exact) <= close * max(scale, abs(exact))


def _gradients(value: Tensor, leaves: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(
        value, leaves, retain_graph=True, allow_unused=True, materialize_grads=True
    )
