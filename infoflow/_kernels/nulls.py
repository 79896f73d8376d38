"""Random matrices with the same row sums."""

from __future__ import annotations

from numba import njit


@njit(cache=True)
def rewire(S, top, units, uniforms):
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
