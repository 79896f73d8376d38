"""What is checked on every batch while similarities are computed.

Whether samples act on each other, and whether the model still gives what was recorded, is checked
always. A short cut is checked besides by one random quadratic form vᵀ S v a batch, against
gradients taken through the whole network as it stands. For a random v two symmetric matrices with
the same vᵀ S v are the same, except by a chance of measure zero; rounding leaves a tolerance, and
to make that one of each unit, v is larger for units whose similarity with themselves is smaller.

What it can miss: an error below the tolerance (1e-4 of a unit's own scale in float32, times the
number of units); and, of positions that were differentiated together, a pair that is not the one
looked at in this batch. `o_sens` comes out of the same pushes as `hess` and is looked at through
it: for a loss that is linear in the outputs, the steps after the last curved one are proven by the
graph alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from infoflow.unit_similarity.graph import columns_agree_with_rows, depending
from infoflow.unit_similarity.locality import groups_by_curvature, groups_by_input
from infoflow.unit_similarity.per_sample_loss import per_sample_loss
from infoflow.unit_similarity.perturbed import PerturbedBatch
from infoflow.unit_similarity.request import Request
from infoflow.unit_similarity.structure import Structure

_CLOSE = {torch.float64: 1e-9, torch.float32: 1e-4}
_FLOOR = 1e-4  # of the largest scale: below, a unit is looked at as if it had this one


class NotAsRecordedError(ValueError):
    """The model does otherwise than when it was recorded."""


def check_batch(batch: PerturbedBatch, request: Request, index: slice, holds: Structure) -> None:
    """Raises:
    NotAsRecordedError: The model does not give the outputs or activations that were recorded, each
        by its own scale; or what it does to some samples depends on others of the batch.
    ValueError: An operation on the way has no derivative.
    """
    _refuse_missing_derivatives(batch)
    wrong = None
    if not same(torch.cat(batch.units, 1), request.activations(index).mT.flatten(1)):
        wrong = (
            "the model does not give the activations that were recorded when what its layers "
            "return is replaced by a copy (does a layer work in place on what others use as well? "
            "then inplace=False)"
        )
    if not same(batch.outputs, request.rec.real_outputs(request.rec.outputs[index], index)):
        wrong = "the model does not give the outputs that were recorded"
    if _acts_across(batch, request, holds, index.start):
        wrong = "the samples of a batch influence each other (as in batch normalisation in training"
        wrong += " mode)"
    if wrong is not None:
        raise NotAsRecordedError(
            f"{wrong}: make it give one answer per sample, the same in evaluation mode each time, "
            "and record it again"
        )


def same(found: Tensor, recorded: Tensor) -> bool:
    """Whether outputs or activations are those that were recorded, each by its own scale."""
    close = 1e-3 if found.dtype in (torch.float32, torch.float64) else 0.1
    if found.shape != recorded.shape:
        return False
    found, recorded = found.detach().to("cpu", torch.float64), recorded.to("cpu", torch.float64)
    scale = recorded.abs().amax(0)
    # what cancels to nearly nothing rounds as the largest numbers on the way do
    most = close * scale + 1e-6 * scale.max() + 1e-12
    return bool(((found - recorded).abs().amax(0) <= most).all())


def _refuse_missing_derivatives(batch: PerturbedBatch) -> None:
    """Of an operation without one torch only warns, and lets no gradient through."""
    ends, starts = [batch.outputs, *batch.units], [*batch.inputs, *batch.deltas]
    for node in depending(ends, starts):
        if node.name().endswith("WarnNotImplemented"):
            raise ValueError(
                "an operation of the model has no derivative in torch, so i_sens, o_sens and hess "
                "would leave out what passes through it: give it one (torch.library's "
                "register_autograd), replace it, or ask for 'cov' only"
            )


def _acts_across(batch: PerturbedBatch, request: Request, holds: Structure, seed: int) -> bool:
    """Whether gradients of a random half of the samples reach the other half: they are exactly zero
    there unless some operation mixes samples."""
    count = len(batch.outputs)
    generator = torch.Generator().manual_seed(seed)
    chosen = (torch.randperm(count, generator=generator) < (count + 1) // 2).to(
        batch.outputs.device
    )
    ends = [t for t in (batch.outputs, *batch.units) if t.requires_grad]
    if count < 2 or not ends:
        return False
    # a linear map behind which the gradients are taken acts on each sample by itself
    inputs = batch.inputs if holds.entrance is None else (holds.entrance.edge,)
    leaves: Any = (*(inputs if "i_sens" in request.bases else ()), *batch.deltas)
    weights = [_random(end, seed) * chosen.view(-1, *(1,) * (end.ndim - 1)) for end in ends]
    found = torch.autograd.grad(ends, leaves, weights, retain_graph=True, allow_unused=True)
    return any(part is not None and bool((part[~chosen].abs() > 0).any()) for part in found)


def failure(
    batch: PerturbedBatch,
    request: Request,
    index: slice,
    holds: Structure,
    sums: dict[str, Tensor],
) -> str | None:
    """Why the short cuts of a batch cannot be right; None if nothing speaks against them."""
    seed = index.start
    if batch.chosen is not None:
        return _not_apart(batch, request, index, seed) if holds.apart else None
    for base, matrix in sums.items():
        if not _is_short(base, holds):
            continue
        v = _direction(batch, matrix, request.across, seed)
        found = float(v.double() @ matrix.to(v.device) @ v.double())
        exact = i_sens_form(batch, v) if base == "i_sens" else hess_form(batch, v, request, index)
        scale = float(v.double().abs() @ matrix.to(v.device).abs() @ v.double().abs())
        if not abs(found - exact) <= _CLOSE.get(v.dtype, 0.1) * max(scale, abs(exact)):
            return f"{base!r} gave {found:.6g} where differentiation gives {exact:.6g}"
    return None


def _is_short(base: str, holds: Structure) -> bool:
    """Whether a measure came by a short cut; that by which `o_sens` comes is that of `hess`."""
    if base == "i_sens":
        return holds.entrance is not None
    return base == "hess" and (holds.outward is not None or holds.piecewise_linear)


def _direction(batch: PerturbedBatch, matrix: Tensor, across: bool, seed: int) -> Tensor:
    """Random v `(n,)`, each unit's by its own scale; of one layer, a random one, where blocks
    between layers are left out."""
    root = matrix.diagonal().abs().sqrt()
    scale = root.clamp_min(max(float(root.max()) * _FLOOR, 1e-30))
    like = batch.deltas[0]
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(len(matrix), generator=generator, dtype=torch.float64) + 0.5
    v = (values.to(scale.device) / (scale / scale.mean())).to(like.device, like.dtype)
    if across:
        return v
    parts = list(v.split([delta.shape[1] for delta in batch.deltas]))
    chosen = int(torch.randint(len(parts), (1,), generator=generator))
    return torch.cat([p if i == chosen else torch.zeros_like(p) for i, p in enumerate(parts)])


def i_sens_form(batch: PerturbedBatch, v: Tensor) -> float:
    """vᵀ (Σ_k J_k J_kᵀ) v = Σ_k |∂(v·h)/∂x|²."""
    parts = zip(batch.units, v.split([h.shape[1] for h in batch.units]), strict=True)
    mixed = sum((h * part).sum() for h, part in parts if part.any())
    if not isinstance(mixed, Tensor) or not mixed.requires_grad:
        return 0.0
    found = [g.reshape(len(g), -1) for g in _gradients(mixed, batch.inputs)]
    return sum(float((torch.linalg.vector_norm(g, dim=1).double() ** 2).sum()) for g in found)


def hess_form(batch: PerturbedBatch, v: Tensor, request: Request, index: slice) -> float:
    """vᵀ (Σ_k ∂²L_k/∂δ∂δ) v, the second derivative along v."""
    parts = zip(batch.deltas, v.split([delta.shape[1] for delta in batch.deltas]), strict=True)
    along = [(delta, part) for delta, part in parts if part.any()]
    if not batch.outputs.requires_grad or not along:
        return 0.0
    total = per_sample_loss(request.loss, batch.outputs, request.labels(index)).sum()
    deltas = tuple(delta for delta, _ in along)
    slopes = _gradients(total, deltas, create_graph=True)
    first = sum((slope * part).sum() for slope, (_, part) in zip(slopes, along, strict=True))
    if not isinstance(first, Tensor) or not first.requires_grad:
        return 0.0
    turned = zip(_gradients(first, deltas), along, strict=True)
    return sum(float((change * part).double().sum()) for change, (_, part) in turned)


def _not_apart(batch: PerturbedBatch, request: Request, index: slice, seed: int) -> str | None:
    """Of a random pair of positions that are differentiated together: whether they meet."""
    if "i_sens" in request.bases:
        for h in batch.wholes:
            pair = _pair(groups_by_input(batch), seed)
            if pair is None or not h.requires_grad:
                continue
            places = batch.places[pair].to(h.device)
            found = [_gradients(h[:, :, place].sum(), batch.inputs) for place in places]
            if any(bool(((a != 0) & (b != 0)).any()) for a, b in zip(*found, strict=True)):
                return f"positions {places.tolist()} share an input"
    pair = None if "hess" not in request.bases else _pair(groups_by_curvature(batch) or [], seed)
    if pair is None or not columns_agree_with_rows(batch.outputs, batch.deltas):
        return None
    (slope,) = batch.slopes((batch.outputs * _random(batch.outputs, seed)).sum())
    here, there = (slope.unflatten(1, (-1, batch.positions))[..., place] for place in pair)
    if not here.requires_grad:
        return None
    (turned,) = _gradients(here.sum(), batch.deltas)
    if bool(turned.unflatten(1, (-1, batch.positions))[..., pair[1]].any()):
        return f"positions {batch.places[pair].tolist()} act on a common place that is curved"
    return None if there.shape == here.shape else "positions of different sizes"


def _pair(groups: list[Tensor], seed: int) -> Tensor | None:
    large = [group for group in groups if len(group) > 1]
    if not large:
        return None
    generator = torch.Generator().manual_seed(seed)
    group = large[int(torch.randint(len(large), (1,), generator=generator))]
    return group[torch.randperm(len(group), generator=generator)[:2]]


def _random(like: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(like.shape[1:], generator=generator, dtype=torch.float64)
    return (values + 0.5).to(like.device, like.dtype).expand_as(like)


def _gradients(
    value: Tensor, leaves: tuple[Tensor, ...], *, create_graph: bool = False
) -> tuple[Tensor, ...]:
    return torch.autograd.grad(
        value,
        leaves,
        retain_graph=True,
        create_graph=create_graph,
        allow_unused=True,
        materialize_grads=True,
    )
