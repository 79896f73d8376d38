"""The derivative measures summed over one batch: what several of them need is computed once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from infoflow.unit_similarity import carried, exact
from infoflow.unit_similarity.locality import groups_by_curvature, groups_by_input, one_by_one
from infoflow.unit_similarity.perturbed import PerturbedBatch
from infoflow.unit_similarity.request import Request
from infoflow.unit_similarity.structure import EXACT, Structure

# Numbers in the largest batched derivative: 16 MiB in float32. Tensors beyond 32 MiB are mapped
# afresh each time they are made, which took twice as long.
_BUDGET = 2**22


@dataclass(frozen=True)
class Sizes:
    """How much is differentiated at once.

    Attributes:
        rows: Samples.
        chunk: Units, in the exact Hessian.
    """

    rows: int
    chunk: int


def sizes(request: Request, batch: PerturbedBatch, holds: Structure = EXACT) -> Sizes:
    """So many samples and units at a time that batched derivatives stay in the budget: one for each
    unit, or for each output only where nothing is differentiated unit by unit."""
    columns = max(delta.shape[1] for delta in batch.deltas)
    outputs = min(batch.flat_outputs.shape[1], columns)  # `o_sens` takes the fewer of them
    in_closed_form = {
        "i_sens": holds.inward is not None,
        "hess": holds.piecewise_linear or holds.outward is not None,
    }
    by_unit = any(not done and base in request.bases for base, done in in_closed_form.items())
    units = max(columns // batch.positions, outputs) if by_unit else outputs
    inputs = holds.entrance is None and "i_sens" in request.bases
    widths = [x[0].numel() for x in batch.inputs] if inputs else []
    start = None if holds.entrance is None else holds.entrance.edge
    widest = max(batch.largest(start), batch.flat_outputs.shape[1], *widths)
    rows = max(min(_BUDGET // (units * widest), request.rec.batch_size), 1)
    return Sizes(rows, max(_BUDGET // (rows * widest), 1))


def batch_sums(
    batch: PerturbedBatch, request: Request, index: slice, chunk: int, holds: Structure = EXACT
) -> dict[str, Tensor]:
    """Each derivative measure that is asked for: `(n, n)`, summed over the batch's samples."""
    found = {}
    if "i_sens" in request.bases:
        found["i_sens"] = _i_sens(batch, request, holds)
    if "hess" in request.bases:
        found |= _downstream(batch, request, index, chunk, holds)
    elif "o_sens" in request.bases:
        found["o_sens"] = exact.o_sens(batch, exact.output_jacobian(batch), across=request.across)
    return {base: found[base] for base in found if base in request.bases}


def _i_sens(batch: PerturbedBatch, request: Request, holds: Structure) -> Tensor:
    if holds.inward is not None and holds.entrance is not None:
        counts = [units.shape[1] for units in batch.units]
        return carried.i_sens(holds.entrance.weight, holds.inward, counts, across=request.across)
    groups = None
    if batch.chosen is not None:
        groups = groups_by_input(batch) if holds.apart else one_by_one(batch)
    return exact.i_sens(batch, holds.entrance, groups, across=request.across)


def _downstream(
    batch: PerturbedBatch, request: Request, index: slice, chunk: int, holds: Structure
) -> dict[str, Tensor]:
    """`hess`, and `o_sens` where it is asked for or comes with it."""
    loss, labels, across = request.loss, request.labels(index), request.across
    if holds.outward is not None:
        return _carried(batch, request, labels, holds.outward)
    groups = groups_by_curvature(batch) if holds.apart and not holds.piecewise_linear else None
    jacobian = None
    if holds.piecewise_linear or groups is not None or "o_sens" in request.bases:
        jacobian = exact.output_jacobian(batch)
    found = {} if jacobian is None else {"o_sens": exact.o_sens(batch, jacobian, across=across)}
    if jacobian is not None and holds.piecewise_linear:
        found["hess"] = exact.hess_of_piecewise_linear(batch, jacobian, loss, labels, across=across)
    elif jacobian is not None and groups is not None:
        found["hess"] = exact.hess_of_local_curvature(
            batch, jacobian, groups, loss, labels, across=across
        )
    else:
        places = one_by_one(batch)
        found["hess"] = exact.hess(
            batch, loss, labels, chunk=chunk, across=across, one_by_one=places
        )
    return found


def _carried(
    batch: PerturbedBatch,
    request: Request,
    labels: Tensor,
    carriers: tuple[carried.Carrier, ...],
) -> dict[str, Tensor]:
    outputs, slope = exact.loss_slope(batch, request.loss, labels)
    curvature = exact.loss_curvature(outputs, slope) if slope.requires_grad else None
    counts = [delta.shape[1] for delta in batch.deltas]
    groups = [counts] if request.across else [[count] for count in counts]
    found = [
        carried.downstream(carrier, batch.outputs, some, slope.detach(), curvature)
        for carrier, some in zip(carriers, groups, strict=True)
    ]
    return {
        "o_sens": torch.block_diag(*[s for s, _ in found]),
        "hess": torch.block_diag(*[h for _, h in found]),
    }
