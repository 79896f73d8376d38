"""A batch run with a perturbation added to every unit, so that derivatives with respect to units
of any layer, and of several layers together, are ordinary gradients."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.autograd.graph import GradientEdge
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from infoflow._hooks import CallFunction, call_hooks, removed_after
from infoflow.site import Site
from infoflow.unit_similarity.graph import depending, shape_of
from infoflow.unit_similarity.request import Request


@dataclass(frozen=True, eq=False)
class Place:
    """Where the units of a site are in the graph.

    Attributes:
        before: Backward node of h, as the layer gave it.
        after: Backward node of h + δ.
        shape: Of that tensor.
    """

    before: Any
    after: Any
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class PerturbedBatch:
    """One batch, with its graph.

    Attributes:
        inputs: The model's floating-point arguments `(batch, ...)`, leaves of the graph; where
            there are none and `i_sens` is asked for, what embeddings make of the arguments.
        units: Per site, activations `(batch, units * positions)`, position running fastest: the
            mean over positions (positions = 1), or each position that is asked for.
        deltas: Per site `(batch, units * positions)` zeros, leaves: h + δ at every site, the same
            at all its positions, or one for each that is asked for.
        wholes: Per site, activations `(batch, units, all positions)`.
        sites: The sites.
        found: Per site, its place; None where h is made in several calls, or was changed.
        chosen: `(p,)` the positions that are looked at one by one; None: their mean.
        positions: How many these are, or 1.
        outputs: What the model returned, `(batch, ...)`.
    """

    inputs: tuple[Tensor, ...]
    units: tuple[Tensor, ...]
    deltas: tuple[Tensor, ...]
    wholes: tuple[Tensor, ...]
    sites: tuple[Site, ...]
    found: tuple[Place | None, ...]
    chosen: Tensor | None
    positions: int
    outputs: Tensor

    @property
    def n(self) -> int:
        """Number of units."""
        return self.columns // self.positions

    @property
    def columns(self) -> int:
        """Number of perturbations: units times positions."""
        return sum(delta.shape[1] for delta in self.deltas)

    def folded(self, rows: Tensor) -> Tensor:
        """`(n * positions, ...)` as `(n, -1)`: so products of two sum over equal positions."""
        return rows.reshape(self.n, -1)

    @property
    def places(self) -> Tensor:
        """The positions that are looked at one by one.

        Raises:
            ValueError: The mean over positions is asked for.
        """
        if self.chosen is None:
            raise ValueError("no positions were chosen")
        return self.chosen

    @property
    def flat_outputs(self) -> Tensor:
        """`(batch, o)`."""
        return self.outputs.flatten(1) if self.outputs.ndim > 1 else self.outputs[:, None]

    def maps(self) -> list[Place | None]:
        """Per site, its place if its units are the channels of images; else None."""
        return [
            place
            if place is not None
            and len(place.shape) == 4
            and (site.unit_dim, site.heads, site.basis, site.positions) == (1, None, None, None)
            else None
            for site, place in zip(self.sites, self.found, strict=True)
        ]

    def slopes(self, total: Tensor) -> tuple[Tensor, ...]:
        """∂total/∂δ per site, with its graph; zeros where it does not depend on δ."""
        return torch.autograd.grad(
            total, self.deltas, create_graph=True, allow_unused=True, materialize_grads=True
        )

    def largest(self, start: GradientEdge | None = None) -> int:
        """Numbers per sample in the largest tensor that depends on the units, or on `start` (None:
        the inputs)."""
        return max(self._sizes(start)) // len(self.outputs) + 1

    def numbers(self) -> int:
        """Numbers per sample in all tensors that depend on the units or the inputs."""
        return sum(self._sizes(None)) // len(self.outputs) + 1

    def _sizes(self, start: GradientEdge | None) -> list[int]:
        inputs = self.inputs if start is None else (start,)
        nodes = depending([self.outputs, *self.units], (*inputs, *self.deltas))
        return [math.prod(shape_of(node)) for node in nodes]


def run_perturbed(request: Request, index: slice) -> PerturbedBatch:
    """Run the model on those rows, with every site's activation h replaced by h + δ, δ = 0."""
    rec, positions = request.rec, request.positions
    rows = [x.detach() for x in rec.rows(index)]
    leaves: list[Tensor] = []

    def leaf(value: Tensor) -> Tensor:
        leaves.append(value.detach().requires_grad_())
        return leaves[-1].clone()  # a copy, as autograd lets no model work in place on a leaf

    each = 1 if positions is None else len(positions)
    dtype = rec[request.sites[0].name].dtype
    deltas = tuple(
        torch.zeros(
            len(rows[0]), len(rec.units.indices(site.name)) * each,
            dtype=dtype, device=rec.device, requires_grad=True,
        )
        for site in request.sites
    )  # fmt: skip
    parts = dict(zip(request.sites, deltas, strict=True))
    seen: dict[Site, list[Tensor]] = {site: [] for site in request.sites}
    found: dict[Site, Place | None] = {}
    real: dict[Site, Any] = {site: rec.real(site.name, index) for site in request.sites}
    real = {site: None if m is None else m.to(rec.device) for site, m in real.items()}

    def add(site: Site) -> CallFunction:
        def hook(value: Any, _call: int) -> Any:
            before = sum(h[0, 0].numel() for h in seen[site])
            # a copy: what the layer gave may be changed in place later on
            h = site.read(value).clone()
            seen[site].append(h)
            h = h if h.ndim == 3 else h[:, :, None]
            shift = _shift(parts[site], h, before, positions)
            if real[site] is not None:
                shift = shift * real[site][:, None, before : before + h.shape[2]]
            shifted = site.add(value, shift)
            old, new = site.tensor(value), site.tensor(shifted)
            place = Place(old.grad_fn, new.grad_fn, tuple(old.shape))
            found[site] = None if site in found else place
            return shifted

        return hook

    # of the attention kernels only the plain one can be differentiated twice
    simple = sdpa_kernel(SDPBackend.MATH)
    hooks = call_hooks(rec.model, [(site, add(site)) for site in request.sites])
    slopes = _OneSlope() if "hess" in request.bases else nullcontext()
    with torch.enable_grad(), simple, slopes, hooks as check:
        outputs = _called(request, rows, leaf)
        outputs = rec.real_outputs(outputs, index)
        check()
        wholes = tuple(rec.filled(s.name, _whole(seen[s]), index) for s in request.sites)
    return PerturbedBatch(
        inputs=tuple(leaves),
        units=tuple(_units(seen[s], h, positions) for s, h in zip(seen, wholes, strict=True)),
        deltas=deltas,
        wholes=wholes,
        sites=request.sites,
        found=tuple(found[site] for site in request.sites),
        chosen=positions,
        positions=each,
        outputs=outputs,
    )


