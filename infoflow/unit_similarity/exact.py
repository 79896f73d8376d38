"""The derivative measures of a batch by automatic differentiation, which is always valid.

    i_sens  Σ_k J_h J_hᵀ, J_h = ∂h/∂x        (eq. 2)
    o_sens  Σ_k J_yᵀ J_y, J_y = ∂y/∂δ        (eq. 3)
    hess    Σ_k ∂²L_k/∂δ∂δ                   (eq. 4)

With A_k = ∂²L_k/∂y∂y the Hessian is

    J_kᵀ A_k J_k  +  Σ_i (∂L_k/∂y_i) ∂²y_i/∂δ∂δ

and the second sum vanishes where y is piecewise linear in δ. A_k is differentiated exactly from
whatever the loss is: (diag p − ppᵀ) for cross-entropy comes out, and is not assumed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from infoflow.unit_similarity.graph import (
    batched_vjp,
    columns_agree_with_rows,
    jacobian,
    jacobian_by_columns,
    long_product,
    wide,
)
from infoflow.unit_similarity.per_sample_loss import Loss, per_sample_loss
from infoflow.unit_similarity.perturbed import PerturbedBatch
from infoflow.unit_similarity.structure import Entrance


def i_sens(
    batch: PerturbedBatch, way_in: Entrance | None, groups: list[Tensor] | None, *, across: bool
) -> Tensor:
    """Σ_k J_k J_kᵀ `(n, n)` over the samples of a batch; J_k has all inputs, flattened, as columns.

    One backward pass per unit, batched. Units that do not depend on the inputs have sensitivity 0.
    With an entrance the passes stop there. Of positions, the mean, in one pass for all positions
    of a group.
    """
    leaves = batch.inputs if way_in is None else (way_in.edge,)
    if groups is None:
        parts = [jacobian(units, leaves) for units in batch.units]
        return _products(parts, way_in, across)
    total = torch.zeros(batch.n, batch.n, dtype=torch.float64, device=batch.outputs.device)
    for group in groups:
        parts = [_together(h, batch.places[group], leaves) for h in batch.wholes]
        total += _products(parts, way_in, across)
    return total / batch.positions


def _together(
    h: Tensor, positions: Tensor, leaves: Sequence[Tensor | GradientEdge]
) -> tuple[Tensor, ...]:
    """Per leaf ∂(Σ_p h_ip)/∂leaf `(units, batch, ...)`, h `(batch, units, all positions)`."""
    n = h.shape[1]
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
    flat = [
        torch.cat([part.reshape(*part.shape[:2], -1) for part in rows], 2).flatten(1)
        for rows in parts
    ]
    matrix = wide(torch.cat(flat))
    return long_product(matrix, matrix)


def output_jacobian(batch: PerturbedBatch) -> Tensor:
    """∂y/∂δ, `(n * positions, batch, o)`: one pass per output, or per unit if these are fewer."""
    y = batch.flat_outputs
    if y.shape[1] <= batch.columns or not columns_agree_with_rows(y, batch.deltas):
        return torch.cat([part.permute(2, 1, 0) for part in jacobian(y, batch.deltas)])
    return torch.cat([jacobian_by_columns(y, delta) for delta in batch.deltas])


def o_sens(batch: PerturbedBatch, jacobian: Tensor, *, across: bool) -> Tensor:
    """Σ_k J_kᵀ J_k `(n, n)` from `output_jacobian`; of positions, their mean."""
    matrix = wide(jacobian)
    return by_site(batch, matrix, matrix, across)


def by_site(batch: PerturbedBatch, a: Tensor, b: Tensor, across: bool) -> Tensor:
    """a bᵀ of rows `(n * positions, ...)`, between sites only if `across`."""
    if across:
        return long_product(batch.folded(a), batch.folded(b)) / batch.positions
    counts = [delta.shape[1] for delta in batch.deltas]
    parts = zip(
        batch.folded(a).split([c // batch.positions for c in counts]),
        batch.folded(b).split([c // batch.positions for c in counts]),
        strict=True,
    )
    return torch.block_diag(*[long_product(*part) for part in parts]) / batch.positions


def hess(
    batch: PerturbedBatch,
    loss: Loss,
    targets: Tensor,
    *,
    chunk: int,
    across: bool,
    one_by_one: list[Tensor],
) -> Tensor:
    """Σ_k ∂²L_k/∂δ∂δ `(n, n)` of any network, by two backward passes per unit, `chunk` units at
    a time; of positions, one after the other."""
    found = torch.zeros(batch.n, batch.n, dtype=torch.float64, device=batch.outputs.device)
    if not batch.outputs.requires_grad:
        return found
    total = per_sample_loss(loss, batch.outputs, targets).sum()
    slopes = batch.slopes(total)
    if batch.chosen is not None:
        return _at_positions(batch, slopes, one_by_one)
    start = 0
    for site, slope in enumerate(slopes):
        stop = start + slope.shape[1]
        # symmetric: what was differentiated by an earlier site is not done again
        rows = _second(slope, batch.deltas[site:] if across else (batch.deltas[site],), chunk)
        found[start:stop, start : start + rows.shape[1]] = rows
        found[start : start + rows.shape[1], start:stop] = rows.T
        start = stop
    return found


def hess_of_local_curvature(
    batch: PerturbedBatch,
    jacobian: Tensor,
    groups: list[Tensor],
    loss: Loss,
    targets: Tensor,
    *,
    across: bool,
) -> Tensor:
    """The same at chosen positions, from `output_jacobian` and `groups_by_curvature`.

    The first sum above comes from the Jacobian, at all positions at once; the second, which is
    zero between the positions of a group, from two backward passes per unit and group.
    """
    slopes = batch.slopes((loss_slope(batch, loss, targets)[1].detach() * batch.outputs).sum())
    bent = _at_positions(batch, slopes, groups)
    return bent + hess_of_piecewise_linear(batch, jacobian, loss, targets, across=across)


def hess_of_piecewise_linear(
    batch: PerturbedBatch, jacobian: Tensor, loss: Loss, targets: Tensor, *, across: bool
) -> Tensor:
    """Σ_k J_kᵀ A_k J_k `(n, n)`, from `output_jacobian`."""
    outputs, slope = loss_slope(batch, loss, targets)
    if not slope.requires_grad:
        return torch.zeros(batch.n, batch.n, dtype=torch.float64, device=outputs.device)
    n, count, o = jacobian.shape
    kind = torch.promote_types(wide(jacobian).dtype, wide(outputs).dtype)  # a model may have two
    jacobian = jacobian.to(kind)
    if o <= n:
        curvature = wide(loss_curvature(outputs, slope)).to(kind)
        heavy = torch.einsum("bij,nbj->nbi", curvature, jacobian)
    else:
        weights = jacobian.reshape(n, *outputs.shape).to(outputs.dtype)
        heavy = batched_vjp(slope, (outputs,), weights)[0].reshape(n, count, o).to(kind)
    return by_site(batch, heavy, jacobian, across)


def loss_slope(batch: PerturbedBatch, loss: Loss, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The outputs by themselves, and ∂L_k/∂y, shaped as they are, with its graph to them."""
    outputs = batch.outputs.detach().requires_grad_()
    with torch.enable_grad():
        total = per_sample_loss(loss, outputs, targets).sum()
        (slope,) = torch.autograd.grad(
            total, outputs, create_graph=True, allow_unused=True, materialize_grads=True
        )
    return outputs, slope


