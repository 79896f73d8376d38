"""Whole Jacobians by automatic differentiation, all rows in one batched backward pass."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from infoflow.unit_similarity.graph import depending


def jacobian(outputs: Tensor, leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """∂(Σ_k outputs[k, i])/∂leaf for each output i; samples being independent, that is each
    sample's own Jacobian.

    Args:
        outputs: `(batch, m)`.
        leaves: Tensors `(batch, ...)` in its graph; 0 for one that is not.

    Returns:
        Per leaf `(m, batch, ...)`.
    """
    batch, m = outputs.shape
    if not outputs.requires_grad:
        return tuple(leaf.new_zeros(m, *leaf.shape) for leaf in leaves)
    eye = torch.eye(m, dtype=outputs.dtype, device=outputs.device)
    return batched_vjp(outputs, leaves, eye[:, None].expand(m, batch, m))


def jacobian_by_columns(outputs: Tensor, leaf: Tensor) -> Tensor:
    """The same for one leaf `(batch, n)` with fewer units than there are outputs: `(n, batch, m)`.

    One pass per column: Jᵀu is linear in u, so J v is the gradient of (Jᵀu)·v with respect to u.
    """
    batch, n = leaf.shape
    if not outputs.requires_grad:
        return outputs.new_zeros(n, *outputs.shape)
    u = torch.zeros_like(outputs, requires_grad=True)
    (pulled,) = torch.autograd.grad(
        outputs, leaf, u, create_graph=True, allow_unused=True, materialize_grads=True
    )
    if not pulled.requires_grad:
        return outputs.new_zeros(n, *outputs.shape)
    eye = torch.eye(n, dtype=pulled.dtype, device=pulled.device)
    return batched_vjp(pulled, (u,), eye[:, None].expand(n, batch, n))[0]


_COLUMNS = 2**13


@contextmanager
def quiet_batching() -> Iterator[None]:
    """Without torch's notice that an operation has no batching rule of its own: it is slower there,
    not wrong, and there is nothing the user could do."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        yield


def wide(tensor: Tensor) -> Tensor:
    """In float32 at least: half-precision derivatives are summed in more than they came in."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def long_product(a: Tensor, b: Tensor) -> Tensor:
    """a bᵀ in float64, for few rows and very many columns: a part of the columns at a time, as one
    float32 product over 200,000 columns was off by 2e-4."""
    parts = zip(a.split(_COLUMNS, 1), b.split(_COLUMNS, 1), strict=True)
    total = a.new_zeros(len(a), len(b), dtype=torch.float64)
    for left, right in parts:
        total += left @ right.T
    return total


def batched_vjp(outputs: Tensor, leaves: Sequence[Tensor], weights: Tensor) -> tuple[Tensor, ...]:
    """Vector-Jacobian products with each of `weights` `(m, *outputs.shape)`: per leaf
    `(m, *leaf.shape)`."""

    def pull(weight: Tensor, batched: bool) -> tuple[Tensor, ...]:
        return torch.autograd.grad(
            outputs,
            tuple(leaves),
            weight,
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
            is_grads_batched=batched,
        )

    if not through_images(outputs, leaves):
        try:
            with quiet_batching():
                found = pull(weights, True)
            # zeros of a leaf that is not in the graph come once, and not per row
            parts = zip(found, leaves, strict=True)
            return tuple(part.expand(len(weights), *leaf.shape) for part, leaf in parts)
        except RuntimeError:  # an operation without a batching rule: row by row, same numbers
            pass
    rows = [pull(weight, False) for weight in weights]
    return tuple(torch.stack(parts) for parts in zip(*rows, strict=True))


def through_images(outputs: Tensor, leaves: Sequence[Tensor]) -> bool:
    """Whether convolutions or poolings come between: torch does their batched backward passes row
    by row and puts the rows together after each, which took 1.3 to 1.5 times as long."""
    ends = {get_gradient_edge(leaf).node for leaf in leaves}
    names = (node.name() for node in depending([outputs], leaves) - ends)
    return any(name.startswith(("Convolution", "MaxPool", "AvgPool")) for name in names)
