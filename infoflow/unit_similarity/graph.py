"""Rules read off the autograd graph of what a model did, independent of its layers' names."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Any

from torch import Tensor
from torch.autograd.graph import get_gradient_edge

# Backward nodes of functions that are linear, piecewise linear, or only move values about: their
# second derivative is zero wherever it exists.
_PIECEWISE_LINEAR = {
    "Add", "Sub", "Neg", "Sum", "Mean", "Expand", "Repeat", "View", "Reshape", "UnsafeView",
    "ReshapeAlias", "T", "Transpose", "Permute", "Unsqueeze", "Squeeze", "Slice", "Select",
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
# Linear in the first argument, by constants in the others.
_LINEAR_IN_FIRST = {"Div", "PreluKernel"}
_AFFINE_IN_EVALUATION = {"NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm"}


def reaches(start: Any, goal: Callable[[Any], bool], blocked: Any = None) -> bool:
    """Whether a backward node is, or leads to, one that `goal` accepts, not through `blocked`."""
    stack, seen = [start], set()
    while stack:
        node = stack.pop()
        if node is None or node in seen or node is blocked:
            continue
        if goal(node):
            return True
        seen.add(node)
        stack += [following for following, _ in node.next_functions]
    return False


def leads_to(*leaves: Tensor) -> Callable[[Any], bool]:
    """Accepts the nodes at which gradients of the leaves are gathered."""
    ids = {id(leaf) for leaf in leaves}
    return lambda node: id(getattr(node, "variable", None)) in ids


def is_piecewise_linear(outputs: Tensor, leaves: tuple[Tensor, ...]) -> bool:
    """Whether `outputs` is piecewise linear in the leaves, by every operation between

    Conservative: an operation that is not known to be piecewise linear says no.
    """
    if outputs.grad_fn is None:
        return True
    depends = depending([outputs], leaves)
    return all(allowed(node, depends) for node in depends)


def depending(ends: Iterable[Tensor | None], starts: Iterable[Tensor]) -> set[Any]:
    """The backward nodes by which `ends` depend on `starts`, and those of the starts."""
    found = {get_gradient_edge(start).node for start in starts}
    for end in ends:
        for node in children_first(None if end is None else end.grad_fn):
            if any(following in found for following, _ in node.next_functions):
                found.add(node)
    return found


def children_first(root: Any) -> list[Any]:
    """Every backward node under `root`, after all those that it leads to."""
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


def allowed(node: Any, depends: Container[Any]) -> bool:
    """Whether what a node does is piecewise linear in those of its inputs that depend on the
    leaves, which are those in `depends`."""
    name = node.name().rstrip("0123456789").removesuffix("Backward")
    if name.endswith("AccumulateGrad"):
        return True
    inputs = [following for following, _ in node.next_functions]
    dependent = [i for i, following in enumerate(inputs) if following in depends]
    if name in _PIECEWISE_LINEAR:
        return True
    if name in _BILINEAR:
        return len(dependent) == 1
    if name in _BILINEAR_WITH_SUMMAND:  # the summand comes first
        return len([i for i in dependent if i > 0]) <= 1
    if name in _LINEAR_IN_FIRST:
        return dependent == [0]
    if name in _AFFINE_IN_EVALUATION:
        return dependent == [0] and not getattr(node, "_saved_training", True)
    return False
