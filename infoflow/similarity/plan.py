"""Which fast paths hold for a model, decided by what it does on a few samples."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from infoflow.record import Recording
from infoflow.similarity import hess, i_sens, o_sens, probe
from infoflow.similarity.chain import Chain, run_chain
from infoflow.similarity.graph import is_piecewise_linear
from infoflow.similarity.perturbed import PerturbedBatch, run_perturbed
from infoflow.units import Site

_ROWS = 4
_BUDGET = 2**25  # numbers held at once by the largest intermediate: 128 MiB in float32


@dataclass(frozen=True)
class Plan:
    """Which fast paths are taken; without any, everything is differentiated one unit at a time in
    batched backward passes.

    Attributes:
        chain: The network is a chain of linear and elementwise steps: closed forms.
        gram: The inputs act through one linear map only: `i_sens` stops behind it.
        piecewise_linear: The outputs are piecewise linear in the units: the Hessian comes from
            the Jacobian of the outputs.
        rows: Samples at a time.
        chunk: Units at a time, in the general Hessian.
    """

    chain: bool
    gram: bool
    piecewise_linear: bool
    rows: int
    chunk: int


def make_plan(
    rec: Recording, sites: tuple[Site, ...], bases: frozenset[str], *, fast: bool = True
) -> Plan:
    """Run a few samples, and take the fast paths whose rule holds there and whose result is the
    exact one (`probe`).

    The rules: `run_chain`, `PerturbedBatch.entrance` and `is_piecewise_linear`; each of them reads
    the operations that ran. With `fast=False` none is taken.
    """
    index = slice(0, len(rec), -(-len(rec) // _ROWS))
    batch = run_perturbed(rec, sites, index)
    n = batch.delta.shape[1]
    width = sum(x[0].numel() for x in batch.inputs)
    o = batch.flat_outputs.shape[1]
    chain = run_chain(rec, sites, index) if fast else None
    if chain is not None and _chain_is_right(rec, chain, batch, bases, index):
        held = (len(chain.steps) + o + 1) * max(chain.widest, o)
        return Plan(True, False, False, max(_BUDGET // held, 1), n)
    gram = fast and batch.entrance is not None and "i_sens" in bases
    gram = gram and _agrees(i_sens.sum_over_batch(batch, gram=True), "i_sens", rec, batch, index)
    linear = fast and "hess" in bases and is_piecewise_linear(batch.outputs, batch.delta)
    linear = linear and _agrees(_linear_hessian(rec, batch, index), "hess", rec, batch, index)
    held = max(n * width if "i_sens" in bases else 1, n * o if bases & {"o_sens", "hess"} else 1)
    rows = max(_BUDGET // max(held, batch.activations, 1), 1)
    size = min(rows, rec.batch_size)
    return Plan(False, gram, linear, rows, max(_BUDGET // (size * max(batch.activations, 1)), 1))


def _linear_hessian(rec: Recording, batch: PerturbedBatch, index: slice) -> Tensor:
    loss, targets = hess.check_loss(rec)
    jacobian = o_sens.output_jacobian(batch)
    return hess.of_piecewise_linear(batch, jacobian, loss, targets[index].to(rec.device))


def _chain_is_right(
    rec: Recording, chain: Chain, batch: PerturbedBatch, bases: frozenset[str], index: slice
) -> bool:
    sums = chain_sums(chain, bases, rec, index)
    return all(_agrees(found, base, rec, batch, index) for base, found in sums.items())


def chain_sums(
    chain: Chain, bases: frozenset[str], rec: Recording, index: slice, *, across: bool = True
) -> dict[str, Tensor]:
    """Each base measure's sum over the samples of a chain's batch."""
    sums = {}
    if "i_sens" in bases:
        sums["i_sens"] = i_sens.of_chain(chain, across=across)
    if bases & {"o_sens", "hess"}:
        jacobians = o_sens.chain_jacobians(chain)
        if "o_sens" in bases:
            sums["o_sens"] = o_sens.of_chain(jacobians, len(chain), across=across)
        if "hess" in bases:
            loss, targets = hess.check_loss(rec)
            labels = targets[index].to(rec.device)
            sums["hess"] = hess.of_chain(chain, jacobians, loss, labels, across=across)
    return sums


def general_sums(
    batch: PerturbedBatch, plan: Plan, bases: frozenset[str], rec: Recording, index: slice
) -> dict[str, Tensor]:
    """Each base measure's sum over the samples of a batch of any network."""
    sums = {}
    if "i_sens" in bases:
        sums["i_sens"] = i_sens.sum_over_batch(batch, gram=plan.gram)
    linear = plan.piecewise_linear and is_piecewise_linear(batch.outputs, batch.delta)
    if "o_sens" in bases or linear:
        jacobian = o_sens.output_jacobian(batch)
        if "o_sens" in bases:
            sums["o_sens"] = o_sens.sum_over_batch(jacobian)
        if linear:
            loss, targets = hess.check_loss(rec)
            labels = targets[index].to(rec.device)
            sums["hess"] = hess.of_piecewise_linear(batch, jacobian, loss, labels)
    if "hess" in bases and not linear:
        loss, targets = hess.check_loss(rec)
        labels = targets[index].to(rec.device)
        sums["hess"] = hess.sum_over_batch(batch, loss, labels, plan.chunk)
    return sums


def _agrees(found: Tensor, base: str, rec: Recording, batch: PerturbedBatch, index: slice) -> bool:
    v = probe.direction(len(found), batch.delta)
    if base == "i_sens":
        exact = probe.i_sens_form(batch, v)
    elif base == "o_sens":
        exact = probe.o_sens_form(batch, v)
    else:
        loss, targets = hess.check_loss(rec)
        exact = probe.hess_form(batch, v, loss, targets[index].to(rec.device))
    return probe.agree(found, v, exact)
