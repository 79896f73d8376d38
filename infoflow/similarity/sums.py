"""The derivative measures summed over one batch: what several of them need is computed once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from infoflow.similarity import hess, i_sens, o_sens
from infoflow.similarity.chain import Chain
from infoflow.similarity.graph import is_piecewise_linear
from infoflow.similarity.locality import groups_by_curvature
from infoflow.similarity.perturbed import PerturbedBatch
from infoflow.similarity.request import Request

if TYPE_CHECKING:
    from infoflow.similarity.plan import Plan


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
        sums["i_sens"] = i_sens.sum_over_batch(batch, entrance=plan.entrance, apart=plan.apart)
    flat = plan.piecewise_linear and is_piecewise_linear(batch.outputs, batch.deltas)
    groups = groups_by_curvature(batch) if plan.apart and not flat else None
    with_jacobian = "hess" in request.bases and (flat or groups is not None)
    if "o_sens" in request.bases or with_jacobian:
        jacobian = o_sens.output_jacobian(batch)
        if "o_sens" in request.bases:
            sums["o_sens"] = o_sens.sum_over_batch(batch, jacobian)
        if with_jacobian:
            labels = request.labels(index)
            if groups is None:
                sums["hess"] = hess.of_piecewise_linear(batch, jacobian, request.loss, labels)
            else:
                sums["hess"] = hess.of_local_curvature(
                    batch, jacobian, groups, request.loss, labels
                )
    if "hess" in request.bases and not with_jacobian:
        labels = request.labels(index)
        sums["hess"] = hess.sum_over_batch(
            batch, request.loss, labels, chunk=plan.chunk, across=request.across
        )
    return sums
