"""Similarity by output sensitivity (eq. 3): S = |mean_k J_yᵀ J_y|, J_y = ∂y/∂h, y the logits."""

from __future__ import annotations

import torch
from torch import Tensor

from infoflow.unit_similarity.chain import Chain, backward
from infoflow.unit_similarity.factored import Factored, all_pairs
from infoflow.unit_similarity.perturbed import PerturbedBatch
from infoflow.unit_similarity.vjp import jacobian, jacobian_by_columns, long_product, wide


def output_jacobian(batch: PerturbedBatch) -> Tensor:
    """∂y/∂δ, `(n * positions, batch, o)`: one pass per output, or per unit if these are fewer."""
    y = batch.flat_outputs
    if y.shape[1] <= batch.columns:
        return torch.cat(jacobian(y, batch.deltas), 2).permute(2, 1, 0)
    return torch.cat([jacobian_by_columns(y, delta) for delta in batch.deltas])


def sum_over_batch(batch: PerturbedBatch, jacobian: Tensor) -> Tensor:
    """Σ_k J_kᵀ J_k `(n, n)` from `output_jacobian`; of positions, their mean."""
    matrix = batch.folded(wide(jacobian))
    return long_product(matrix, matrix) / batch.positions


def chain_jacobians(chain: Chain) -> list[Factored]:
    """∂y/∂h at each site of a chain, the output first: one product of matrices per linear step."""
    current = Factored(chain.eye(chain.outputs.shape[1]))
    jacobians = {len(chain.steps): current}
    for place in range(len(chain.steps) - 1, min(chain.places) - 1, -1):
        current = jacobians[place] = backward(current, chain.steps[place])
    return [jacobians[place].multiplied_out() for place in chain.places]


def of_chain(jacobians: list[Factored], count: int, *, across: bool = True) -> Tensor:
    """Σ_k J_kᵀ J_k `(n, n)` from `chain_jacobians`."""
    return all_pairs(jacobians, count, across=across)
