"""Sums over samples of products with 0/1 slopes, as those of ReLU are: by counting, exactly."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from infoflow.unit_similarity.factored import Factored

# Where counting was at least 2.5 times as fast as products of matrices: below, its weights take
# longer than the counting; above, it grows with the fourth power of the width.
_FEWEST, _WIDEST = 512, 128


def countable(jacobian: Factored) -> bool:
    """Whether J_k = C diag(s_k) R diag(t_k) with masks s, t that are worth counting here."""
    core, s, t, right = jacobian.core, jacobian.scale, jacobian.outer, jacobian.right
    if s is None or t is None or right is None or core.ndim != 2 or core.device.type != "cpu":
        return False
    if len(s) < _FEWEST or max(right.shape) > _WIDEST:
        return False
    return _is_mask(s) and _is_mask(t) and _counts_words()


def counted_products(jacobian: Factored) -> Tensor:
    """Σ_k J_kᵀ J_k `(columns, columns)` float64 of a countable Jacobian.

    Examples:
        >>> s, t = torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([[1.0], [1.0]])
        >>> counted_products(Factored(torch.eye(2), s, torch.tensor([[3.0], [4.0]]), t))
        tensor([[34.]], dtype=torch.float64)
    """
    from infoflow._kernels.similarity import masked_products

    s, t, right = jacobian.scale, jacobian.outer, jacobian.right
    if s is None or t is None or right is None:
        raise ValueError("expected J = C diag(s) R diag(t), got a Jacobian without s, t or R")
    core = jacobian.core.double()
    weight = right.T.double().contiguous()
    found = masked_products(_words(s), _words(t), (core.T @ core).numpy(), weight.numpy())
    return torch.from_numpy(found)


def _is_mask(values: Tensor) -> bool:
    return torch.equal(values, (values != 0).to(values.dtype))


def _words(mask: Tensor) -> np.ndarray:
    """`(words, units)` uint64 of a mask `(samples, units)`."""
    few = np.packbits(mask.bool().numpy().T, axis=1)
    padded = np.zeros((mask.shape[1], -(-len(mask) // 64) * 8), np.uint8)
    padded[:, : few.shape[1]] = few
    return np.ascontiguousarray(padded.view(np.uint64).T)


@cache
def _counts_words() -> bool:
    """Whether the processor counts the bits of many words at once; else counting is slower."""
    from llvmlite.binding import get_host_cpu_features

    return bool(get_host_cpu_features().get("avx512vpopcntdq", False))
