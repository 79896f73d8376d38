"""A batch run with a perturbation added to every unit, so that derivatives with respect to units
of any layer, and of several layers together, are ordinary gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from infoflow._hooks import CallFunction, call_hooks
from infoflow.recording import output_tensor
from infoflow.site import Site
from infoflow.unit_similarity.entrance import Entrance, find_entrance
from infoflow.unit_similarity.request import Request
from infoflow.unit_similarity.trace import Call, tracing


@dataclass(frozen=True, eq=False)
class Map:
    """A layer's channels as images, before and after the perturbation was added to them.

    Attributes:
        before: Backward node of h.
        after: Backward node of h + δ.
        height, width: So that position y * width + x is at (y, x).
    """

    before: Any
    after: Any
    height: int
    width: int


@dataclass(frozen=True, eq=False)
class PerturbedBatch:
    """One batch, with its graph.

    Attributes:
        inputs: The model's floating-point arguments `(batch, ...)`, leaves of the graph.
        units: Per site, activations `(batch, units * positions)`, position running fastest: the
            mean over positions (positions = 1), or each position that is asked for.
        deltas: Per site `(batch, units * positions)` zeros, leaves: h + δ at every site, the same
            at all its positions, or one for each that is asked for.
        wholes: Per site, activations `(batch, units, all positions)`.
        maps: Per site, its map; None where h is none, or was made in several calls.
        plain: Per site, h `(batch, units)` as the layer gave it; None where h is another tensor.
        calls: What was called, in order; none where a site or the outputs are more than features,
            as then nothing is read off them and what they hold would only take memory.
        chosen: `(p,)` the positions that are looked at one by one; None: their mean.
        positions: How many these are, or 1.
        outputs: What the model returned, `(batch, ...)`.
        entrance: The one map through which alone the inputs act on the units, or None.
        largest: Numbers per sample in the largest tensor on the way, from the entrance on.
    """

    inputs: tuple[Tensor, ...]
    units: tuple[Tensor, ...]
    deltas: tuple[Tensor, ...]
    wholes: tuple[Tensor, ...]
    maps: tuple[Map | None, ...]
    plain: tuple[Tensor | None, ...]
    calls: list[Call]
    chosen: Tensor | None
    positions: int
    outputs: Tensor
    entrance: Entrance | None
    largest: int

    @property
    def n(self) -> int:
        """Number of units."""
        return self.columns // self.positions

    @property
    def columns(self) -> int:
        """Number of perturbations: units times positions."""
        return sum(delta.shape[1] for delta in self.deltas)

    @property
    def o(self) -> int:
        """Number of outputs per sample."""
        return self.outputs[0].numel()

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


def run_perturbed(request: Request, index: slice) -> PerturbedBatch:
    """Run the model on those rows, with every site's activation h replaced by h + δ, δ = 0."""
    try:
        return _run_perturbed(request, index, aside=False)
    except RuntimeError as error:
        if "leaf Variable" not in str(error):
            raise
        # the model works in place on its arguments, which autograd allows on copies only
        return _run_perturbed(request, index, aside=True)


def _run_perturbed(request: Request, index: slice, *, aside: bool) -> PerturbedBatch:
    rec, positions = request.rec, request.positions
    rows = [x.detach().clone() for x in rec.rows(index)]
    leaves = tuple(x.requires_grad_() for x in rows if x.is_floating_point())
    count, each = len(rows[0]), 1 if positions is None else len(positions)
    sizes = [len(rec.units.indices(site.name)) * each for site in request.sites]
    dtype = rec[request.sites[0].name].dtype
    deltas = tuple(
        torch.zeros(count, size, dtype=dtype, device=rec.device, requires_grad=True)
        for size in sizes
    )
    parts = dict(zip(request.sites, deltas, strict=True))
    seen: dict[Site, list[Tensor]] = {site: [] for site in request.sites}
    maps: dict[Site, Map | None] = {}
    plain: dict[Site, Tensor | None] = {}

    def add(site: Site) -> CallFunction:
        def hook(value: Any, _call: int) -> Any:
            before = sum(h.shape[2] for h in seen[site])
            h = site.read(value)
            h = h if h.ndim == 3 else h[:, :, None]
            seen[site].append(h)
            shifted = site.add(value, _shift(parts[site], h, before, positions))
            maps[site] = None if site in maps else _map(site, value, shifted)
            plain[site] = None if site in plain else _plain(site, value)
            return shifted

        return hook

    # of the attention kernels only the plain one can be differentiated twice
    simple = sdpa_kernel(SDPBackend.MATH)
    hooks = call_hooks(rec.model, [(site, add(site)) for site in request.sites])
    with torch.enable_grad(), simple, tracing() as calls, hooks as check:
        outputs = output_tensor(rec.model(*([x.clone() for x in rows] if aside else rows)))
        check()
    wholes = tuple(torch.cat(seen[site], 2) for site in request.sites)
    units = tuple(_units(h, positions) for h in wholes)
    entrance = find_entrance(leaves, units, calls)
    results = [call.result for call in calls]
    if entrance is not None:  # what comes before has no part in the derivatives
        results = results[next(i for i, r in enumerate(results) if r is entrance.result) :]
    largest = max(result.numel() for result in results) // count
    flat = outputs.ndim == 2 and all(h is not None for h in plain.values())
    return PerturbedBatch(
        inputs=leaves,
        units=units,
        deltas=deltas,
        wholes=wholes,
        maps=tuple(maps[site] for site in request.sites),
        plain=tuple(plain[site] for site in request.sites),
        calls=calls if flat else [],
        chosen=positions,
        positions=each,
        outputs=outputs,
        entrance=entrance,
        largest=largest,
    )


def _shift(part: Tensor, h: Tensor, before: int, positions: Tensor | None) -> Tensor:
    """δ as what is added to h `(batch, units, positions)`, of which so many positions went before
    in other calls of the layer."""
    if positions is None:
        return part.to(h.dtype)[:, :, None].expand_as(h) if h.shape[2] > 1 else part.to(h.dtype)
    own = (positions >= before) & (positions < before + h.shape[2])
    place = (positions[own] - before).to(h.device)
    value = part.reshape(*h.shape[:2], len(positions))[:, :, own.to(h.device)]
    return torch.zeros_like(h).index_copy(2, place, value.to(h.dtype))


def _plain(site: Site, value: Any) -> Tensor | None:
    h, own = site.tensor(value), site.heads is None and site.basis is None
    return h if own and h.ndim == 2 and site.unit_dim == 1 else None


def _map(site: Site, value: Any, shifted: Any) -> Map | None:
    h, after = site.tensor(value), site.tensor(shifted)
    if h.ndim != 4 or site.unit_dim != 1 or site.heads is not None or site.basis is not None:
        return None
    return Map(h.grad_fn, after.grad_fn, h.shape[2], h.shape[3])


def _units(h: Tensor, positions: Tensor | None) -> Tensor:
    return h.mean(2) if positions is None else h[:, :, positions.to(h.device)].flatten(1)
