"""Agreement of shuffled partitions."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def shuffled_similarity(a, b, uniforms):
    """Element-centric similarity of labels `a` and shuffles of labels `b`, one per row."""
    n = a.shape[0]
    rows = a.max() + 1
    columns = b.max() + 1
    a_sizes = np.zeros(rows, np.int64)
    b_sizes = np.zeros(columns, np.int64)
    for i in range(n):
        a_sizes[a[i]] += 1
        b_sizes[b[i]] += 1
    inverse = np.empty((rows, columns))
    for r in range(rows):
        for c in range(columns):
            inverse[r, c] = 1.0 / (n * max(a_sizes[r], b_sizes[c]))
    order = b.copy()
    table = np.zeros((rows, columns), np.int64)
    out = np.empty(uniforms.shape[0])
    for s in range(uniforms.shape[0]):
        for i in range(n):  # Fisher-Yates; a shuffle of a shuffle is as good as one of the original
            j = i + int(uniforms[s, i] * (n - i))
            order[i], order[j] = order[j], order[i]
            table[a[i], order[i]] += 1
        total = 0.0
        for r in range(rows):
            for c in range(columns):
                total += table[r, c] * table[r, c] * inverse[r, c]
                table[r, c] = 0
        out[s] = total
    return out
