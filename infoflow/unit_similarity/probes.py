"""The derivative measures estimated by random probes: each serves all units of all layers, so that
what they cost does not grow with the number of units.

    i_sens  J_h J_hᵀ = E (J_h r)(J_h r)ᵀ, with random input directions r
    o_sens  J_yᵀ J_y = E (J_yᵀ v)(J_yᵀ v)ᵀ, with random output directions v
    hess    J_yᵀ A J_y, with v = C z, C Cᵀ = A = ∂²L/∂y∂y; and, where y is curved in the units,
            C' = E (C' v) vᵀ with C' = Σ_i (∂L/∂y_i) ∂²y_i/∂δ∂δ, a Hessian-vector product each

Half of the probes of a sample belong to one estimate, half to another that is independent of it:
half their difference is how far their mean is off. Where there are no more directions than probes
(ten outputs, say) each is taken once, which is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from infoflow._memory import Room
from infoflow._passes import show_progress
from infoflow.unit_similarity import exact
from infoflow.unit_similarity.curvature import find_root
from infoflow.unit_similarity.directions import Directions, laid_out, placed
from infoflow.unit_similarity.graph import columns_agree_with_rows, is_piecewise_linear, wide
from infoflow.unit_similarity.guard import check_batch, same
from infoflow.unit_similarity.per_sample_loss import per_sample_loss
from infoflow.unit_similarity.perturbed import PerturbedBatch, run_perturbed, run_pushed
from infoflow.unit_similarity.request import Request
from infoflow.unit_similarity.structure import EXACT
from infoflow.unit_similarity.way_out import WayOut, find_way_out

_NUMBERS = 2**21  # in the largest tensor of a batch
_FEW = 32  # samples that show which places contribute
_CLOSE = {torch.float64: 1e-7, torch.float32: 1e-3}

Draw = tuple[Tensor, Tensor]
"""Directions `(batch, features)`, and the place of each."""
Found = tuple[Tensor, Tensor]
"""Two independent estimates `(n, n)`; the same twice where there is no error."""


def probed(request: Request, probes: int, seed: int, *, progress: bool) -> dict[str, Found]:
    """Each derivative measure that is asked for, averaged over the samples, before the absolute
    value. Runs in `evaluating(model)`.

    Args:
        request: What is asked for.
        probes: Per sample and measure; an even number.
        seed: Of the directions.
        progress: Show a progress bar.
    """
    run = _over_batches(request, probes, seed, progress)
    return run.found()


def probed_rows(request: Request, probes: int, seed: int, *, progress: bool) -> Tensor:
    """X `(n, ...)`, of which X Xᵀ is the estimate of the one measure asked for, `i_sens` or
    `o_sens`: where not even that matrix fits."""
    run = _over_batches(request, probes, seed, progress, rows=True)
    return torch.cat(run.rows or [torch.zeros(request.n, 1)], 1)


def _over_batches(
    request: Request, probes: int, seed: int, progress: bool, *, rows: bool = False
) -> _Run:
    count = len(request.rec)
    few = run_perturbed(request, slice(0, count, -(-count // _FEW)))
    size = max(min(_NUMBERS // few.largest(), request.rec.batch_size), 1)
    run = _Run(request, probes, seed, _shares(few, request.bases))
    run.rows = [] if rows else None
    del few
    for start in show_progress(range(0, count, size), progress, "similarity"):
        batch = slice(start, min(start + size, count))
        for _ in request.rec.kept(Room).parts(run.add, batch):
            pass
    return run


class _Run:
    """The sums over batches, by part: `i_sens`, `o_sens`, and `factor` and `curved` of `hess`."""

    def __init__(self, request: Request, probes: int, seed: int, shares: _Shares) -> None:
        self.request, self.probes, self.seed, self.shares = request, probes, seed, shares
        parts = ("i_sens", "o_sens", "factor", "curved")
        self.sums: dict[str, list[Tensor | None]] = {part: [None, None] for part in parts}
        self.rows: list[Tensor] | None = None  # in place of sums: what is multiplied with itself
        self.whole: set[str] = set()  # parts of which every direction is taken
        self.way_out: WayOut | None = None
        self.added: list[tuple[str, int, Tensor]] = []  # by this batch, for a part and a half

    def found(self) -> dict[str, Found]:
        count = len(self.request.rec)
        zero = torch.zeros(self.request.n, self.request.n, dtype=torch.float64)
        both: dict[str, Found] = {}
        for part, halves in self.sums.items():
            one, two = (zero if half is None else half / count for half in halves)
            both[part] = one, one if part in self.whole else two
        factor, curved = both.pop("factor"), both.pop("curved")
        both["hess"] = factor[0] + curved[0], factor[1] + curved[1]
        return {base: both[base] for base in both if base in self.request.bases}

    def add(self, index: slice) -> None:
        """The batch of those rows: all that it adds or, where memory runs out, nothing."""
        self.added.clear()
        self._look(index)
        for part, half, total in self.added:
            before = self.sums[part][half]
            if self.rows is not None:
                self.rows.append(total)
            else:
                self.sums[part][half] = total if before is None else before.add_(total)
        self.added.clear()

    def _look(self, index: slice) -> None:
        request = self.request
        batch = run_perturbed(request, index)
        check_batch(batch, request, index, EXACT)
        if "i_sens" in request.bases and any(units.requires_grad for units in batch.units):
            self._add_i_sens(batch, index)
        if not batch.outputs.requires_grad or not request.bases & {"o_sens", "hess"}:
            return
        first, way_out = self.way_out is None, find_way_out(batch, self.way_out)
        self.way_out = way_out = way_out.checked(whole=first)
        if "o_sens" in request.bases:
            size = (*way_out.shape, self.shares.of_outputs(way_out.dim))
            for half, draws in self._draws("o_sens", [size], index):
                pulled = [way_out.sensed(*draw) for (draw,) in draws]
                self._add("o_sens", half, batch, pulled, pulled)
        if "hess" in request.bases:
            self._add_hess(batch, index, way_out)

    def _draws(
        self, part: str, sizes: Sequence[tuple[int, int, Tensor | None]], index: slice
    ) -> Iterator[tuple[int, list[list[Draw]]]]:
        """For each half its probes: one direction in each of several spaces of so many features and
        places, that contribute such shares, for every sample."""
        tag = (self.seed, list(self.sums).index(part))
        count = Directions(*sizes[0][:2], tag).count
        if len(sizes) == 1 and count <= self.probes:
            self.whole.add(part)
            sizes = [(*sizes[0][:2], None)]
        halves, each = (1, count) if part in self.whole else (2, self.probes // 2)
        rows = torch.arange(index.start, index.stop) * each
        for half in range(halves):
            every = [
                Directions(features, places, (*tag, half, i), shares)
                for i, (features, places, shares) in enumerate(sizes)
            ]
            yield half, [[directions(rows + i) for directions in every] for i in range(each)]

    def _add(
        self, part: str, half: int, batch: PerturbedBatch, a: list[Tensor], b: list[Tensor]
    ) -> None:
        """The mean over probes of aᵀb `(n, n)`, of `(batch, n * positions)` each."""
        left, right = (wide(torch.stack([g.T for g in rows], 2)) for rows in (a, b))
        if self.rows is not None:
            count = len(self.request.rec) * len(a) * (1 if part in self.whole else 2)
            self.added.append((part, half, left.flatten(1).cpu() / count**0.5))
            return
        total = exact.by_site(batch, left, right, self.request.across) / len(a)
        self.added.append((part, half, total.to("cpu", torch.float64)))

    def _add_i_sens(self, batch: PerturbedBatch, index: slice) -> None:
        dims = [_features_of(x) for x in batch.inputs]
        laid = [laid_out(x.detach(), dim) for x, dim in zip(batch.inputs, dims, strict=True)]
        pushed = self._push(batch, index)
        shares = self.shares.of_inputs
        sizes = [(x.shape[2], x.shape[1], s) for x, s in zip(laid, shares, strict=True)]
        for half, draws in self._draws("i_sens", sizes, index):
            found = []
            for draw in draws:
                each = zip(draw, batch.inputs, dims, strict=True)
                found.append(pushed([placed(*part, x, dim) for part, x, dim in each]))
            self._add("i_sens", half, batch, found, found)

    def _push(self, batch: PerturbedBatch, index: slice) -> Callable[[Sequence[Tensor]], Tensor]:
        """J_h r `(batch, n * positions)` of directions r at the inputs."""
        units = torch.cat(batch.units, 1)
        if columns_agree_with_rows(units, batch.inputs):
            return _pulled_twice(batch.inputs, units)
        return lambda along: _pushed_forward(batch, units, self.request, index, along)

    def _add_hess(self, batch: PerturbedBatch, index: slice, way_out: WayOut) -> None:
        request, labels = self.request, self.request.labels(index)
        outputs, slope = exact.loss_slope(batch, request.loss, labels)
        root, dim = None, way_out.dim
        for dim in dict.fromkeys((way_out.dim, 1)):
            root = root or find_root(outputs, slope, dim, index.start)
            if root is not None:
                break
        size = None if root is None else (*root.shape, self.shares.of_outputs(dim))
        if root is None or size is None:  # the whole Hessian is looked at from the units
            loss = per_sample_loss(request.loss, batch.outputs, labels).sum()
            self._add_curved(batch, index, loss)
            return
        for half, draws in self._draws("factor", [size], index):
            pulled = [way_out.pulled(root.times(*draw), draw[1], dim) for (draw,) in draws]
            self._add("factor", half, batch, pulled, pulled)
        if not is_piecewise_linear(batch.outputs, batch.deltas):
            self._add_curved(batch, index, (slope.detach() * batch.outputs).sum())

    def _add_curved(self, batch: PerturbedBatch, index: slice, total: Tensor) -> None:
        """∂²total/∂δ∂δ = E (∂²total/∂δ∂δ v) vᵀ."""
        slopes = batch.slopes(total)
        ends = [slope for slope in slopes if slope.requires_grad]
        widths = [delta.shape[1] for delta in batch.deltas]
        for half, draws in self._draws("curved", [(batch.columns, 1, None)], index) if ends else ():
            along = [v.to(batch.deltas[0]) for ((v, _),) in draws]
            turned = []
            for v in along:
                parts = zip(v.split(widths, 1), slopes, strict=True)
                found = torch.autograd.grad(
                    ends, batch.deltas, [part for part, slope in parts if slope.requires_grad],
                    retain_graph=True, allow_unused=True, materialize_grads=True,
                )  # fmt: skip
                turned.append(torch.cat(found, 1))
            self._add("curved", half, batch, turned, along)


@dataclass(frozen=True, eq=False)
class _Shares:
    """What each place contributes to the measures, by one random direction of the units on a few
    samples: probes are where there is something to see.

    Attributes:
        of_inputs: Of each input, by place.
        outputs: The sizes of J_y δ for a random δ, shaped as the outputs.
    """

    of_inputs: tuple[Tensor, ...]
    outputs: Tensor

    def of_outputs(self, dim: int) -> Tensor:
        """By place, where the outputs' features are along `dim`."""
        return _share(self.outputs, dim)


