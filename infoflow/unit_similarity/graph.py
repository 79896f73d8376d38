"""What a model did, read off the autograd graph of a batch.

The graph is the one place where nothing can hide: what is not in it has no derivative. A result
taken out of a tuple, a view, a write in place, a function of the user's own are nodes like all
others, and a node that is not known by name is never guessed at. Below: whole Jacobians pulled back
through it, all rows in one batched backward pass.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

# Nodes of functions that are linear, piecewise linear, or only move values about: their second
# derivative is zero wherever it exists.
_PIECEWISE_LINEAR = {
    "Add", "Sub", "Neg", "Sum", "Mean", "Expand", "Repeat", "View", "Reshape", "UnsafeView",
    "ReshapeAlias", "Alias", "T", "Transpose", "Permute", "Unsqueeze", "Squeeze", "Slice", "Select",
    "Index", "IndexCopy", "Clone", "Copy", "ToCopy", "AsStrided", "Cat", "Stack", "Split",
    "SplitWithSizes", "Unbind", "Unfold", "Relu", "LeakyRelu", "Threshold", "Hardtanh", "Clamp",
    "ClampMin", "ClampMax", "Abs", "MaxPool2DWithIndices", "MaxPool3DWithIndices", "AvgPool2D",
    "AvgPool3D", "AdaptiveAvgPool2D", "AdaptiveMaxPool2D", "MkldnnMaxPool2D", "ConstantPadNd",
    "ReflectionPad2D", "ReplicationPad2D", "UpsampleNearest2D", "UpsampleBilinear2D", "Im2Col",
    "Where", "Max", "Min", "Amax", "Amin", "Maximum", "Minimum",
}  # fmt: skip
# Linear in each of two factors: only one of them may depend on the units.
_BILINEAR = {"Mul", "Mm", "Bmm", "Mv", "Dot", "Convolution", "MkldnnConvolution"}
_BILINEAR_WITH_SUMMAND = {"Addmm", "Addmv", "Addbmm", "Baddbmm"}
BATCH_NORMS = {"NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm"}
ELEMENTWISE = {
    "Neg", "Pow", "Exp", "Sqrt", "Erf", "Abs", "Clone", "Relu", "LeakyRelu", "Elu", "Gelu", "Silu",
    "Mish", "Tanh", "Sigmoid", "LogSigmoid", "Softplus", "Threshold", "Hardtanh", "Hardswish",
    "Hardsigmoid", "Clamp", "ClampMin", "ClampMax",
}  # fmt: skip
"""Functions of one number, done at every place alike."""
VIEWS = {"View", "Reshape", "UnsafeView", "ReshapeAlias", "Alias", "Unsqueeze", "Squeeze"}


def kind(node: Any) -> str:
    """What a node is of, as `Tanh`; empty for what is not torch's own.

    torch numbers its own nodes (`TanhBackward0`); a class of the user's has no number at the end,
    so that a function that is merely called `Tanh` is not taken for it.
    """
    found = re.fullmatch(r"(\w+)Backward\d+", node.name())
    return found[1] if found else ""


def node_of(leaf: Tensor | GradientEdge) -> Any:
    """The node at which the gradient of a tensor is gathered."""
    return leaf.node if isinstance(leaf, GradientEdge) else get_gradient_edge(leaf).node


def shape_of(node: Any) -> tuple[int, ...]:
    """Of the (first) tensor that a node's function returned; empty if that is not known."""
    variable = getattr(node, "variable", None)
    if isinstance(variable, Tensor):
        return tuple(variable.shape)
    returned = getattr(node, "_input_metadata", None)
    return tuple(returned[0].shape) if returned else ()


def is_piecewise_linear(outputs: Tensor, leaves: Sequence[Tensor]) -> bool:
    """Whether `outputs` is piecewise linear in the leaves, by every operation between.

    Conservative: an operation that is not known to be piecewise linear says no.
    """
    if outputs.grad_fn is None:
        return True
    depends = depending([outputs], leaves)
    return all(allowed(node, depends) for node in depends)


def depending(
    ends: Iterable[Tensor | None], starts: Iterable[Tensor | GradientEdge]
) -> dict[Any, None]:
    """The nodes by which `ends` depend on `starts`, and those of the starts; each after those that
    it depends on."""
    found = dict.fromkeys(node_of(start) for start in starts)
    for end in ends:
        for node in children_first(None if end is None else end.grad_fn):
            if any(following in found for following, _ in node.next_functions):
                found[node] = None
    return found


def children_first(root: Any) -> list[Any]:
    """Every node under `root`, after all those that it leads to."""
    order, stack, seen = [], [(root, False)], set()
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif node is not None and node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack += [(following, False) for following, _ in node.next_functions]
    return order


def dependent_inputs(node: Any, depends: Container[Any]) -> list[int]:
    """Which of a node's inputs are in `depends`."""
    return [i for i, (following, _) in enumerate(node.next_functions) if following in depends]


def allowed(node: Any, depends: Container[Any]) -> bool:
    """Whether what a node does is piecewise linear in those of its inputs that depend on the
    leaves, which are those in `depends`."""
    if node.name().endswith("AccumulateGrad"):
        return True
    name, dependent = kind(node), dependent_inputs(node, depends)
    if name in _PIECEWISE_LINEAR:
        return True
    if name in _BILINEAR:
        return len(dependent) == 1
    if name in _BILINEAR_WITH_SUMMAND:  # the summand comes first
        return len([i for i in dependent if i > 0]) <= 1
    if name == "Div":
        return dependent == [0]
    if name in BATCH_NORMS:  # affine in evaluation mode
        return dependent == [0] and not getattr(node, "_saved_training", True)
    return False


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
