"""Adam on stacked networks, each row with its own rate and penalties, in one sweep of memory."""

from __future__ import annotations

import numpy as np
from numba import njit

Rows = np.ndarray


# reassoc: without it the sums of the penalty keep the loop from being vectorised (4x slower)
@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract"})
def adam(
    w: Rows, g: Rows, m: Rows, v: Rows, rate: Rows, l1: Rows, l2: Rows, correction: np.float32
):
    """One step in place on `(networks, parameters)` float32 arrays; returns l1 Σ|w| + l2 Σw² of
    each network before the step.

    `g` is the gradient without penalties; `rate` is lr / (1 - 0.9^t) and `correction`
    sqrt(1 - 0.999^t), as PyTorch factors Adam.
    """
    penalties = np.zeros(w.shape[0], np.float32)
    keep1, keep2, eps = np.float32(0.9), np.float32(0.999), np.float32(1e-8)
    new1, new2, one, two = np.float32(0.1), np.float32(0.001), np.float32(1), np.float32(2)
    for n in range(w.shape[0]):
        step, a, b, c = rate[n], l1[n], l2[n], one / correction
        squares, magnitudes = np.float32(0), np.float32(0)
        for i in range(w.shape[1]):
            x = w[n, i]
            sign = one if x > 0 else (-one if x < 0 else np.float32(0))
            gradient = g[n, i] + two * b * x + a * sign
            squares += x * x
            magnitudes += abs(x)
            first = keep1 * m[n, i] + new1 * gradient
            second = keep2 * v[n, i] + new2 * gradient * gradient
            m[n, i] = first
            v[n, i] = second
            w[n, i] = x - step * first / (np.sqrt(second) * c + eps)
        penalties[n] = a * magnitudes + b * squares
    return penalties
