"""Similarity by input sensitivity (eq. 2): S = |mean_k J_h J_hᵀ|, J_h = ∂h/∂x."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from infoflow.unit_similarity.carried import read_carrier
from infoflow.unit_similarity.chain import Chain, Linear, forward
from infoflow.unit_similarity.entrance import Entrance
from infoflow.unit_similarity.factored import Factored, all_pairs
from infoflow.unit_similarity.locality import groups_by_input, one_by_one
from infoflow.unit_similarity.masks import countable, counted_products
from infoflow.unit_similarity.perturbed import PerturbedBatch
from infoflow.unit_similarity.vjp import batched_vjp, jacobian, long_product, wide


def sum_over_batch(
    batch: PerturbedBatch, *, entrance: bool, apart: bool = False, across: bool = True
) -> Tensor:
    """Σ_k J_k J_kᵀ `(n, n)` over the samples of a batch; J_k has all inputs, flattened, as columns.

    One backward pass per unit, batched. Units that do not depend on the inputs have sensitivity 0.
    With `entrance` the passes stop at the batch's `Entrance`, if it has one. Of positions, the
    mean; with `apart`, one pass for all positions of a group that shares no input.
    """
    way_in = batch.entrance if entrance else None
    leaves = batch.inputs if way_in is None else (way_in.result,)
    if batch.chosen is None:
        parts = [jacobian(units, leaves) for units in batch.units]
        return _products(parts, way_in, across)
    total = torch.zeros(batch.n, batch.n, dtype=torch.float64, device=batch.outputs.device)
    for group in groups_by_input(batch) if apart else one_by_one(batch):
        parts = [_together(h, batch.places[group], leaves) for h in batch.wholes]
        total += _products(parts, way_in, across)
    return total / batch.positions


def carried(batch: PerturbedBatch, *, across: bool = True) -> Tensor | None:
    """The same by directions carried forward from the entrance (`Carrier`), where that is a linear
    layer and can be done; else None."""
    way_in = batch.entrance
    if way_in is None or way_in.padding is not None or batch.chosen is not None:
        return None
    carrier = read_carrier(batch, [way_in.result], batch.plain)
    if carrier is None:
        return None
    start = _square_root(way_in.weight.T)[:, None]
    if len(start) > 2 * batch.n:  # a backward pass per unit is less
        return None
    sizes = [units.shape[1] for units in batch.units]
    total = start.new_zeros(sum(sizes), sum(sizes), dtype=torch.float64)
    blocks = [row.split(sizes, 1) for row in total.split(sizes, 0)]
    for rows in carrier.tiles(len(start) * max(sizes)):
        slots = carrier.push([start], rows)
        found = [slots[slot] for slot in carrier.ends]
        for i, a in enumerate(found):
            for j in range(i, len(found) if across else i + 1):
                part = _paired(a, found[j], rows.stop - rows.start)
                blocks[i][j].add_(part)
                if i != j:
                    blocks[j][i].add_(part.T)
    return total


def _paired(a: Tensor, b: Tensor, count: int) -> Tensor:
    """Σ_k A_kᵀ B_k of `(rows, count or 1, columns)`; 1: the same for all."""
    if a.shape[1] != b.shape[1]:
        return a.sum(1).T @ b.sum(1)
    part = a.flatten(0, 1).T @ b.flatten(0, 1)
    return part * count if a.shape[1] == 1 else part


def _together(h: Tensor, positions: Tensor, leaves: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Per leaf ∂(Σ_p h_ip)/∂leaf `(units, batch, ...)`, h `(batch, units, all positions)`."""
    n = h.shape[1]
    if not h.requires_grad:
        return tuple(leaf.new_zeros(n, *leaf.shape) for leaf in leaves)
    weights = h.new_zeros(n, 1, n, h.shape[2])
    for i in range(n):
        weights[i, 0, i, positions] = 1
    return batched_vjp(h, leaves, weights.expand(n, *h.shape))


def _products(parts: list[tuple[Tensor, ...]], way_in: Entrance | None, across: bool) -> Tensor:
    """Σ J_x J_xᵀ from the sites' Jacobians `(units, batch, ...)`, per leaf."""
    if not across:
        return torch.block_diag(*[_products([rows], way_in, True) for rows in parts])
    if way_in is not None:
        return way_in.products(torch.cat([part for (part,) in parts]))
    flat = [torch.cat([part.flatten(2) for part in rows], 2).flatten(1) for rows in parts]
    matrix = wide(torch.cat(flat))
    return long_product(matrix, matrix)


def of_chain(chain: Chain, *, across: bool = True) -> Tensor:
    """The same for a chain, in closed form: one product of matrices per linear step.

    J_k = diag(s_l) W_l ... diag(s_1) W_1 with the slopes s of sample k. Only W_1 W_1ᵀ matters, so
    W_1 is replaced by a square root of it where that is smaller. J_kᵀ is what is carried along.
    """
    start, done = Factored(chain.eye(chain.width)), 0
    if 0 not in chain.places and isinstance(first := chain.steps[0], Linear):
        start, done = Factored(_square_root(first.weight.T)), 1
    if not across and _is_short(chain, done):
        jacobians = _carried(chain, start, done)
        varied = [jacobian for jacobian in jacobians if jacobian.outer is not None]
        if varied and all(countable(jacobian) for jacobian in varied):
            return _by_counts(jacobians, len(chain))
    n = sum(chain.size(place) for place in chain.places)
    total = chain.outputs.new_zeros(n, n, dtype=torch.float64)
    for part in chain.tiles(len(start.core)):
        few = chain[part]
        all_pairs(_carried(few, start, done), len(few), across=across, total=total)
    return total


def _carried(chain: Chain, current: Factored, done: int) -> list[Factored]:
    """Jᵀ of each site, carried on from the step that is done."""
    jacobians = {done: current}
    for place, step in enumerate(chain.steps[done : max(chain.places)], done + 1):
        current = jacobians[place] = forward(current, step)
    return [jacobians[place] for place in chain.places]


def _is_short(chain: Chain, done: int) -> bool:
    """Whether slopes come at two depths only, so that nothing is multiplied out for each sample."""
    steps = chain.steps[done : max(chain.places)]
    kinds = "".join("W" if isinstance(step, Linear) else "s" for step in steps)
    return re.fullmatch("W*s*W*s*", kinds) is not None


def _by_counts(jacobians: list[Factored], count: int) -> Tensor:
    blocks = [
        all_pairs([jacobian], count) if jacobian.outer is None else counted_products(jacobian)
        for jacobian in jacobians
    ]
    return torch.block_diag(*blocks)


def _square_root(matrix: Tensor) -> Tensor:
    """R with RᵀR = MᵀM and the fewest rows."""
    rows, columns = matrix.shape
    if rows <= columns:
        return matrix
    values, vectors = torch.linalg.eigh(matrix.double().T @ matrix.double())
    return (values.clamp_min(0).sqrt()[:, None] * vectors.T).to(matrix.dtype)
