"""The derivative measures and the covariance summed over the batches of a request: what several of
them need is computed once, in float64, and kept with the recording."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infoflow._memory import Room
from infoflow._passes import show_progress
from infoflow._safety import evaluating
from infoflow._warnings import warn
from infoflow.unit_similarity import carried, exact
from infoflow.unit_similarity.guard import check_batch, failure
from infoflow.unit_similarity.locality import groups_by_curvature, groups_by_input, one_by_one
from infoflow.unit_similarity.perturbed import PerturbedBatch, run_perturbed
from infoflow.unit_similarity.probes import probed
from infoflow.unit_similarity.request import How, Request
from infoflow.unit_similarity.structure import EXACT, Structure, read_structure

FEW = 4  # samples from which the size of the batches is found

# Numbers in the largest batched derivative: 16 MiB in float32. Tensors beyond 32 MiB are mapped
# afresh each time they are made, which took twice as long.
_BUDGET = 2**22

FEWEST = 64  # backward passes that are never too many
TOO_MUCH = 2**35  # numbers, some minutes on two cores


Halves = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]


def summed(request: Request, how: How, *, progress: bool) -> Halves:
    """What is summed over the samples, in two estimates of which each is as good as the other: the
    same matrices where they are exact. As they were if the same was asked for before."""
    kept = request.rec.kept(KeptMatrices)
    key = None if request.key is None else (request.key, how)
    found = None if key is None else kept.get(key)
    if found is None:
        found = _run(request, how, progress)
        if key is not None:
            kept.put(key, found)
    first = {base: matrix for (base, half), matrix in found.items() if half == 0}
    return first, {base: found.get((base, 1), matrix) for base, matrix in first.items()}


def _run(request: Request, how: How, progress: bool) -> dict[tuple[str, int], np.ndarray]:
    with evaluating(request.rec.model):
        some = _probed_bases(request, how)
        pairs = {}
        if some:
            part = replace(request, bases=some)
            pairs = probed(part, how.probes, how.seed, progress=progress)
    rest = replace(request, bases=request.bases - some)
    found = {(base, 0): matrix for base, matrix in _run_exact(rest, how.fast, progress).items()}
    for base, pair in pairs.items():
        exact_too = pair[0].equal(pair[1])
        found |= {(base, i): half.numpy() for i, half in enumerate(pair[: 1 if exact_too else 2])}
    return found


def _probed_bases(request: Request, how: How) -> frozenset[str]:
    """The measures that are taken by probes: all, or under "auto" those for which the exact way
    makes more than `TOO_MUCH` numbers: backward passes, times samples, times numbers in the graph
    of a sample."""
    bases = request.bases - {"cov"}
    if how.method != "auto" or request.positions is not None or request.n <= FEWEST:
        return bases if how.method == "probes" else frozenset()
    rec = request.rec
    few = slice(0, len(rec), -(-len(rec) // FEW))
    batch = run_perturbed(replace(request, bases=bases), few) if bases else None
    if batch is None:
        return bases
    holds = read_structure(batch, bases, across=request.across) if how.fast else EXACT
    passes = backward_passes(batch, holds)
    each = len(rec) * batch.numbers()
    return frozenset(b for b in bases if passes[b] > FEWEST and passes[b] * each > TOO_MUCH)


def backward_passes(batch: PerturbedBatch, holds: Structure) -> dict[str, int]:
    """By measure, how many backward passes it takes exactly; 0: the closed form."""
    outputs = min(batch.flat_outputs.shape[1], batch.columns)
    closed = holds.outward is not None
    hess = outputs if holds.piecewise_linear else 2 * batch.columns
    return {
        "i_sens": 0 if holds.inward is not None else batch.columns,
        "o_sens": 0 if closed else outputs,
        "hess": 0 if closed else hess,
    }


def _run_exact(request: Request, fast: bool, progress: bool) -> dict[str, np.ndarray]:
    rec, n = request.rec, request.n
    if not request.bases:
        return {}
    counts = [n] if request.across else [len(rec.units.indices(s.name)) for s in request.sites]
    positions = 1 if request.positions is None else len(request.positions)
    covariances = [CovarianceSum(count, positions) for count in counts]
    bases = sorted(request.bases - {"cov"})
    sums = {base: torch.zeros(n, n, dtype=torch.float64) for base in bases}
    with evaluating(rec.model):
        batches = Batches(request, fast=fast) if sums else None
        every = rec.batches() if batches is None else _split(slice(0, len(rec)), batches.sizes.rows)
        for index in show_progress(list(every), progress, "similarity"):
            if "cov" in request.bases:
                parts = request.activations(index).split(counts, 2)
                for covariance, units in zip(covariances, parts, strict=True):
                    covariance.update(units)
            if batches is not None:
                for totals in batches.sums(index):
                    for base, total in totals.items():
                        sums[base] += total.detach().to("cpu", torch.float64)
    matrices = {base: (total / len(rec)).numpy() for base, total in sums.items()}
    if "cov" in request.bases:
        blocks = [torch.from_numpy(covariance.matrix()) for covariance in covariances]
        matrices["cov"] = torch.block_diag(*blocks).numpy()
    return matrices


def _split(index: slice, rows: int) -> list[slice]:
    starts = range(index.start, index.stop, rows)
    return [slice(k, min(k + rows, index.stop)) for k in starts]


class Batches:
    """The batches of a request: each by the short cuts that its own graph allows, and exactly from
    the first one on in which the guard finds a short cut wrong."""

    def __init__(self, request: Request, *, fast: bool) -> None:
        self.request, self.fast = request, fast
        few = slice(0, len(request.rec), -(-len(request.rec) // FEW))
        batch, holds = self._run(few)
        self.exact: Sizes = sizes(request, batch)
        self.sizes: Sizes = sizes(request, batch, holds)

    def sums(self, index: slice) -> Iterator[dict[str, Tensor]]:
        """The sums over those rows, in one part or, if that is too much at once, in several."""
        room = self.request.rec.kept(Room)
        for _, found in room.parts(lambda part: list(self._sums(part)), index):
            yield from found

    def _sums(self, index: slice) -> Iterator[dict[str, Tensor]]:
        batch, holds = self._run(index)
        if holds.names:
            found = batch_sums(batch, self.request, index, self.sizes.chunk, holds)
            reason = failure(batch, self.request, index, holds, found)
            if reason is None:
                yield found
                return
            _warn(holds, index, reason)
            self.fast = False
        for part in _split(index, self.exact.rows):
            batch = batch if part == index else self._run(part)[0]
            yield batch_sums(batch, self.request, part, self.exact.chunk)

    def _run(self, index: slice) -> tuple[PerturbedBatch, Structure]:
        request, holds = self.request, EXACT
        batch = run_perturbed(request, index)
        if self.fast:
            holds = read_structure(batch, request.bases, across=request.across)
        check_batch(batch, request, index, holds)
        return batch, holds


def _warn(holds: Structure, index: slice, reason: str) -> None:
    warn(
        f"the short cuts {list(holds.names)} of 'similarity' do not hold for this model on rows "
        f"{index.start} to {index.stop}: {reason}. These and all further rows are differentiated "
        "exactly; fast=False does so from the start"
    )


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


class CovarianceSum:
    """Centred second moment of unit activations, batch by batch.

    Means and centred sums of two batches are merged as in Chan, Golub & LeVeque (1983), so that a
    unit with mean 300 and variance 1e-7 keeps its variance.

    Examples:
        >>> total = CovarianceSum(1)
        >>> total.update(torch.tensor([[1.0], [3.0]]))
        >>> total.update(torch.tensor([[5.0]]))
        >>> total.matrix()
        array([[4.]])
    """

    def __init__(self, n: int, positions: int = 1) -> None:
        self.count = 0
        self.mean = torch.zeros(positions, n, dtype=torch.float64)
        self.products = torch.zeros(positions, n, n, dtype=torch.float64)

    def update(self, units: Tensor) -> None:
        """Add activations `(batch, n)`, or `(batch, positions, n)`."""
        units = units.double().reshape(len(units), *self.mean.shape)
        count, mean = len(units), units.mean(0)
        centred = (units - mean).transpose(0, 1)
        shift = mean - self.mean
        total = self.count + count
        self.products += centred.mT @ centred
        self.products += shift[:, :, None] * shift[:, None] * (self.count * count / total)
        self.mean += shift * (count / total)
        self.count = total

    def matrix(self) -> np.ndarray:
        """Covariance `(n, n)` with 1/(K-1), signed; the mean over positions."""
        return (self.products.mean(0) / (self.count - 1)).numpy()


class KeptMatrices:
    """Matrices of the last requests of one recording, up to `most` numbers in all (64 MiB), so that
    a measure and its normalised form come from one pass. The oldest go first.

    Examples:
        >>> kept = KeptMatrices()
        >>> kept.put("a", {"cov": np.eye(2)})
        >>> kept.get("a")["cov"].trace(), kept.get("b") is None
        (np.float64(2.0), True)
    """

    most = 2**23

    def __init__(self) -> None:
        self._found: dict[Hashable, Mapping[Any, np.ndarray]] = {}

    def get(self, request: Hashable) -> Mapping[Any, np.ndarray] | None:
        """What was put there; None: nothing, or no longer."""
        return self._found.get(request)

    def put(self, request: Hashable, matrices: Mapping[Any, np.ndarray]) -> None:
        """Keep these, and forget the oldest as far as it takes."""
        self._found[request] = matrices
        while sum(m.size for kept in self._found.values() for m in kept.values()) > self.most:
            del self._found[next(iter(self._found))]
