"""Naive versions of modularity: the paper's equations and pseudocode, term by term."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.optimize import brentq


def normalised(S):
    """Ã: no diagonal, entries sum to one."""
    A = np.array(S, dtype=float)
    np.fill_diagonal(A, 0)
    return A / A.sum()


def one_hot(labels):
    labels = np.asarray(labels)
    P = np.zeros((len(labels), max(len(labels), labels.max() + 1)))
    P[np.arange(len(labels)), labels] = 1
    return P


def q(S, labels, resolution=1.0):
    """Eq. 6 as printed: Tr(PᵀÃP) - γ Tr(PᵀÃ1 1ᵀÃP)."""
    A, P, one = normalised(S), one_hot(labels), np.ones((len(S), 1))
    return np.trace(P.T @ A @ P) - resolution * np.trace(P.T @ A @ one @ one.T @ A @ P)


def greedy_spectral(S):
    """Algorithm 2 as printed, with the full eigendecomposition and Q recomputed each time."""
    A = normalised(S)
    B = A - np.outer(A.sum(1), A.sum(1))
    labels, queue = np.zeros(len(A), int), [0]
    best = q(S, labels)
    while queue:
        c = queue.pop()
        i = np.flatnonzero(labels == c)
        v = np.linalg.eigh(B[np.ix_(i, i)])[1][:, -1]
        trial = labels.copy()
        new = labels.max() + 1
        trial[i[v < 0]] = new
        if q(S, trial) > best + 1e-14:
            best, labels = q(S, trial), trial
            queue += [c, new]
    return labels


def tempered(scores, entropy):
    """p ∝ exp(score / τ) with the entropy asked for, by bisection on log β (Brent)."""
    scores = np.asarray(scores) - max(scores)
    span = -min(scores)
    ties = scores >= -1e-10 * span
    if ties.all() or np.log(ties.sum()) >= entropy:
        return ties / ties.sum()
    scores = np.where(ties, 0, scores)
    gap = -scores[~ties].max()

    def softmax(x):
        p = np.exp(np.exp(x) * scores / gap)
        return p / p.sum()

    def excess(x):
        p = softmax(x)
        return -(p[p > 0] * np.log(p[p > 0])).sum() - entropy

    return softmax(brentq(excess, np.log(1e-3 * gap / span), np.log(np.log(len(scores)) + 40)))


def monte_carlo(S, labels, units, uniforms, entropy):
    """Algorithm 3 as printed: Q recomputed from scratch for every choice; given draws."""
    labels = np.array(labels)
    best_q, best = q(S, labels), labels.copy()
    trace = []
    for i, u in zip(units, uniforms, strict=True):
        k = labels.max() + 1
        scores = []
        for j in range(min(k + 1, len(labels))):
            trial = labels.copy()
            trial[i] = j
            scores.append(q(S, trial))
            if scores[-1] > best_q + 1e-13:
                best_q, best = scores[-1], trial
        p = tempered(scores, entropy)
        old = labels[i]
        labels[i] = min(np.searchsorted(np.cumsum(p), u), len(p) - 1)
        trace.append(q(S, labels))
        if (
            old < labels.max() and not (labels == old).any()
        ):  # only the leftmost columns are used: the last fills the gap
            labels[labels == labels.max()] = old
    return best, np.array(trace)


def partitions(n):
    """All partitions of n units, as restricted growth strings."""
    for labels in itertools.product(range(n), repeat=n):
        if all(x <= max(labels[:i], default=-1) + 1 for i, x in enumerate(labels)):
            yield np.array(labels)


def q_star(S):
    """The largest Q of all partitions."""
    return max(q(S, labels) for labels in partitions(len(S)))
