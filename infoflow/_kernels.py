"""Compiled inner loops (numba, cached on disk). Import inside functions: numba is slow to load.

B is a modularity matrix with its diagonal set to zero; sums[c, i] is kept equal to the sum of
B[i, j] over the units j of cluster c, so that moving unit i from a to c changes Q by exactly
2 (sums[c, i] - sums[a, i]). A move costs O(n), looking at one costs O(1).
"""

from __future__ import annotations

import numpy as np
from numba import njit

# Gains closer than this share of their range are ties: rounding, not preference.
_TIE = 1e-10


@njit(cache=True)
def temper(gains, count, target, p):
    """Fill p[:count] with softmax(gains / τ) of entropy `target` nats; returns τ and the entropy.

    In units of the gap to the runner-up, so the scale of Q (which shrinks with n) does not matter.
    Entropy falls monotonically with log β = -log τ: Newton's method inside a shrinking bracket.
    Ties at the top allow no entropy below the log of their number: then τ = 0, uniform over them.
    """
    top = gains[0]
    low = gains[0]
    for j in range(1, count):
        top = max(top, gains[j])
        low = min(low, gains[j])
    span = top - low
    ties = 0
    gap = span
    for j in range(count):
        below = top - gains[j]
        if below <= _TIE * span:
            ties += 1
        else:
            gap = min(gap, below)
    if ties == count or np.log(ties) >= target:
        for j in range(count):
            p[j] = 1.0 / ties if top - gains[j] <= _TIE * span else 0.0
        return 0.0, np.log(ties)
    lower = np.log(1e-3 * gap / span)  # β span = 1e-3: all but uniform
    upper = np.log(np.log(count) + 40.0)  # the best has all but e^-40 of the probability
    x = np.log(3.35)  # exact when there is one runner-up and the target is 0.15
    entropy = 0.0
    for _ in range(100):
        beta = np.exp(x)
        total = 0.0
        mean = 0.0
        square = 0.0
        for j in range(count):
            g = (gains[j] - top) / gap
            if top - gains[j] <= _TIE * span:
                g = 0.0
            weight = np.exp(beta * g)
            p[j] = weight
            total += weight
            mean += weight * g
            square += weight * g * g
        mean /= total
        entropy = np.log(total) - beta * mean
        error = entropy - target
        if abs(error) < 1e-10:
            break
        if error > 0.0:
            lower = x
        else:
            upper = x
        slope = -beta * beta * (square / total - mean * mean)
        step = x - error / slope if slope < 0.0 else lower - 1.0
        x = step if lower < step < upper else 0.5 * (lower + upper)
        if upper - lower < 1e-14:
            break
    total = 0.0
    for j in range(count):
        total += p[j]
    for j in range(count):
        p[j] /= total
    return gap / beta, entropy


@njit(cache=True)
def _shift(B, sums, labels, sizes, unit, new):
    """Move one unit to cluster `new`, keeping sums and sizes true."""
    old = labels[unit]
    for j in range(B.shape[0]):
        weight = B[unit, j]
        sums[old, j] -= weight
        sums[new, j] += weight
    labels[unit] = new
    sizes[old] -= 1
    sizes[new] += 1


@njit(cache=True)
def _close_gap(sums, labels, sizes, empty, k):
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


@njit(cache=True)
def monte_carlo(B, sums, labels, score, units, uniforms, target):
    """Algorithm 3 of Lange et al. 2022 from `labels` (changed in place), with given draws."""
    n = B.shape[0]
    steps = units.shape[0]
    sizes = np.zeros(n + 1, np.int64)
    k = 0
    for i in range(n):
        sizes[labels[i]] += 1
        k = max(k, labels[i] + 1)
    gains = np.empty(n + 1)
    p = np.empty(n + 1)
    trace = np.empty((steps, 3))
    best = score
    best_labels = labels.copy()
    for step in range(steps):
        i = units[step]
        own = labels[i]
        count = min(k + 1, n)  # the clusters in use and one new, if there is room for it
        top = 0
        for c in range(count):
            gains[c] = sums[c, i] if c < k else 0.0
            if c == own and sizes[own] == 1:
                gains[c] = 0.0  # alone: staying and a new cluster are the same partition
            if gains[c] > gains[top]:
                top = c
        stay = gains[own]
        reachable = score + 2.0 * (gains[top] - stay)
        if reachable > best + 1e-14:
            best = reachable
            best_labels[:] = labels
            best_labels[i] = top
        trace[step, 1], trace[step, 2] = temper(gains, count, target, p)
        chosen = 0
        cumulative = p[0]
        while cumulative < uniforms[step] and chosen < count - 1:
            chosen += 1
            cumulative += p[chosen]
        if chosen != own:
            score += 2.0 * (gains[chosen] - stay)
            _shift(B, sums, labels, sizes, i, chosen)
            k = max(k, chosen + 1)
            if sizes[own] == 0:
                k = _close_gap(sums, labels, sizes, own, k)
        trace[step, 0] = score
    return best_labels, trace


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


