"""Networks that are a chain x → linear → elementwise → linear → ... → y, recognised by what they
did on a batch, with the slope and curvature of every elementwise step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from infoflow._hooks import site_hooks
from infoflow.recording import output_tensor
from infoflow.site import Site
from infoflow.unit_similarity.factored import Factored
from infoflow.unit_similarity.request import Request
from infoflow.unit_similarity.trace import Call, tracing

_RESHAPES = (
    torch.flatten, Tensor.flatten, torch.reshape, Tensor.reshape, Tensor.view,
    torch.squeeze, Tensor.squeeze, torch.unsqueeze, Tensor.unsqueeze,
)  # fmt: skip

_TILE = 2**18  # numbers: 1 MiB in float32


@dataclass(frozen=True, eq=False)
class Linear:
    """a = W h + b; `weight` W is `(out, in)`."""

    weight: Tensor

    def __getitem__(self, rows: slice) -> Linear:
        return self


@dataclass(frozen=True, eq=False)
class Elementwise:
    """h_i = σ_i(a_i), with σ' and σ'' at the batch's values, `(batch, units)` each.

    `curvature` is None where σ'' is zero throughout, as for ReLU.
    """

    slope: Tensor
    curvature: Tensor | None

    def __getitem__(self, rows: slice) -> Elementwise:
        curvature = None if self.curvature is None else self.curvature[rows]
        return Elementwise(self.slope[rows], curvature)


@dataclass(frozen=True, eq=False)
class Chain:
    """A batch that went through linear and elementwise steps one after the other.

    Attributes:
        steps: In the order they were done.
        places: Per site, how many steps precede it.
        width: Number of input features.
        outputs: `(batch, o)`.
    """

    steps: tuple[Linear | Elementwise, ...]
    places: tuple[int, ...]
    width: int
    outputs: Tensor

    def __len__(self) -> int:
        return len(self.outputs)

    def size(self, place: int) -> int:
        """Number of features after so many steps."""
        sizes = [len(s.weight) for s in self.steps[:place] if isinstance(s, Linear)]
        return sizes[-1] if sizes else self.width

    @property
    def widest(self) -> int:
        """The largest number of features, the inputs' aside."""
        sizes = [len(step.weight) for step in self.steps if isinstance(step, Linear)]
        return max(sizes, default=self.width)

    def __getitem__(self, rows: slice) -> Chain:
        """Some of the samples."""
        steps = tuple(step[rows] for step in self.steps)
        return replace(self, steps=steps, outputs=self.outputs[rows])

    def tiles(self, rows: int) -> Iterator[slice]:
        """A few samples at a time, for Jacobians of that many rows: products of matrices that stay
        in the processor's cache run nearly twice as fast."""
        rows = max(_TILE // (rows * self.widest), 4)
        for start in range(0, len(self), rows):
            yield slice(start, min(start + rows, len(self)))

    def eye(self, size: int) -> Tensor:
        """The identity, of the chain's type and place."""
        return torch.eye(size, dtype=self.outputs.dtype, device=self.outputs.device)


def forward(jacobian: Factored, step: Linear | Elementwise) -> Factored:
    """Jᵀ of what goes into a step, to that of what comes out."""
    if isinstance(step, Linear):
        return jacobian.times(step.weight.T)
    return jacobian.scaled(step.slope)


def backward(jacobian: Factored, step: Linear | Elementwise) -> Factored:
    """J with respect to what comes out of a step, to that with respect to what goes in."""
    if isinstance(step, Linear):
        return jacobian.times(step.weight)
    return jacobian.scaled(step.slope)


def run_chain(request: Request, index: slice) -> Chain | None:
    """Run the model on those rows, and read off the chain; None if what it did is not one.

    It is one if every function called with a tensor that stems from the input was called with the
    latest such tensor only, and is `F.linear`, a reshape, or elementwise. Elementwise is what has
    a diagonal Jacobian at this batch: J v = (Jᵀ1) ⊙ v for a random v.
    """
    rec, sites = request.rec, request.sites
    if len(rec.inputs) != 1 or rec.inputs[0].dtype not in (torch.float32, torch.float64):
        return None
    if any(s.basis or s.heads or s.io != "output" or s.call is not None for s in sites):
        return None  # units that are not the numbers a layer returns
    x = rec.rows(index)[0]
    places: dict[Site, tuple[int, Tensor]] = {}
    with torch.no_grad(), tracing() as calls:

        def look(site: Site) -> Callable[[Any], None]:
            def hook(value: Any) -> None:
                places[site] = (len(calls), site.tensor(value))

            return hook

        with site_hooks(rec.model, {site: look(site) for site in sites}) as check:
            outputs = output_tensor(rec.model(x))
            check()
    return _parse(x, calls, [places[site] for site in sites], outputs, sites)


def _parse(
    x: Tensor,
    calls: list[Call],
    places: list[tuple[int, Tensor]],
    outputs: Tensor,
    sites: tuple[Site, ...],
) -> Chain | None:
    current, known = x, {id(x)}
    steps: list[Linear | Elementwise] = []
    after: list[tuple[int, Tensor]] = [(0, x)]  # steps done and tensor, before each call
    for call in calls:
        stemming = [tensor for tensor in call.tensors if id(tensor) in known]
        if stemming:
            step = read_step(call, current) if _only(stemming, current) else None
            if step is None:
                return None
            steps += step
            current = call.result
            known.add(id(current))
        after.append((len(steps), current))
    if outputs is not current or outputs.ndim != 2 or outputs.dtype != x.dtype:
        return None
    found = []
    for (made, tensor), site in zip(places, sites, strict=True):
        count, there = after[made]
        if there is not tensor or tensor.ndim != 2 or site.unit_dim != 1:
            return None
        found.append(count)
    return Chain(tuple(steps), tuple(found), x[0].numel(), outputs)


def _only(stemming: list[Tensor], current: Tensor) -> bool:
    return len(stemming) == 1 and stemming[0] is current


def read_step(call: Call, value: Tensor) -> list[Linear | Elementwise] | None:
    """What the call does to `value`; an empty list: nothing, None: something else."""
    if call.changed:  # the value before is gone, so its slope cannot be known
        return None
    if not any(given is value for given in (*call.args, *call.kwargs.values())):
        return None  # inside a list, where it cannot be replaced
    if call.result is value:
        return []
    if call.result.dtype != value.dtype:  # products need one precision
        return None
    if call.function is F.linear:
        args = list(call.args)
        plain = len(args) > 1 and args[0] is value and value.ndim == 2
        return [Linear(args[1].detach())] if plain else None
    if call.function in _RESHAPES:
        same = len(call.result) == len(value) and call.result.numel() == value.numel()
        return [] if same and torch.equal(call.result.flatten(1), value.flatten(1)) else None
    if call.result.shape != value.shape:
        return None
    step = _elementwise(call, value)
    return None if step is None else [step]


def _elementwise(call: Call, value: Tensor) -> Elementwise | None:
    v = _direction(value)
    with torch.enable_grad():
        leaf = value.detach().requires_grad_()
        result = call.replay(value, leaf)
        if not result.requires_grad:
            return Elementwise(torch.zeros_like(value).flatten(1), None)
        ones = torch.ones_like(value, requires_grad=True)
        (slope,) = torch.autograd.grad(result, leaf, ones, create_graph=True)
        pushed = _gradient(slope, ones, v)  # J v: the slope is Jᵀ1, linear in the ones
        curvature = _gradient(slope, leaf, torch.ones_like(v))
    expected = slope * v
    if not (torch.equal(pushed, expected) or torch.allclose(pushed, expected, 1e-4, 1e-6)):
        return None
    return Elementwise(slope.detach().flatten(1), curvature.flatten(1) if curvature.any() else None)


def _direction(value: Tensor) -> Tensor:
    """Random and shaped as `value`: a number per sample times one per unit, as those are soon drawn
    and a matrix that takes all such products to zero is zero."""
    generator = torch.Generator(value.device).manual_seed(0)
    samples, units = len(value), value[0].numel()
    both = torch.rand(
        samples + units, generator=generator, dtype=value.dtype, device=value.device
    ).add(0.5)
    return torch.outer(both[:samples], both[samples:]).reshape(value.shape)


def _gradient(output: Tensor, leaf: Tensor, weight: Tensor) -> Tensor:
    return torch.autograd.grad(
        output, leaf, weight, retain_graph=True, allow_unused=True, materialize_grads=True
    )[0]
