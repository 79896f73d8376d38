"""The derivative measures summed over one batch: what several of them need is computed once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from infoflow.unit_similarity import hess, i_sens, o_sens
from infoflow.unit_similarity.chain import Chain
from infoflow.unit_similarity.graph import is_piecewise_linear
from infoflow.unit_similarity.locality import groups_by_curvature
from infoflow.unit_similarity.perturbed import PerturbedBatch
from infoflow.unit_similarity.request import Request

if TYPE_CHECKING:
    from infoflow.unit_similarity.plan import Plan


def chain_sums(chain: Chain, request: Request, index: slice) -> dict[str, Tensor]:
    """Each derivative measure that is asked for, of a chain's batch: `(n, n)`."""
    sums, across = {}, request.across
    if "i_sens" in request.bases:
        sums["i_sens"] = i_sens.of_chain(chain, across=across)
    if request.bases & {"o_sens", "hess"}:
        jacobians = o_sens.chain_jacobians(chain)
        if "o_sens" in request.bases:
            sums["o_sens"] = o_sens.of_chain(jacobians, len(chain), across=across)
        if "hess" in request.bases:
            labels = request.labels(index)
            sums["hess"] = hess.of_chain(chain, jacobians, request.loss, labels, across=across)
    return sums


def general_sums(
    batch: PerturbedBatch, plan: Plan, request: Request, index: slice
) -> dict[str, Tensor]:
    """Each derivative measure that is asked for, of a batch of any network: `(n, n)`."""
    sums = {}
    if "i_sens" in request.bases:
        found = i_sens.carried(batch, across=request.across) if plan.carried else None
        if found is None:
            found = i_sens.sum_over_batch(
                batch, entrance=plan.entrance, apart=plan.apart, across=request.across
            )
        sums["i_sens"] = found
    if request.bases & {"o_sens", "hess"}:
        sums |= _downstream(batch, plan, request, index)
    return {base: sums[base] for base in sums if base in request.bases}


def _downstream(
    batch: PerturbedBatch, plan: Plan, request: Request, index: slice
) -> dict[str, Tensor]:
    """`o_sens`, and `hess` if it is asked for: what they share is computed once."""
    if "hess" not in request.bases:
        return {"o_sens": o_sens.sum_over_batch(batch, o_sens.output_jacobian(batch))}
    labels, across = request.labels(index), request.across
    flat = plan.piecewise_linear and is_piecewise_linear(batch.outputs, batch.deltas)
    if plan.carried and not flat:
        both = hess.carried(batch, request.loss, labels, across=across)
        if both is not None:
            return {"o_sens": both[0], "hess": both[1]}
    groups = groups_by_curvature(batch) if plan.apart and not flat else None
    if not flat and groups is None:
        curved = hess.sum_over_batch(batch, request.loss, labels, chunk=plan.chunk, across=across)
        if "o_sens" not in request.bases:
            return {"hess": curved}
    jacobian = o_sens.output_jacobian(batch)
    if flat:
        curved = hess.of_piecewise_linear(batch, jacobian, request.loss, labels)
    elif groups is not None:
        curved = hess.of_local_curvature(batch, jacobian, groups, request.loss, labels)
    return {"o_sens": o_sens.sum_over_batch(batch, jacobian), "hess": curved}