def run_pushed(request: Request, index: slice, tangents: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Derivatives of the units along a direction, `(batch, units * positions)`, and the outputs, by
    one pass in forward mode.

    Args:
        request: What is asked for.
        index: Rows.
        tangents: The direction, shaped as `PerturbedBatch.inputs`.

    Raises:
        RuntimeError: An operation has no forward-mode derivative.
    """
    rec, left = request.rec, iter(tangents)
    seen: dict[Site, list[Tensor]] = {site: [] for site in request.sites}

    def start(value: Tensor) -> Tensor:
        return forward_ad.make_dual(value.detach(), next(left)).clone()

    def look(site: Site) -> CallFunction:
        def see(value: Any, _call: int) -> None:
            h = site.read(value).clone()
            seen[site].append(h if h.ndim == 3 else h[:, :, None])

        return see

    hooks = call_hooks(rec.model, [(site, look(site)) for site in request.sites])
    simple, quiet = sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings()
    with quiet, torch.no_grad(), forward_ad.dual_level(), simple, hooks as check:
        # torch's own, on loading rules for forward mode
        warnings.filterwarnings("ignore", ".*torch.jit.script", DeprecationWarning)
        outputs = rec.real_outputs(_called(request, list(rec.rows(index)), start), index)
        check()
        wholes = [rec.filled(site.name, _whole(seen[site]), index) for site in request.sites]
        units = torch.cat(
            [_units(seen[s], h, request.positions) for s, h in zip(seen, wholes, strict=True)], 1
        )
        tangent = forward_ad.unpack_dual(units).tangent
        tangent = torch.zeros_like(units) if tangent is None else tangent
        return tangent, forward_ad.unpack_dual(outputs).primal


def _called(request: Request, rows: list[Tensor], start: Callable[[Tensor], Tensor]) -> Tensor:
    """The outputs, `start` being put in front of what is differentiated: the floating-point inputs
    or, where there are none, what embeddings make of the inputs."""
    rec, count = request.rec, 0

    def enter(_layer: Any, given: tuple[Any, ...], output: Tensor) -> Tensor | None:
        nonlocal count
        if not given or given[0].untyped_storage().data_ptr() not in own:
            return None
        count += 1
        return start(output)

    args = [start(x) if x.is_floating_point() else x.clone() for x in rows]
    if "i_sens" not in request.bases or any(x.is_floating_point() for x in rows):
        return rec.output(rec.call(args))
    own = {x.untyped_storage().data_ptr() for x in args}
    tables = [layer for layer in rec.model.modules() if isinstance(layer, nn.Embedding)]
    with removed_after(layer.register_forward_hook(enter) for layer in tables):
        outputs = rec.output(rec.call(args))
    if not count:
        raise ValueError(
            "input sensitivity of integer inputs is taken at the output of the nn.Embedding that "
            "is called with them, and there is none: record a model that starts from embedded "
            "tokens, or leave out 'i_sens' and 'i_sens_norm'"
        )
    return outputs


class _OneSlope(TorchFunctionMode):
    """PReLU, to which torch gives its weight as slope at exactly 0 when it is differentiated once,
    but 1 when twice: a Hessian that is not symmetric. Here it has the weight in both."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__name__", "") != "prelu" or len(args) != 2 or kwargs:
            return func(*args, **(kwargs or {}))
        x, weight = args
        if weight.numel() > 1:
            weight = weight.reshape(-1, *(1,) * (x.ndim - 2))
        return torch.where(x > 0, x, weight * x)


def _whole(calls: list[Tensor]) -> Tensor:
    return torch.cat([h if h.ndim == 3 else h[:, :, None] for h in calls], 2)


def _shift(part: Tensor, h: Tensor, before: int, positions: Tensor | None) -> Tensor:
    """δ as what is added to h `(batch, units, positions)`, of which so many positions went before
    in other calls of the layer."""
    if positions is None:
        return part.to(h.dtype)[:, :, None].expand_as(h) if h.shape[2] > 1 else part.to(h.dtype)
    own = (positions >= before) & (positions < before + h.shape[2])
    place = (positions[own] - before).to(h.device)
    value = part.reshape(*h.shape[:2], len(positions))[:, :, own.to(h.device)]
    return torch.zeros_like(h).index_copy(2, place, value.to(h.dtype))


def _units(calls: list[Tensor], whole: Tensor, positions: Tensor | None) -> Tensor:
    if positions is not None:
        return whole[:, :, positions.to(whole.device)].flatten(1)
    return calls[0] if len(calls) == 1 and calls[0].ndim == 2 else whole.mean(2)
