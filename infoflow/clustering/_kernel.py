"""Iterated local search over partitions, on kept sums that every search over partitions shares.

B is a modularity matrix with its diagonal set to zero; sums[c, i] is kept equal to the sum of
B[i, j] over the units j of cluster c, so that moving unit i from a to c changes Q by exactly
2 (sums[c, i] - sums[a, i]). A move costs O(n), looking at one costs O(1).
"""

from __future__ import annotations

import numpy as np

from infoflow._compiled import compiled


@compiled
def shift(
    B: np.ndarray, sums: np.ndarray, labels: np.ndarray, sizes: np.ndarray, unit: int, new: int
):
    """Move one unit to cluster `new`, keeping sums and sizes true."""
    old = labels[unit]
    row = B[unit]
    leaving = sums[old]
    for j in range(row.shape[0]):  # one row at a time: these loops compile to vector code
        leaving[j] -= row[j]
    entering = sums[new]
    for j in range(row.shape[0]):
        entering[j] += row[j]
    labels[unit] = new
    sizes[old] -= 1
    sizes[new] += 1


@compiled
def close_gap(sums: np.ndarray, labels: np.ndarray, sizes: np.ndarray, empty: int, k: int) -> int:
    """Give the last of k clusters the number of an empty one; returns k - 1."""
    last = k - 1
    for j in range(labels.shape[0]):
        if empty != last:
            sums[empty, j] = sums[last, j]
            if labels[j] == last:
                labels[j] = empty
        sums[last, j] = 0.0
    if empty != last:
        sizes[empty] = sizes[last]
    sizes[last] = 0
    return last