def loss_curvature(outputs: Tensor, slope: Tensor) -> Tensor:
    """A `(batch, o, o)`."""
    flat = slope.flatten(1) if slope.ndim > 1 else slope[:, None]
    count, o = flat.shape
    eye = torch.eye(o, dtype=flat.dtype, device=flat.device)
    (rows,) = batched_vjp(flat, (outputs,), eye[:, None].expand(o, count, o))
    return rows.reshape(o, count, o).transpose(0, 1)


def _at_positions(
    batch: PerturbedBatch, slopes: tuple[Tensor, ...], groups: list[Tensor]
) -> Tensor:
    """Mean over positions of ∂(Σ_k slope)/∂δ between units at the same position, `(n, n)`; of the
    positions of a group, the derivatives between them are taken to be zero."""
    count, each = len(slopes[0]), batch.positions
    rows = []
    for slope in slopes:
        n = slope.shape[1] // each
        total = slope.new_zeros(n, batch.n, dtype=torch.float64)
        for group in groups if slope.requires_grad else []:
            weights = slope.new_zeros(n, 1, n, each)
            for i in range(n):
                weights[i, 0, i, group] = 1
            parts = batched_vjp(slope, batch.deltas, weights.flatten(2).expand(n, count, n * each))
            columns = [
                part.unflatten(2, (-1, each))[..., group].sum((1, 3), dtype=torch.float64)
                for part in parts
            ]
            total += torch.cat(columns, 1)
        rows.append(total)
    return torch.cat(rows) / each


def _second(slope: Tensor, leaves: tuple[Tensor, ...], chunk: int) -> Tensor:
    """∂(Σ_k slope)/∂leaves, `(units, columns)`."""
    batch, units = slope.shape
    columns = sum(leaf.shape[1] for leaf in leaves)
    if not slope.requires_grad:  # a loss linear in the units curves nowhere
        return slope.new_zeros(units, columns, dtype=torch.float64)
    eye = torch.eye(units, dtype=slope.dtype, device=slope.device)
    rows = []
    for some in eye.split(chunk):
        parts = batched_vjp(slope, leaves, some[:, None].expand(len(some), batch, units))
        rows.append(torch.cat([part.sum(1, dtype=torch.float64) for part in parts], 1))
    return torch.cat(rows)