def _shares(batch: PerturbedBatch, bases: frozenset[str]) -> _Shares:
    units, y = torch.cat(batch.units, 1), batch.outputs
    generator = torch.Generator().manual_seed(0)
    some = torch.randn(units.shape, generator=generator, dtype=torch.float64).to(units)
    back, sent = [torch.ones_like(x) for x in batch.inputs], torch.ones_like(y)
    if "i_sens" in bases and units.requires_grad:
        back = torch.autograd.grad(
            units, batch.inputs, some, retain_graph=True, allow_unused=True, materialize_grads=True
        )
    if bases & {"o_sens", "hess"} and y.requires_grad and columns_agree_with_rows(y, batch.deltas):
        widths = [delta.shape[1] for delta in batch.deltas]
        sent = _pulled_twice(batch.deltas, y)(list(some.split(widths, 1)))
    return _Shares(tuple(_share(g, _features_of(g)) for g in back), sent)


def _share(values: Tensor, dim: int) -> Tensor:
    """`(places,)` of the squares, and never less than a fifth of what equal ones would be."""
    size = laid_out(values.detach().double(), dim).square().sum((0, 2))
    even = torch.full_like(size, 1 / len(size))
    return even if not bool(size.sum() > 0) else 0.8 * size / size.sum() + 0.2 * even


