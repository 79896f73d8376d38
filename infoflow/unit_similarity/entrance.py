"""The one linear map or convolution through which the inputs enter a network, if there is one.

If the inputs act only through a = W x + b, then J_x J_xᵀ = J_a (W Wᵀ) J_aᵀ, and differentiation
stops at a, which is smaller than x. For a convolution, the way from a to x is done by an ordinary
convolution with the turned kernel: for few input channels torch's own backward pass was 6 times
slower.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from infoflow.unit_similarity.graph import leads_to, reaches
from infoflow.unit_similarity.trace import Call
from infoflow.unit_similarity.vjp import long_product, wide


@dataclass(frozen=True, eq=False)
class Entrance:
    """a = W x + b.

    Attributes:
        result: a `(batch, ...)`.
        weight: W `(out, in)`, or a kernel `(out, in, height, width)`.
        padding: Of the convolution.
    """

    result: Tensor
    weight: Tensor
    padding: tuple[int, int] | None = None

    def products(self, rows: Tensor) -> Tensor:
        """Σ J_x J_xᵀ `(n, n)` from J_a `(n, batch, ...)`."""
        n = len(rows)
        if self.padding is None:
            kernel = wide(self.weight) @ wide(self.weight).T
            flat = wide(rows)
            heavy = (flat.reshape(-1, len(kernel)) @ kernel).reshape(flat.shape)
            return long_product(heavy.reshape(n, -1), flat.reshape(n, -1))
        turned = self.weight.flip(2, 3).transpose(0, 1)
        size = self.weight.shape[2:]
        rest = tuple(k - 1 - p for k, p in zip(size, self.padding, strict=True))
        inputs = [F.conv2d(part, turned, padding=rest).flatten(1) for part in rows]
        flat = wide(torch.stack(inputs)).reshape(n, -1)
        return long_product(flat, flat)


def find_entrance(
    inputs: tuple[Tensor, ...], units: tuple[Tensor, ...], calls: list[Call]
) -> Entrance | None:
    """The first linear map or convolution, if every path from the one input to the units goes
    through it, and it makes the work less."""
    call = next((c for c in calls if c.function in (F.linear, F.conv2d)), None)
    if len(inputs) != 1 or call is None or len(call.args) < 2:
        return None
    (x,), given = inputs, call.args[0]
    found = _linear(call) if call.function is F.linear else _convolution(call)
    if found is None or given.numel() != x.numel():
        return None
    if not torch.equal(given.flatten(1), x.flatten(1)):  # only reshaped on the way
        return None
    goal, blocked = leads_to(x), call.result.grad_fn
    if any(u.grad_fn is not None and reaches(u.grad_fn, goal, blocked) for u in units):
        return None
    return found


def _linear(call: Call) -> Entrance | None:
    smaller = call.result.ndim == 2 and call.result.shape[1] < call.args[0].shape[1]
    return Entrance(call.result, call.args[1].detach()) if smaller else None


def _convolution(call: Call) -> Entrance | None:
    names = ("stride", "padding", "dilation", "groups")
    given = dict(zip(names, call.args[3:], strict=False)) | call.kwargs
    padding, kernel = given.get("padding", 0), call.args[1].detach()
    ones = (given.get(name, 1) in (1, (1, 1)) for name in ("stride", "dilation", "groups"))
    if isinstance(padding, str) or not all(ones):
        return None
    both = (padding, padding) if isinstance(padding, int) else tuple(padding)
    if any(p >= k for p, k in zip(both, kernel.shape[2:], strict=True)):
        return None
    return Entrance(call.result, kernel, (both[0], both[1]))
