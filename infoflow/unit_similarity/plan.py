"""Which fast paths hold for a model, decided by what it does on a few samples."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from infoflow.unit_similarity import hess, i_sens, probe
from infoflow.unit_similarity.chain import run_chain
from infoflow.unit_similarity.graph import is_piecewise_linear
from infoflow.unit_similarity.locality import groups_by_curvature, groups_by_input, one_by_one
from infoflow.unit_similarity.perturbed import PerturbedBatch, run_perturbed
from infoflow.unit_similarity.request import Request
from infoflow.unit_similarity.sums import chain_sums, general_sums

_ROWS = 4
_FEW = 6
_CHAIN_ROWS = 4096
# Numbers in the largest batched derivative: 16 MiB in float32. Tensors beyond 32 MiB are mapped
# afresh each time they are made, which took twice as long.
_BUDGET = 2**22


@dataclass(frozen=True)
class Plan:
    """Which fast paths are taken; without any, everything is differentiated one unit at a time in
    batched backward passes.

    Attributes:
        rows: Samples at a time; of a chain more than the recording's batch size, as what is held of
            each is little and known.
        chunk: Units at a time, in the general Hessian.
        chain: The network is a chain of linear and elementwise steps: closed forms.
        entrance: The inputs act through one linear map or convolution only: `i_sens` stops
            behind it.
        piecewise_linear: The outputs are piecewise linear in the units: the Hessian comes from
            the Jacobian of the outputs.
        carried: Directions are carried forward through linear maps, sums and elementwise functions.
        apart: Positions that have nothing to do with each other are differentiated together.
    """

    rows: int = 1
    chunk: int = 1
    chain: bool = False
    entrance: bool = False
    piecewise_linear: bool = False
    carried: bool = False
    apart: bool = False


def make_plan(request: Request, *, fast: bool = True) -> Plan:
    """Run a few samples, and take the fast paths whose rule holds there and whose result is the
    exact one (`probe`).

    The rules: `run_chain`, `PerturbedBatch.entrance` and `is_piecewise_linear`; each of them reads
    the operations that ran. With `fast=False` none is taken.

    Raises:
        ValueError: The model does not give the outputs that were recorded.
    """
    rec = request.rec
    index = slice(0, len(rec), -(-len(rec) // _ROWS))
    batch = run_perturbed(request, index)
    _check_outputs(batch.outputs.detach(), rec.outputs[index])
    if not fast:
        return _sized(Plan(), request, batch)
    request = replace(request, across=True)  # the probe looks at whole matrices
    chain = run_chain(request, index)
    if chain is not None:
        held = (len(chain.steps) + batch.o + 1) * max(chain.widest, batch.o) + chain.width
        rows = min(max(4 * _BUDGET // held, 1), _CHAIN_ROWS)
        sums = chain_sums(chain, request, index)
        if all(_is_exact(sums[base], base, request, batch, index) for base in sums):
            return Plan(chain=True, rows=rows)
    widths = batch
    if request.positions is not None:
        request = replace(request, positions=request.positions[_few_positions(batch)])
        batch = run_perturbed(request, index)
    carried = _carried(request, batch, index)
    general = Plan(
        entrance=batch.entrance is not None and _holds("i_sens", request, batch, index),
        piecewise_linear=is_piecewise_linear(batch.outputs, batch.deltas)
        and _holds("hess", request, batch, index),
        carried=bool(carried),
        apart=request.positions is not None and _are_apart(request, batch, index),
    )
    unit_by_unit = request.bases - carried - ({"hess"} if general.piecewise_linear else set())
    return _sized(general, request, widths, by_output=not unit_by_unit & {"i_sens", "hess"})


def _carried(request: Request, batch: PerturbedBatch, index: slice) -> set[str]:
    """The measures that can be carried forward, if that gives the exact results; else none."""
    found = {}
    if "i_sens" in request.bases:
        found["i_sens"] = i_sens.carried(batch)
    if "hess" in request.bases:
        both = hess.carried(batch, request.loss, request.labels(index))
        found |= {} if both is None else {"o_sens": both[0], "hess": both[1]}
    done = {base: total for base, total in found.items() if total is not None}
    exact = (_is_exact(total, base, request, batch, index) for base, total in done.items())
    return set(done) if all(exact) else set()


def _few_positions(batch: PerturbedBatch) -> Tensor:
    """Some of the positions that would be differentiated together."""
    by_curvature = groups_by_curvature(batch) or one_by_one(batch)
    largest = [max(groups, key=len) for groups in (groups_by_input(batch), by_curvature)]
    return torch.cat([group[:_FEW] for group in largest]).unique()


def _are_apart(request: Request, batch: PerturbedBatch, index: slice) -> bool:
    one = replace(request, bases=request.bases & {"i_sens", "hess"})
    together = general_sums(batch, Plan(apart=True), one, index)
    alone = general_sums(batch, Plan(chunk=batch.n), one, index)
    v = probe.direction(batch.n, batch.deltas[0])
    return all(
        probe.agree(found, v, float(v.double() @ alone[base].double() @ v.double()))
        for base, found in together.items()
    )


def _sized(plan: Plan, request: Request, batch: PerturbedBatch, *, by_output: bool = False) -> Plan:
    """So many samples and units at a time that batched derivatives stay in the budget: one for each
    unit, or with `by_output` for each output only."""
    columns = max(delta.shape[1] for delta in batch.deltas)
    outputs = min(batch.o, columns)  # `o_sens` takes the fewer of them
    units = outputs if by_output else max(columns // batch.positions, outputs)
    widths = (
        []
        if plan.entrance or "i_sens" not in request.bases
        else [x[0].numel() for x in batch.inputs]
    )
    widest = max(batch.largest, batch.o, *widths)
    rows = max(min(_BUDGET // (units * widest), request.rec.batch_size), 1)
    return replace(plan, rows=rows, chunk=max(_BUDGET // (rows * widest), 1))


def _check_outputs(found: Tensor, recorded: Tensor) -> None:
    close = 1e-3 if found.dtype in (torch.float32, torch.float64) else 0.1
    found, recorded = found.cpu().double(), recorded.double()
    if not bool((found - recorded).abs().max() <= close * recorded.abs().max() + 1e-12):
        raise ValueError(
            "the model does not give the outputs that were recorded "
            f"(off by {float((found - recorded).abs().max()):.3g}): it is random in evaluation "
            "mode too, the samples of a batch influence each other, or its state was changed; "
            "make it give one answer per sample, and record it again"
        )


def _holds(base: str, request: Request, batch: PerturbedBatch, index: slice) -> bool:
    """Whether the fast path of a base measure that is asked for gives the exact result."""
    if base not in request.bases:
        return False
    one = replace(request, bases=frozenset({base}))
    fast = Plan(entrance=True, piecewise_linear=True)
    # each position as a unit of its own: then one direction probes them all
    batch = replace(batch, positions=1, chosen=None)
    return _is_exact(general_sums(batch, fast, one, index)[base], base, request, batch, index)


def _is_exact(
    found: Tensor, base: str, request: Request, batch: PerturbedBatch, index: slice
) -> bool:
    v = probe.direction(len(found), batch.deltas[0])
    if base == "i_sens":
        exact = probe.i_sens_form(batch, v)
    elif base == "o_sens":
        exact = probe.o_sens_form(batch, v)
    else:
        exact = probe.hess_form(batch, v, request.loss, request.labels(index))
    return probe.agree(found, v, exact)