@compiled
def uniform(state: np.ndarray):
    """A draw from [0, 1) by splitmix64; `state` is one uint64, changed in place."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return float(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@compiled
def _sum_up(B: np.ndarray, sums: np.ndarray, labels: np.ndarray, sizes: np.ndarray):
    """Fill sums and sizes for these labels; returns the number of clusters."""
    n = B.shape[0]
    k = 0
    for i in range(n):
        k = max(k, labels[i] + 1)
    sums[:k, :n] = 0.0
    sizes[:] = 0
    for i in range(n):
        c = labels[i]
        sizes[c] += 1
        for j in range(n):
            sums[c, j] += B[i, j]
    return k


@compiled
def _vertex_moves(
    B: np.ndarray,
    sums: np.ndarray,
    labels: np.ndarray,
    sizes: np.ndarray,
    k: int,
    bounds: np.ndarray,
    order: np.ndarray,
    state: np.ndarray,
):
    """Move units to their best cluster, in random order, until no move raises Q."""
    n = B.shape[0]
    gained = 0.0
    moved = True
    for i in range(n - 1, 0, -1):
        j = int(uniform(state) * (i + 1))
        order[i], order[j] = order[j], order[i]
    while moved:
        moved = False
        for i in order:
            own = int(labels[i])
            if sizes[own] == 1 and k <= bounds[0]:
                continue
            stay = sums[own, i] if sizes[own] > 1 else 0.0
            best = own
            top = stay + 1e-13
            for c in range(k):
                if c != own and sums[c, i] > top:
                    best = c
                    top = sums[c, i]
            if top < -1e-13 and k < bounds[1] and sizes[own] > 1:
                best = k
                top = 0.0
            if best != own:
                gained += 2.0 * (top - stay)
                if best == k:
                    sums[k, :n] = 0.0
                    k += 1
                shift(B, sums, labels, sizes, i, best)
                if sizes[own] == 0:
                    k = close_gap(sums, labels, sizes, own, k)
                moved = True
    return k, gained


@compiled
def _merge(sums: np.ndarray, labels: np.ndarray, sizes: np.ndarray, k: int, into: int, other: int):
    """Join two clusters; returns the number left."""
    for j in range(labels.shape[0]):
        sums[into, j] += sums[other, j]
        if labels[j] == other:
            labels[j] = into
    sizes[into] += sizes[other]
    sizes[other] = 0
    return close_gap(sums, labels, sizes, other, k)


@compiled
def _merge_moves(
    sums: np.ndarray, labels: np.ndarray, sizes: np.ndarray, k: int, bounds: np.ndarray
):
    """Join the best pair of clusters while that raises Q, or while there are too many."""
    n = labels.shape[0]
    gained = 0.0
    while k > max(bounds[0], 1):
        between = np.zeros((k, k))
        for i in range(n):
            for c in range(k):
                between[labels[i], c] += sums[c, i]
        best_a = 0
        best_b = 1
        for a in range(k):
            for b in range(a + 1, k):
                if between[a, b] > between[best_a, best_b]:
                    best_a = a
                    best_b = b
        if k <= 1 or (between[best_a, best_b] <= 1e-13 and k <= bounds[1]):
            break
        gained += 2.0 * between[best_a, best_b]
        k = _merge(sums, labels, sizes, k, best_a, best_b)
    return k, gained


@compiled
def _settle(
    B: np.ndarray,
    sums: np.ndarray,
    labels: np.ndarray,
    sizes: np.ndarray,
    k: int,
    bounds: np.ndarray,
    order: np.ndarray,
    state: np.ndarray,
):
    """Vertex moves and merges in turn until neither raises Q."""
    total = 0.0
    while True:
        k, gained = _vertex_moves(B, sums, labels, sizes, k, bounds, order, state)
        before = k
        k, merged = _merge_moves(sums, labels, sizes, k, bounds)
        total += gained + merged
        if k == before:
            return k, total


@compiled
def _perturb(
    B: np.ndarray,
    sums: np.ndarray,
    labels: np.ndarray,
    sizes: np.ndarray,
    k: int,
    bounds: np.ndarray,
    state: np.ndarray,
):
    """Split a cluster, merge two, or throw some units elsewhere, at random; returns k and ΔQ."""
    n = B.shape[0]
    gained = 0.0
    kind = int(uniform(state) * 3)
    if kind == 0 and k < bounds[1]:  # split: each unit of one cluster leaves it with chance 1/2
        source = labels[int(uniform(state) * n)]
        new = k
        sums[new, :n] = 0.0
        for i in range(n):
            if labels[i] == source and sizes[source] > 1 and uniform(state) < 0.5:
                gained += 2.0 * (sums[new, i] - sums[source, i])
                shift(B, sums, labels, sizes, i, new)
        return (k + 1 if sizes[new] else k), gained
    if kind == 1 and k > max(bounds[0], 2):  # merge
        a = int(uniform(state) * k)
        b = int(uniform(state) * (k - 1))
        b += b >= a
        for i in range(n):
            if labels[i] == b:
                gained += 2.0 * sums[a, i]
        return _merge(sums, labels, sizes, k, a, b), gained
    throws = 2 + int(uniform(state) * max(2.0, 0.25 * n))
    for _ in range(throws):
        i = int(uniform(state) * n)
        c = int(uniform(state) * k)
        own = labels[i]
        if c != own and sizes[own] > 1:
            gained += 2.0 * (sums[c, i] - sums[own, i])
            shift(B, sums, labels, sizes, i, c)
    return k, gained


@compiled
def iterate(B: np.ndarray, labels: np.ndarray, bounds: np.ndarray, rounds: int, state: np.ndarray):
    """Iterated local search from `labels`: settle, then perturb and settle, keeping what is better.

    bounds: the least and the largest number of clusters. Returns the best labels and the gain in Q.
    """
    n = B.shape[0]
    cap = max(min(n, bounds[1]), labels.max() + 1)
    sums = np.zeros((cap, n + 8))  # padded: rows a power of two apart share cache sets
    sizes = np.zeros(cap + 1, np.int64)
    labels = labels.copy()
    order = np.arange(n)
    k = _sum_up(B, sums, labels, sizes)
    k, gain = _settle(B, sums, labels, sizes, k, bounds, order, state)
    kept = labels.copy()
    kept_sums = sums.copy()
    kept_sizes = sizes.copy()
    kept_k = k
    for _ in range(rounds):
        k, change = _perturb(B, sums, labels, sizes, k, bounds, state)
        k, settled = _settle(B, sums, labels, sizes, k, bounds, order, state)
        if change + settled > -1e-14:
            gain += change + settled
            kept[:] = labels
            kept_sums[:k] = sums[:k]
            kept_sizes[:] = sizes
            kept_k = k
        else:
            labels[:] = kept
            sums[:kept_k] = kept_sums[:kept_k]
            sizes[:] = kept_sizes
            k = kept_k
    return kept, gain


@compiled
def within(B: np.ndarray, labels: np.ndarray):
    """The sum of B over pairs of units that share a cluster."""
    total = 0.0
    for i in range(B.shape[0]):
        row = 0.0
        for j in range(i):
            if labels[i] == labels[j]:
                row += B[i, j]
        total += 2.0 * row
    return total