@njit(cache=True)
def _uniform(state):
    """A draw from [0, 1) by splitmix64; `state` is one uint64, changed in place."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return float(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(cache=True)
def _sum_up(B, sums, labels, sizes):
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


@njit(cache=True)
def _vertex_moves(B, sums, labels, sizes, k, bounds, order, state):
    """Move units to their best cluster, in random order, until no move raises Q."""
    n = B.shape[0]
    gained = 0.0
    moved = True
    for i in range(n - 1, 0, -1):
        j = int(_uniform(state) * (i + 1))
        order[i], order[j] = order[j], order[i]
    while moved:
        moved = False
        for i in order:
            own = labels[i]
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
                _shift(B, sums, labels, sizes, i, best)
                if sizes[own] == 0:
                    k = _close_gap(sums, labels, sizes, own, k)
                moved = True
    return k, gained


@njit(cache=True)
def _merge(sums, labels, sizes, k, into, other):
    """Join two clusters; returns the number left."""
    for j in range(labels.shape[0]):
        sums[into, j] += sums[other, j]
        if labels[j] == other:
            labels[j] = into
    sizes[into] += sizes[other]
    sizes[other] = 0
    return _close_gap(sums, labels, sizes, other, k)


@njit(cache=True)
def _merge_moves(sums, labels, sizes, k, bounds):
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


@njit(cache=True)
def _settle(B, sums, labels, sizes, k, bounds, order, state):
    """Vertex moves and merges in turn until neither raises Q."""
    total = 0.0
    while True:
        k, gained = _vertex_moves(B, sums, labels, sizes, k, bounds, order, state)
        before = k
        k, merged = _merge_moves(sums, labels, sizes, k, bounds)
        total += gained + merged
        if k == before:
            return k, total


@njit(cache=True)
def _perturb(B, sums, labels, sizes, k, bounds, state):
    """Split a cluster, merge two, or throw some units elsewhere, at random; returns k and ΔQ."""
    n = B.shape[0]
    gained = 0.0
    kind = int(_uniform(state) * 3)
    if kind == 0 and k < bounds[1]:  # split: each unit of one cluster leaves it with chance 1/2
        source = labels[int(_uniform(state) * n)]
        new = k
        sums[new, :n] = 0.0
        for i in range(n):
            if labels[i] == source and sizes[source] > 1 and _uniform(state) < 0.5:
                gained += 2.0 * (sums[new, i] - sums[source, i])
                _shift(B, sums, labels, sizes, i, new)
        return (k + 1 if sizes[new] else k), gained
    if kind == 1 and k > max(bounds[0], 2):  # merge
        a = int(_uniform(state) * k)
        b = int(_uniform(state) * (k - 1))
        b += b >= a
        for i in range(n):
            if labels[i] == b:
                gained += 2.0 * sums[a, i]
        return _merge(sums, labels, sizes, k, a, b), gained
    throws = 2 + int(_uniform(state) * max(2.0, 0.25 * n))
    for _ in range(throws):
        i = int(_uniform(state) * n)
        c = int(_uniform(state) * k)
        own = labels[i]
        if c != own and sizes[own] > 1:
            gained += 2.0 * (sums[c, i] - sums[own, i])
            _shift(B, sums, labels, sizes, i, c)
    return k, gained


@njit(cache=True)
def iterate(B, labels, bounds, rounds, state):
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


@njit(cache=True)
def within(B, labels):
    """The sum of B over pairs of units that share a cluster."""
    total = 0.0
    for i in range(B.shape[0]):
        row = 0.0
        for j in range(i):
            if labels[i] == labels[j]:
                row += B[i, j]
        total += 2.0 * row
    return total
