"""Whole Jacobians by automatic differentiation, all rows in one batched backward pass."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from infoflow.unit_similarity.graph import depending, kind, node_of, shape_of

Leaf = Tensor | GradientEdge


def jacobian(outputs: Tensor, leaves: Sequence[Leaf]) -> tuple[Tensor, ...]:
    """∂(Σ_k outputs[k, i])/∂leaf for each output i; samples being independent, that is each
    sample's own Jacobian.

    Args:
        outputs: `(batch, m)`.
        leaves: Tensors `(batch, ...)` in its graph, or edges; 0 for one that is not.

    Returns:
        Per leaf `(m, batch, ...)`.
    """
    batch, m = outputs.shape
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


def columns_agree_with_rows(outputs: Tensor, leaves: Sequence[Leaf]) -> bool:
    """Whether J v may be had as a gradient of Jᵀu: not through functions of the user's own, whose
    gradient need not be one that can be differentiated, nor through PReLU, of which torch gives
    slope 1 at exactly 0 in one and the weight in the other."""
    nodes = depending([outputs], leaves)
    return all(
        node.name().endswith("AccumulateGrad") or kind(node) not in ("", "PreluKernel")
        for node in nodes
    )


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


def batched_vjp(outputs: Tensor, leaves: Sequence[Leaf], weights: Tensor) -> tuple[Tensor, ...]:
    """Vector-Jacobian products with each of `weights` `(m, *outputs.shape)`: per leaf
    `(m, *leaf.shape)`.

    An operation that cannot be batched is differentiated row by row, with the same numbers.

    Raises:
        torch.OutOfMemoryError: There is not enough memory for the batch.
    """

    def zeros(leaf: Leaf) -> Tensor:
        return weights.new_zeros(len(weights), *shape_of(node_of(leaf)))

    ends: Any = tuple(leaves)  # torch's own hints leave out edges among several

    def pull(weight: Tensor, batched: bool) -> tuple[Tensor | None, ...]:
        return torch.autograd.grad(
            outputs,
            ends,
            weight,
            retain_graph=True,
            allow_unused=True,
            is_grads_batched=batched,
        )

    if not outputs.requires_grad:
        return tuple(zeros(leaf) for leaf in leaves)
    if not through_images(outputs, leaves):
        try:
            with quiet_batching():
                found = pull(weights, True)
            return tuple(
                zeros(leaf) if part is None else part
                for part, leaf in zip(found, leaves, strict=True)
            )
        except torch.OutOfMemoryError:  # no reason to try the same again, row by row
            raise
        except RuntimeError:  # what torch raises where an operation has no batching rule
            pass
    rows = [pull(weight, False) for weight in weights]
    return tuple(
        zeros(leaf) if parts[0] is None else torch.stack(parts)
        for parts, leaf in zip(zip(*rows, strict=True), leaves, strict=True)
    )


def through_images(outputs: Tensor, leaves: Sequence[Leaf]) -> bool:
    """Whether convolutions or poolings come between: torch does their batched backward passes row
    by row and puts the rows together after each, which took 1.3 to 1.5 times as long."""
    ends = {node_of(leaf) for leaf in leaves}
    names = (node.name() for node in depending([outputs], leaves) if node not in ends)
    return any(name.startswith(("Convolution", "MaxPool", "AvgPool")) for name in names)
