"""What a model returns, and which tensor in it is its output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def output_tensor(value: Any) -> Tensor:
    """The tensor in a model's output: itself, its `logits`, or the first of a tuple."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, Mapping):
        if "logits" in value:
            return value["logits"]
        tensors = [v for v in value.values() if isinstance(v, Tensor)]
        if len(tensors) == 1:
            return tensors[0]
    if isinstance(value, (tuple, list)) and value and isinstance(value[0], Tensor):
        return value[0]
    raise TypeError(
        f"the model returned a {type(value).__name__} in which no single output tensor can be "
        "named; wrap it so that it returns a tensor, or a mapping with 'logits'"
    )
