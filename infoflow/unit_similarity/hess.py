"""Similarity by the loss Hessian (eq. 4): S = |mean_k ∂²L_k/∂h∂h|, L_k the loss of sample k.

With y(δ) the outputs, A_k = ∂²L_k/∂y∂y and g the gradient of L_k, the Hessian is

    J_kᵀ A_k J_k  +  Σ_i (∂L_k/∂y_i) ∂²y_i/∂δ∂δ

and the second sum vanishes where y is piecewise linear in δ. A_k is differentiated exactly from
whatever the loss is: (diag p − ppᵀ) for cross-entropy comes out, and is not assumed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from infoflow.unit_similarity.carried import Carrier, read_carrier
from infoflow.unit_similarity.chain import Chain, Linear, forward
from infoflow.unit_similarity.factored import Factored, all_pairs, contracted
from infoflow.unit_similarity.locality import one_by_one
from infoflow.unit_similarity.per_sample_loss import Loss, per_sample_loss
from infoflow.unit_similarity.perturbed import PerturbedBatch
from infoflow.unit_similarity.vjp import batched_vjp, long_product, wide


def sum_over_batch(
    batch: PerturbedBatch, loss: Loss, targets: Tensor, *, chunk: int, across: bool = True
) -> Tensor:
    """Σ_k ∂²L_k/∂δ∂δ `(n, n)` of any network, by two backward passes per unit, `chunk` units at
    a time."""
    found = torch.zeros(batch.n, batch.n, dtype=torch.float64, device=batch.outputs.device)
    if not batch.outputs.requires_grad:
        return found
    total = per_sample_loss(loss, batch.outputs, targets).sum()
    slopes = torch.autograd.grad(
        total, batch.deltas, create_graph=True, allow_unused=True, materialize_grads=True
    )
    if batch.chosen is not None:
        return _at_positions(batch, slopes, one_by_one(batch))
    start = 0
    for site, slope in enumerate(slopes):
        stop = start + slope.shape[1]
        # symmetric: what was differentiated by an earlier site is not done again
        rows = _second(slope, batch.deltas[site:] if across else (batch.deltas[site],), chunk)
        found[start:stop, start : start + rows.shape[1]] = rows
        found[start : start + rows.shape[1], start:stop] = rows.T
        start = stop
    return found


def of_local_curvature(
    batch: PerturbedBatch, jacobian: Tensor, groups: list[Tensor], loss: Loss, targets: Tensor
) -> Tensor:
    """The same at chosen positions, from `o_sens.output_jacobian` and `groups_by_curvature`.

    The first sum above comes from the Jacobian, at all positions at once; the second, which is
    zero between the positions of a group, from two backward passes per unit and group.
    """
    outputs = batch.outputs.detach().requires_grad_()
    weights = _loss_slope(outputs, loss, targets).detach()
    slopes = torch.autograd.grad(
        (weights * batch.outputs).sum(), batch.deltas, create_graph=True, allow_unused=True,
        materialize_grads=True,
    )  # fmt: skip
    bent = _at_positions(batch, slopes, groups)
    return bent + of_piecewise_linear(batch, jacobian, loss, targets)


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


def of_piecewise_linear(
    batch: PerturbedBatch, jacobian: Tensor, loss: Loss, targets: Tensor
) -> Tensor:
    """Σ_k J_kᵀ A_k J_k `(n, n)`, from `o_sens.output_jacobian`."""
    outputs = batch.outputs.detach().requires_grad_()
    slope = _loss_slope(outputs, loss, targets)
    if not slope.requires_grad:
        return jacobian.new_zeros(batch.n, batch.n, dtype=torch.float64)
    n, count, o = jacobian.shape
    if o <= n:
        heavy = torch.einsum("bij,nbj->nbi", wide(_curvature(slope, outputs)), wide(jacobian))
    else:
        weights = jacobian.reshape(n, *outputs.shape).to(outputs.dtype)
        heavy = wide(batched_vjp(slope, (outputs,), weights)[0].reshape(n, count, o))
    return long_product(batch.folded(heavy), batch.folded(wide(jacobian))) / batch.positions


def carried(
    batch: PerturbedBatch, loss: Loss, targets: Tensor, *, across: bool = True
) -> tuple[Tensor, Tensor] | None:
    """Σ_k J_kᵀ J_k and Σ_k ∂²L_k/∂δ∂δ by directions carried forward from the units to the outputs
    (`Carrier`), where that can be done; else None."""
    if batch.chosen is not None or batch.outputs.ndim != 2:
        return None
    groups = [batch.deltas] if across else [(delta,) for delta in batch.deltas]
    carriers = [read_carrier(batch, group, [batch.outputs]) for group in groups]
    if None in carriers:
        return None
    outputs = batch.outputs.detach().requires_grad_()
    slope = _loss_slope(outputs, loss, targets)
    curvature = _curvature(slope, outputs) if slope.requires_grad else None
    found = [
        _carried_sums(batch, group, carrier, slope.detach(), curvature)
        for group, carrier in zip(groups, carriers, strict=True)
        if carrier is not None
    ]
    return torch.block_diag(*[s for s, _ in found]), torch.block_diag(*[h for _, h in found])


def _carried_sums(
    batch: PerturbedBatch,
    deltas: tuple[Tensor, ...],
    carrier: Carrier,
    slope: Tensor,
    curvature: Tensor | None,
) -> tuple[Tensor, Tensor]:
    sizes = [delta.shape[1] for delta in deltas]
    eye = torch.eye(sum(sizes), dtype=slope.dtype, device=slope.device)
    starts = [part[:, None] for part in eye.split(sizes, 1)]
    results = [bend.result for bend in carrier.bends]
    downstream = torch.autograd.grad(
        batch.outputs, results, slope, retain_graph=True, allow_unused=True, materialize_grads=True
    ) if results else ()  # fmt: skip
    weights = [g * b.curvature for g, b in zip(downstream, carrier.bends, strict=True)]
    o_sens, total = eye.double().mul(0), eye.double().mul(0)
    for rows in carrier.tiles(len(eye) * batch.largest):
        slots = carrier.push(starts, rows)
        y = slots[carrier.ends[0]].expand(-1, rows.stop - rows.start, -1)
        o_sens += y.flatten(1) @ y.flatten(1).T
        if curvature is not None:
            total += torch.einsum("kij,rkj->rki", curvature[rows], y).flatten(1) @ y.flatten(1).T
        for bend, weight in zip(carrier.bends, weights, strict=True):
            a = slots[bend.slot]
            some = weight[rows] if a.shape[1] > 1 else weight[rows].sum(0, keepdim=True)
            total += (a * some).flatten(1) @ a.flatten(1).T
    return o_sens, total


def of_chain(
    chain: Chain,
    jacobians: list[Factored],
    loss: Loss,
    targets: Tensor,
    *,
    across: bool = True,
) -> Tensor:
    """The same for a chain, in closed form, from `o_sens.chain_jacobians`.

    Each elementwise step h = σ(a) downstream of the units adds Jᵀ diag(∂L/∂h ⊙ σ''(a)) J, with J
    the Jacobian of a with respect to the units; for piecewise-linear steps σ'' = 0.
    """
    outputs = chain.outputs.detach().requires_grad_()
    slope = _loss_slope(outputs, loss, targets)
    sizes = [jacobian.columns for jacobian in jacobians]
    found = outputs.new_zeros(sum(sizes), sum(sizes), dtype=torch.float64)
    if slope.requires_grad:
        weight = _curvature(slope, outputs)
        for part in chain.tiles(weight.shape[1]):
            few = [jacobian[part] for jacobian in jacobians]
            all_pairs(few, len(weight[part]), weight[part], across=across, total=found)
    bends = _bends(chain, slope.detach())
    if bends:
        _add_bends(found, chain, sizes, bends)
    return found


def _loss_slope(outputs: Tensor, loss: Loss, targets: Tensor) -> Tensor:
    """∂L_k/∂y, shaped as the outputs, with its graph."""
    with torch.enable_grad():
        total = per_sample_loss(loss, outputs, targets).sum()
        return torch.autograd.grad(
            total, outputs, create_graph=True, allow_unused=True, materialize_grads=True
        )[0]


def _curvature(slope: Tensor, outputs: Tensor) -> Tensor:
    """A `(batch, o, o)`."""
    flat = slope.flatten(1) if slope.ndim > 1 else slope[:, None]
    count, o = flat.shape
    eye = torch.eye(o, dtype=flat.dtype, device=flat.device)
    (rows,) = batched_vjp(flat, (outputs,), eye[:, None].expand(o, count, o))
    return rows.reshape(o, count, o).transpose(0, 1)


def _bends(chain: Chain, slope: Tensor) -> dict[int, Tensor]:
    """∂L/∂h ⊙ σ''(a) `(batch, units)` of the steps downstream of a site that have a curvature."""
    bends, steps = {}, chain.steps
    downstream = range(min(chain.places), len(steps))
    curved = [
        p for p in downstream if not isinstance(s := steps[p], Linear) and s.curvature is not None
    ]
    for place in range(len(steps) - 1, min(curved, default=len(steps)) - 1, -1):
        step = steps[place]
        if isinstance(step, Linear):
            slope = slope @ step.weight
        else:
            if step.curvature is not None:
                bends[place] = slope * step.curvature
            slope = slope * step.slope
    return bends


def _add_bends(found: Tensor, chain: Chain, sizes: list[int], bends: dict[int, Tensor]) -> None:
    """Add the curvature of the chain's own steps, carrying the Jacobian from each site forward."""
    blocks = [list(row.split(sizes, 1)) for row in found.split(sizes, 0)]
    carried: dict[int, Factored] = {}
    for place, step in enumerate(chain.steps[: max(bends) + 1]):
        for site, start in enumerate(chain.places):
            if start == place:
                carried[site] = Factored(chain.eye(sizes[site]))
        if place in bends:
            for i, a in carried.items():
                for j, b in carried.items():
                    blocks[i][j] += contracted(a, b, bends[place])
        carried = {site: forward(jacobian, step) for site, jacobian in carried.items()}
