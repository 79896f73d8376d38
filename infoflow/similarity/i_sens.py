"""Similarity by input sensitivity (eq. 2): S = |mean_k J_h J_hᵀ|, J_h = ∂h/∂x."""

from __future__ import annotations

import torch
from torch import Tensor

from infoflow.record import Recording
from infoflow.similarity.perturbed import PerturbedBatch


def check_inputs(rec: Recording) -> None:
    """Raise unless some input is floating-point, so that it can be differentiated."""
    kinds = [str(x.dtype) for x in rec.inputs]
    if not any(x.is_floating_point() for x in rec.inputs):
        raise ValueError(
            f"input sensitivity differentiates with respect to the inputs, and these are {kinds}. "
            "Record a model that starts from the embedded tokens (for a transformer, call it with "
            "inputs_embeds=embedding(tokens)), or leave out 'i_sens' and 'i_sens_norm'"
        )


def sum_over_batch(batch: PerturbedBatch) -> Tensor:
    """Σ_k J_k J_kᵀ `(n, n)` over the samples of a batch; J_k has all inputs, flattened, as columns.

    Units that do not depend on the inputs have sensitivity 0.
    """
    rows = [_jacobian_row(unit, batch) for site in batch.units for unit in site.unbind(1)]
    jacobian = torch.stack(rows)
    return jacobian @ jacobian.T


def _jacobian_row(unit: Tensor, batch: PerturbedBatch) -> Tensor:
    if not unit.requires_grad:
        return torch.cat([torch.zeros_like(x).flatten() for x in batch.inputs]).double()
    gradients = torch.autograd.grad(
        unit.sum(), batch.inputs, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return torch.cat([g.flatten() for g in gradients]).double()
