"""Flow from a table whose donors are all that the source can be, each with a probability of its
own; and the probabilities under which most is sent (capacity)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from infoflow.information.donors import (
    Counts,
    TableFlow,
    counted,
    cross_entropy,
    log2_observed,
    row_entropy,
    summed_terms,
)
from infoflow.information.entropy import LN2
from infoflow.measured import Correction

_GAP = 1e-9  # bits by which capacity may be missed
_MOST_STEPS = 20_000


def weighted_flow(
    codes: np.ndarray,
    n_codes: int,
    weights: np.ndarray,
    *,
    estimator: Correction = "auto",
    observed: np.ndarray | None = None,
) -> TableFlow:
    """`table_flow` with p(donor m) = weights[m].

    With P_m the histogram over K contexts, P̄ = Σ_m w_m P_m and Q_k(c) = Σ_m w_m [c_mk = c],

        plain  H(P̄) - Σ_m w_m H(P_m)        given the context  mean_k H(Q_k)

    The weights are fixed numbers and the donors all there are, so only the contexts are a sample.
    To first order H(P̄) is then too small by Σ_c V(c) / 2 P̄(c) nats, V(c) the variance over
    contexts of Q_k(c), divided by K; H(P_m) by what `estimator` says; the flow given the context,
    a mean over contexts, has no bias. Where do(S) changes no code both corrections are the same.

    Args:
        codes: `(M, K, T)` integer codes.
        n_codes: Codes are 0 ... n_codes - 1.
        weights: `(M,)` probabilities.
        estimator: Of H(P_m); "none" gives the plug-in values, "quadratic" is not derived.
        observed: As for `table_flow`.

    Raises:
        ValueError: "quadratic", weights that are no distribution, or as `table_flow` does.

    Examples:
        >>> copies = np.array([[[0], [0]], [[0], [0]], [[1], [1]]])
        >>> weighted_flow(copies, 2, np.array([0.25, 0.25, 0.5]), estimator="none").bits
        array([1.])
    """
    if estimator == "quadratic":
        raise ValueError("correction='quadratic' is not derived for weighted donors: use 'auto'")
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != codes.shape[:1] or (weights < 0).any() or abs(weights.sum() - 1) > 1e-9:
        raise ValueError(f"expected {len(codes)} weights that add up to 1, one per donor")
    codes, counts = counted(codes, n_codes)
    k = codes.shape[1]
    rows, by_context = counts.by_donor / k, _context_histograms(codes, n_codes, weights)
    mixture = by_context.mean(0)
    log_marginal = _log2(mixture) if observed is None else log2_observed(observed)
    bits = cross_entropy(mixture, log_marginal) - weights @ row_entropy(
        counts.by_donor, k, estimator
    )
    if estimator != "none" and observed is None:
        variance = by_context.var(0, ddof=1) / k
        bits += (variance / (2 * np.where(mixture > 0, mixture, np.inf))).sum(-1) / LN2
    given_context = cross_entropy(by_context, _log2(by_context)).mean(0)
    bits[~counts.changed], given_context[~counts.changed] = 0.0, 0.0
    plain, given = summed_terms(codes, counts, _log2(rows) - log_marginal, -_log2(by_context))
    cells = float(np.count_nonzero(counts.by_donor, axis=-1).mean() / k)
    return TableFlow(bits, given_context, weights[None] @ plain, weights[None] @ given, cells)


def capacity_flow(
    codes: np.ndarray, n_codes: int, *, contexts: int, estimator: Correction = "auto"
) -> TableFlow:
    """The largest plain flow, and the largest given the context, over p(donor): each has its own.

    Columns are summed: one p(donor) serves all columns of a quantity. With `estimator="none"` the
    maximum over these very contexts, exact where they are all there are and else too large, as it
    is a maximum of noisy values. Otherwise p(donor) is found on every other context and the flow
    under it is measured on the rest, both ways: each is a flow that some p(donor) attains, so
    their mean is, but for noise, no more than the capacity.

    Args:
        codes: `(M, K, T)` integer codes.
        n_codes: Codes are 0 ... n_codes - 1.
        contexts: Number of contexts; K is a multiple of it where positions are samples.
        estimator: As for `weighted_flow`.

    Raises:
        ValueError: Fewer than four contexts to be halved, or as `weighted_flow` does.

    Examples:
        A channel that gets 0 through, and 1 half of the time: log2(5/4) bits.

        >>> z = np.array([[[0], [0]], [[0], [1]]])
        >>> round(float(capacity_flow(z, 2, contexts=2, estimator="none").bits[0]), 6)
        0.321928
    """
    if estimator == "none":
        return _joined([_attained(codes, codes, n_codes, estimator)], [slice(None)], codes.shape[1])
    if contexts < 4:
        raise ValueError(f"capacity is measured on half the contexts: expected 4, got {contexts}")
    each = codes.shape[1] // contexts
    even = np.repeat(np.arange(contexts) % 2 == 0, each)
    halves = [codes[:, even], codes[:, ~even]]
    found = [_attained(halves[1 - h], halves[h], n_codes, estimator) for h in (0, 1)]
    return _joined(found, [even, ~even], codes.shape[1])


def _attained(
    seen: np.ndarray, fresh: np.ndarray, n_codes: int, estimator: Correction
) -> tuple[TableFlow, TableFlow]:
    """Flows on `fresh` under the weights that are best on `seen`: plain, and given the context."""
    both = (best_weights(seen, n_codes, given_context=given) for given in (False, True))
    plain, given = (weighted_flow(fresh, n_codes, w, estimator=estimator) for w in both)
    return plain, given


def _joined(found: list[tuple[TableFlow, TableFlow]], where: list[Any], k: int) -> TableFlow:
    pointwise, pointwise_given = np.zeros((1, k)), np.zeros((1, k))
    for (plain, given), own in zip(found, where, strict=True):
        pointwise[:, own] = plain.pointwise
        pointwise_given[:, own] = given.pointwise_given_context
    return TableFlow(
        np.mean([plain.bits for plain, _ in found], axis=0),
        np.mean([given.given_context for _, given in found], axis=0),
        pointwise,
        pointwise_given,
        float(np.mean([plain.cells_per_sample for plain, _ in found])),
    )


def best_weights(codes: np.ndarray, n_codes: int, *, given_context: bool) -> np.ndarray:
    """`(M,)` p(donor) under which the flow to all columns together is largest.

    Blahut-Arimoto, w_m ∝ w_m exp(s KL(P_m || P̄)), P_m the joint distribution of column and code,
    or of context, column and code; s is 1, and longer as long as the flow rises. It ends when
    max_m KL(P_m || P̄), which capacity cannot exceed, is within 1e-9 bits of the flow, or after
    20,000 steps.

    Source: R. Blahut, Computation of channel capacity and rate-distortion functions, 1972.
    """
    codes, counts = counted(codes, n_codes)
    m, _, t = codes.shape
    gains = _context_gains(codes, n_codes) if given_context else _plain_gains(counts)
    weights, step = np.full(m, 1.0 / m), 1.0
    gain = gains(weights)
    for _ in range(_MOST_STEPS):
        if t * (gain.max() - weights @ gain) < _GAP:
            break
        longer = weights * np.exp2(step * (gain - gain.max()))
        longer /= longer.sum()
        new = gains(longer)
        if step > 1 and longer @ new < weights @ gain:
            step = 1.0
            continue
        weights, gain, step = longer, new, 1.5 * step
    return weights


Gains = Callable[[np.ndarray], np.ndarray]
"""KL(P_m || P̄) in bits `(M,)`, a mean over columns, of weights `(M,)`."""


def _plain_gains(counts: Counts) -> Gains:
    m, t, _ = counts.by_donor.shape
    rows = (counts.by_donor / counts.by_donor[0, 0].sum()).reshape(m, -1)
    own = (rows * _log2(rows)).sum(1)
    return lambda weights: (own - rows @ _log2(weights @ rows)) / t


def _context_gains(codes: np.ndarray, n_codes: int) -> Gains:
    m, k, t = codes.shape
    size = k * t * n_codes
    cells = (codes + n_codes * np.arange(k * t).reshape(k, t)).reshape(m, k * t)
    flat, wide = cells.ravel(), k * t
    return lambda w: -_log2(np.bincount(flat, np.repeat(w, wide), size))[cells].mean(1)


def _context_histograms(codes: np.ndarray, n_codes: int, weights: np.ndarray) -> np.ndarray:
    """`(K, T, C)` Q_k(c) = Σ_m w_m [c_mk = c]."""
    _, k, t = codes.shape
    cells = codes + n_codes * np.arange(k * t).reshape(k, t)
    each = np.repeat(weights, k * t)
    return np.bincount(cells.ravel(), each, k * t * n_codes).reshape(k, t, n_codes)


def _log2(p: np.ndarray) -> np.ndarray:
    """log2, 0 where p is 0."""
    return np.log2(np.where(p > 0, p, 1.0))
