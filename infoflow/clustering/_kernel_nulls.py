"""What chance gives: random matrices with the same row sums, agreement of shuffled labels."""

from __future__ import annotations

import numpy as np

from infoflow._compiled import compiled


@compiled
def rewire(S: np.ndarray, top: float, units: np.ndarray, uniforms: np.ndarray):
    """Move similarity around 4-cycles a-b-c-d, in place; every row sum stays.

    S[a, b] and S[c, d] gain what S[b, c] and S[d, a] lose, a uniform draw of all amounts that keep
    the four between 0 and `top`.
    """
    for step in range(units.shape[0]):
        a, b, c, d = units[step]
        if a in (b, c, d) or b in (c, d) or c == d:
            continue
        least = -min(S[a, b], S[c, d], top - S[b, c], top - S[d, a])
        most = min(S[b, c], S[d, a], top - S[a, b], top - S[c, d])
        amount = least + uniforms[step] * (most - least)
        for i, j, sign in ((a, b, 1.0), (c, d, 1.0), (b, c, -1.0), (d, a, -1.0)):
            value = max(S[i, j] + sign * amount, 0.0)
            S[i, j] = value
            S[j, i] = value
    return S


@compiled
def shuffled_similarity(a: np.ndarray, b: np.ndarray, uniforms: np.ndarray):
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
