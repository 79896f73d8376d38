"""What a model did, read off the autograd graph of a batch.

The graph is the one place where nothing can hide: what is not in it has no derivative. A result
taken out of a tuple, a view, a write in place, a function of the user's own are nodes like all
others, and a node that is not known by name is never guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from typing import Any

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
