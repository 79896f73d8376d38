"""Separation: inequalities of the clique partitioning polytope that a fractional point violates.

X[i, j] says how far i and j are in the same module: 0 or 1 for a partition, between for the point.
"""

from __future__ import annotations

import numpy as np

from infoflow._compiled import compiled


@compiled
def triangles(X: np.ndarray, least: float, limit: int, per_pair: int, first: int):
    """Violated x_ij + x_jk - x_ik <= 1, as rows (i, j, k): the worst, spread over the pairs.

    At most `limit` in all and `per_pair` to a pair: many cuts on the same pair do one cut's work.
    Looks at apexes j from `first` on, until 40 `limit` violations are at hand.
    """
    n = X.shape[0]
    room = 40 * limit + n * n
    found = np.empty((room, 3), np.int32)
    excess = np.empty(room)
    m = 0
    for apex in range(n):
        if m >= 40 * limit:
            break
        j = (first + apex) % n
        for i in range(n):
            if i == j or X[i, j] <= least:
                continue
            for k in range(i + 1, n):
                over = X[i, j] + X[j, k] - X[i, k] - 1.0
                if k != j and over > least:
                    found[m, 0] = i
                    found[m, 1] = j
                    found[m, 2] = k
                    excess[m] = over
                    m += 1
    used = np.zeros((n, n), np.int32)
    chosen = np.empty((min(limit, m), 3), np.int32)
    count = 0
    for row in np.argsort(-excess[:m]):
        if count == limit:
            break
        i, j, k = found[row]
        if used[i, j] < per_pair and used[j, k] < per_pair and used[i, k] < per_pair:
            for a, b in ((i, j), (j, k), (i, k)):
                used[a, b] += 1
                used[b, a] += 1
            chosen[count] = found[row]
            count += 1
    return chosen[:count]


@compiled
def stars(X: np.ndarray, least: float, tries: int, limit: int):
    """Violated 2-partition cuts of one unit v against a set T (Grötschel & Wakabayashi 1990).

    Σ_{t in T} x_vt - Σ_{s<t in T} x_st <= 1. T grows greedily from each of the `tries` units
    closest to v. Returns rows (v, members of T, ...) and how many entries of each row count.
    """
    n = X.shape[0]
    nodes = np.empty((n * tries + 1, n), np.int32)
    sizes = np.zeros(n * tries + 1, np.int64)
    excess = np.zeros(n * tries + 1)
    count = 0
    gain = np.empty(n)
    for v in range(n):
        start = count
        near = np.argsort(-X[v])
        begun = 0
        for seed in near:
            if begun == tries or X[v, seed] < 1e-6:
                break
            if seed == v or X[v, seed] > 1.0 - 1e-6:
                continue
            begun += 1
            total = X[v, seed]
            size = 2
            nodes[count, 0] = v
            nodes[count, 1] = seed
            for u in range(n):
                inner = u != v and u != seed and 1e-6 < X[v, u] < 1.0 - 1e-6
                gain[u] = X[v, u] - X[seed, u] if inner else -1e9
            while size < n:
                best = np.argmax(gain)
                if gain[best] <= 1e-9:
                    break
                total += gain[best]
                nodes[count, size] = best
                size += 1
                for u in range(n):
                    gain[u] -= X[best, u]
                gain[best] = -1e9
            if total <= 1.0 + least or size < 4:
                continue
            nodes[count, 1:size] = np.sort(nodes[count, 1:size])
            known = False
            for other in range(start, count):
                if sizes[other] == size and np.all(nodes[other, :size] == nodes[count, :size]):
                    known = True
            if not known:
                sizes[count] = size
                excess[count] = total - 1.0
                count += 1
    order = np.argsort(-excess[:count])[:limit]
    return nodes[order], sizes[order]
