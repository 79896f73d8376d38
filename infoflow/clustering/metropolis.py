"""Monte Carlo modules: redraw one unit's module at a time, at a temperature of given entropy."""

from __future__ import annotations

import numpy as np

from infoflow._shapes import Integer, Real, shaped
from infoflow.clustering.modules import Trace

ENTROPY = 0.15  # nats; "strikes a good balance between exploration and greedy ascent" (Lange 2022)


@shaped
def monte_carlo(
    B: Real[np.ndarray, "units units"],
    labels: Integer[np.ndarray, " units"],
    *,
    n_steps: int = 5000,
    entropy: float = ENTROPY,
    rng: np.random.Generator,
) -> tuple[np.ndarray, Trace]:
    """Labels improved by Monte Carlo steps (Lange et al. 2022, algorithm 3), and their trace.

    Each step takes a random unit, scores it in every module and in a new one, and draws its module
    from p ∝ exp(Q'/τ), τ set so that p has `entropy` nats. The best labels met are kept, moves that
    were scored but not drawn included.

    Read into the pseudocode: the best is kept over all steps (line 5 as printed would reset it at
    each); where several best choices tie, p has at least the log of their number, and τ → 0 is
    taken; with as many modules as units there is no room for a new one.

    Args:
        B: `(m, m)` modularity matrix, `modularity_matrix(S).values`.
        labels: `(m,)` labels to start from, 0 ... k-1.
        n_steps: Number of units drawn.
        entropy: H in nats, above 0 and below log 2 (where two choices are uniform).
        rng: Source of the draws.

    Raises:
        ValueError: `n_steps` below 0 or `entropy` out of range.

    Examples:
        >>> from infoflow.clustering import modularity_matrix
        >>> B = modularity_matrix(np.kron(np.eye(2), np.ones((3, 3)))).values
        >>> rng = np.random.default_rng(0)
        >>> labels, trace = monte_carlo(B, np.zeros(6, int), n_steps=200, rng=rng)
        >>> bool(labels[0] == labels[1] == labels[2] != labels[3] == labels[4] == labels[5]), trace
        (True, Trace(200 steps))
    """
    from infoflow.clustering import _kernel_monte_carlo as kernels

    if n_steps < 0:
        raise ValueError(f"n_steps: expected at least 0, got {n_steps}")
    if not 0 < entropy < np.log(2):
        raise ValueError(f"entropy: expected nats between 0 and log 2 = 0.693, got {entropy}")
    off, sums = module_sums(B, labels)
    score = float(B[labels[:, None] == labels[None, :]].sum())
    units = rng.integers(len(B), size=n_steps)
    uniforms = rng.random(n_steps)
    start = np.array(labels, dtype=np.int64)
    best, trace = kernels.monte_carlo(off, sums, start, score, units, uniforms, float(entropy))
    return best, Trace(*(np.ascontiguousarray(column) for column in trace.T))


def module_sums(B: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """B without its diagonal, and `sums[c, i] = Σ_{j in c} B[i, j]` with room for m modules."""
    off = np.array(B, dtype=np.float64)
    np.fill_diagonal(off, 0.0)
    sums = np.zeros(off.shape)  # not zeros_like, which touches every page
    for cluster in range(int(labels.max()) + 1):
        sums[cluster] = off[labels == cluster].sum(axis=0)
    return off, sums
