"""A batch run with a perturbation added to every unit, so that derivatives with respect to units
of any layer, and of several layers together, are ordinary gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from infoflow._hooks import site_hooks
from infoflow.record import Recording, output_tensor
from infoflow.similarity.graph import leads_to, reaches
from infoflow.similarity.trace import Call, tracing
from infoflow.units import Site


@dataclass(frozen=True, eq=False)
class PerturbedBatch:
    """One batch, with its graph.

    Attributes:
        inputs: The model's floating-point arguments `(batch, ...)`, leaves of the graph.
        units: Per site, activations `(batch, units)`, the mean over positions.
        delta: `(batch, n)` zeros, a leaf: h + δ at every site, the same at all its positions.
        outputs: What the model returned, `(batch, ...)`.
        entrance: `a` and W of the one linear map a = W x + b through which alone the inputs act
            on the units; None if there is no such map, or `a` is not smaller than the inputs.
        activations: Numbers computed per sample on the way, a measure of memory.
    """

    inputs: tuple[Tensor, ...]
    units: tuple[Tensor, ...]
    delta: Tensor
    outputs: Tensor
    entrance: tuple[Tensor, Tensor] | None
    activations: int

    @property
    def flat_outputs(self) -> Tensor:
        """`(batch, o)`."""
        return self.outputs.flatten(1) if self.outputs.ndim > 1 else self.outputs[:, None]


def run_perturbed(rec: Recording, sites: tuple[Site, ...], index: slice) -> PerturbedBatch:
    """Run the model on those rows, with every site's activation h replaced by h + δ, δ = 0."""
    rows = [x.detach().clone() for x in rec.rows(index)]
    leaves = tuple(x.requires_grad_() for x in rows if x.is_floating_point())
    count = len(rows[0])
    sizes = [len(rec.units.indices(site.name)) for site in sites]
    dtype = rec[sites[0].name].dtype
    delta = torch.zeros(count, sum(sizes), dtype=dtype, device=rec.device, requires_grad=True)
    seen: dict[Site, Tensor] = {}

    def add(site: Site, part: Tensor) -> Callable[[Any], Any]:
        def hook(value: Any) -> Any:
            h = site.read(value)
            seen[site] = h.clone() if h.ndim == 2 else h.mean(2)
            moved = site.units_first(site.tensor(value))
            shift = part.to(moved.dtype).reshape(*part.shape, *(1,) * (moved.ndim - 2))
            assert site.unit_dim is not None
            return site.with_tensor(value, (moved + shift).movedim(1, site.unit_dim))

        return hook

    parts = delta.split(sizes, 1)
    hooks = {site: add(site, part) for site, part in zip(sites, parts, strict=True)}
    with torch.enable_grad(), tracing() as calls, site_hooks(rec.model, hooks) as check:
        outputs = output_tensor(rec.model(*rows))
        check()
    units = tuple(seen[site] for site in sites)
    entrance = _entrance(leaves, units, calls)
    work = sum(call.result.numel() for call in calls if call.result.requires_grad)
    return PerturbedBatch(leaves, units, delta, outputs, entrance, work // count)


def _entrance(
    leaves: tuple[Tensor, ...], units: tuple[Tensor, ...], calls: list[Call]
) -> tuple[Tensor, Tensor] | None:
    """The first linear map, if every path from the one input to the units goes through it."""
    linear = next((call for call in calls if call.function is F.linear), None)
    if len(leaves) != 1 or linear is None or len(linear.args) < 2:
        return None
    (x,), a, weight = leaves, linear.result, linear.args[1].detach()
    flat = linear.args[0]
    if a.ndim != 2 or a.shape[1] >= flat.shape[1] or flat.numel() != x.numel():
        return None
    if not torch.equal(flat.flatten(1), x.flatten(1)):  # only reshaped on the way
        return None
    goal = leads_to(x)
    roots = [u.grad_fn for u in units if u.grad_fn is not None]
    if any(reaches(root, goal, blocked=a.grad_fn) for root in roots):
        return None
    return a, weight
