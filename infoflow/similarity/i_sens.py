"""Similarity by input sensitivity (eq. 2): S = |mean_k J_h J_hᵀ|, J_h = ∂h/∂x."""

from __future__ import annotations

import torch
from torch import Tensor

from infoflow.similarity.chain import Chain, Linear, forward
from infoflow.similarity.factored import Factored, all_pairs
from infoflow.similarity.perturbed import PerturbedBatch
from infoflow.similarity.vjp import jacobian, long_product, wide


def sum_over_batch(batch: PerturbedBatch, *, entrance: bool) -> Tensor:
    """Σ_k J_k J_kᵀ `(n, n)` over the samples of a batch; J_k has all inputs, flattened, as columns.

    One backward pass per unit, batched. Units that do not depend on the inputs have sensitivity 0.
    With `entrance` the passes stop at the batch's `Entrance`, if it has one.
    """
    if entrance and batch.entrance is not None:
        rows = torch.cat([jacobian(u, (batch.entrance.result,))[0] for u in batch.units])
        return batch.entrance.products(rows, batch.n) / batch.positions
    blocks = []
    for units in batch.units:
        rows = jacobian(units, batch.inputs)
        blocks.append(torch.cat([part.flatten(2) for part in rows], 2).flatten(1))
    matrix = batch.folded(wide(torch.cat(blocks)))
    return long_product(matrix, matrix) / batch.positions


def of_chain(chain: Chain, *, across: bool = True) -> Tensor:
    """The same for a chain, in closed form: one product of matrices per linear step.

    J_k = diag(s_l) W_l ... diag(s_1) W_1 with the slopes s of sample k. Only W_1 W_1ᵀ matters, so
    W_1 is replaced by a square root of it where that is smaller. J_kᵀ is what is carried along.
    """
    start, done = Factored(chain.eye(chain.width)), 0
    if 0 not in chain.places and isinstance(first := chain.steps[0], Linear):
        start, done = Factored(_square_root(first.weight.T)), 1
    n = sum(chain.size(place) for place in chain.places)
    total = chain.outputs.new_zeros(n, n, dtype=torch.float64)
    for part in chain.tiles(len(start.core)):
        _add_tile(chain[part], start, done, across, total)
    return total


def _add_tile(chain: Chain, current: Factored, done: int, across: bool, total: Tensor) -> None:
    jacobians = {done: current}
    for place, step in enumerate(chain.steps[done : max(chain.places)], done + 1):
        current = jacobians[place] = forward(current, step)
    wanted = [jacobians[place] for place in chain.places]
    all_pairs(wanted, len(chain), across=across, total=total)


def _square_root(matrix: Tensor) -> Tensor:
    """R with RᵀR = MᵀM and the fewest rows."""
    rows, columns = matrix.shape
    if rows <= columns:
        return matrix
    values, vectors = torch.linalg.eigh(matrix.double().T @ matrix.double())
    return (values.clamp_min(0).sqrt()[:, None] * vectors.T).to(matrix.dtype)
