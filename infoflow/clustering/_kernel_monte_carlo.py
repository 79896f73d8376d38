"""Monte Carlo steps at a temperature of given entropy (Lange et al. 2022, algorithm 3)."""

from __future__ import annotations

import numpy as np

from infoflow._compiled import compiled
from infoflow.clustering._kernel import close_gap, shift

# Gains closer than this share of their range are ties: rounding, not preference.
_TIE = 1e-10


@compiled
def temper(gains: np.ndarray, count: int, target: float, p: np.ndarray):
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
    beta = np.exp(x)
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


@compiled
def monte_carlo(
    B: np.ndarray,
    sums: np.ndarray,
    labels: np.ndarray,
    score: float,
    units: np.ndarray,
    uniforms: np.ndarray,
    target: float,
):
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
        own = int(labels[i])
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
            shift(B, sums, labels, sizes, i, chosen)
            k = max(k, chosen + 1)
            if sizes[own] == 0:
                k = close_gap(sums, labels, sizes, own, k)
        trace[step, 0] = score
    return best_labels, trace