def _features_of(inputs: Tensor) -> int:
    """The dimension that has the features: the channels of images, the last of all others."""
    return 1 if inputs.ndim in (1, 2, 4, 5) else inputs.ndim - 1


def _pulled_twice(leaves: tuple[Tensor, ...], ends: Tensor) -> Callable[[Sequence[Tensor]], Tensor]:
    """J r for directions r at the leaves, J of the ends.

    Jᵀu is linear in u, so J r is the gradient of (Jᵀu)·r with respect to u: a backward pass for
    each r, which took 1.1 to 3 bare passes where forward mode took 4 to 6."""
    u = torch.zeros_like(ends, requires_grad=True)
    pulled = torch.autograd.grad(
        ends, leaves, u, create_graph=True, allow_unused=True, materialize_grads=True
    )

    def pushed(along: Sequence[Tensor]) -> Tensor:
        pairs = [pair for pair in zip(pulled, along, strict=True) if pair[0].requires_grad]
        if not pairs:
            return torch.zeros_like(u)
        some, weights = zip(*pairs, strict=True)
        return torch.autograd.grad(some, [u], weights, retain_graph=True)[0]

    return pushed


def _pushed_forward(
    batch: PerturbedBatch, units: Tensor, request: Request, index: slice, along: Sequence[Tensor]
) -> Tensor:
    """In forward mode, where gradients cannot be differentiated; looked at each time, as it does
    not go by what gradients go by (it passes through `torch.no_grad`)."""
    try:
        pushed, outputs = run_pushed(request, index, along)
    except torch.OutOfMemoryError:  # no reason to say anything else
        raise
    except RuntimeError as error:
        raise ValueError(f"{_NO_WAY}: {str(error).splitlines()[0]}") from error
    if not same(outputs, batch.outputs) or not _transposed(batch, units, along, pushed):
        raise ValueError(f"{_NO_WAY}: forward mode does not agree with backward passes")
    return pushed


_NO_WAY = (
    "the model has a function of the user's own, or PReLU, on the way from the inputs, and "
    "derivatives along input directions are not to be had there: method='exact' takes 'i_sens' "
    "unit by unit"
)


def _transposed(
    batch: PerturbedBatch, units: Tensor, along: Sequence[Tensor], pushed: Tensor
) -> bool:
    """Whether a·(J r) = (Jᵀ a)·r for a random a, sample by sample."""
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(units.shape[1], generator=generator, dtype=torch.float64) + 0.5
    a = (a.to(units) / pushed.abs().amax(0).clamp_min(1e-30)).expand_as(units)
    found = torch.autograd.grad(
        units, batch.inputs, a, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    there = sum(
        (g.double() * r).reshape(len(g), -1).sum(1) for g, r in zip(found, along, strict=True)
    )
    here = pushed.double() * a
    most = _CLOSE.get(a.dtype, 0.1) * here.abs().sum(1) + 1e-9
    return bool(((here.sum(1) - there).abs() <= most).all())
