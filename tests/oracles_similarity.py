"""Naive versions of the similarity measures: one sample at a time, whole Jacobians and Hessians by
`torch.func`, on a model spelled out as a plain function of the perturbation. No hooks, no batching.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn


def perturbed_sequential(
    net: nn.Sequential, layers: Sequence[str]
) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """`f(x, δ) -> (y, h)` for one sample x: δ is added to the units of each layer, at every
    position; h collects the units of `layers`, averaged over positions."""

    def run(x: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
        value, start, units = x[None], 0, []
        for name, child in net.named_children():
            value = child(value)
            if name in layers:
                n = value.shape[1]
                units.append(value[0].flatten(1).mean(1) if value.ndim > 2 else value[0])
                shift = delta[start : start + n].reshape(1, n, *(1,) * (value.ndim - 2))
                value, start = value + shift, start + n
        return value[0].flatten(), torch.cat(units)

    return run


def signed_similarities(
    net: nn.Sequential,
    layers: Sequence[str],
    inputs: Tensor,
    targets: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
) -> dict[str, np.ndarray]:
    """Equations 1-4 before the absolute value, in the model's own precision."""
    net = net.eval()
    run = perturbed_sequential(net, layers)
    n = sum(
        net[: list(dict(net.named_children())).index(name) + 1](inputs[:1]).shape[1]
        for name in layers
    )
    zero = torch.zeros(n, dtype=inputs.dtype)
    totals = {name: torch.zeros(n, n, dtype=torch.float64) for name in ("i_sens", "o_sens", "hess")}
    units = []
    for x, t in zip(inputs, targets, strict=True):
        units.append(run(x, zero)[1].detach().double())
        j_x = torch.func.jacrev(lambda v: run(v, zero)[1])(x).reshape(n, -1)
        j_y = torch.func.jacrev(lambda d, x=x: run(x, d)[0])(zero)
        curve = torch.func.hessian(lambda d, x=x, t=t: loss(run(x, d)[0][None], t[None]))(zero)
        totals["i_sens"] += (j_x @ j_x.T).detach()
        totals["o_sens"] += (j_y.T @ j_y).detach()
        totals["hess"] += curve.reshape(n, n).detach()
    means = {name: (total / len(inputs)).numpy() for name, total in totals.items()}
    return means | {"cov": np.cov(torch.stack(units).numpy(), rowvar=False)}


def similarities(
    net: nn.Sequential,
    layers: Sequence[str],
    inputs: Tensor,
    targets: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    eps: float = 1e-12,
) -> dict[str, np.ndarray]:
    """All eight measures."""
    found = {}
    for name, signed in signed_similarities(net, layers, inputs, targets, loss).items():
        matrix = found[name] = np.abs(signed)
        n = len(matrix)
        found[name + "_norm"] = np.array(
            [
                [matrix[i, j] / max((matrix[i, i] * matrix[j, j]) ** 0.5, eps) for j in range(n)]
                for i in range(n)
            ]
        )
    return found
