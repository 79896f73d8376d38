"""Flow from a table of codes: M donors down the rows, K shared contexts across the columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from infoflow.information.entropy import LN2, entropy_bits


@dataclass(frozen=True, eq=False)
class TableFlow:
    """Information of a donors × contexts table, one entry per code column.

    Attributes:
        bits: `(T,)` I(do(S); C): what the code tells about the donor, context unknown.
        given_context: `(T,)` E_x H(C | context x): the same with the context known.
        pointwise, pointwise_given_context: `(M, K)` contributions summed over the columns; their
            means are the plug-in values and their scatter gives the standard errors.
        cells_per_sample: Mean number of distinct codes a donor produced, over K.
    """

    bits: np.ndarray
    given_context: np.ndarray
    pointwise: np.ndarray
    pointwise_given_context: np.ndarray
    cells_per_sample: float


def table_flow(codes: np.ndarray, n_codes: int, *, correct: bool = True) -> TableFlow:
    """Interventional information from codes seen under every donor and context.

    With P_m the histogram over contexts of the code under donor m, and P̄ their mean,

        plug-in  I = H(P̄) - mean_m H(P_m)
        corrected  I - mean_m Σ_c V(P_m(c)) / 2 P_m(c) + Σ_c V(P̄(c)) / 2 P̄(c)   (nats),

    V being the estimated sampling variance. For a row of K contexts it is P(1-P)/(K-1). For P̄
    the contexts are shared by all donors, so it is that of a two-way layout: with mean squares
    over donors, contexts and their interaction, V(P̄) = (MS_donor + MS_context - MS_inter) / MK.
    Where do(S) changes nothing the two terms cancel: 0 is exactly 0.

    Args:
        codes: `(M, K, T)` integer codes; column t is summed over in `pointwise`.
        n_codes: Codes are 0 ... n_codes - 1.
        correct: False gives the plug-in values.

    Returns:
        A `TableFlow`, in bits.

    Raises:
        ValueError: Fewer than two donors or contexts, or codes that are not 0 ... n_codes - 1.

    Examples:
        >>> xor = np.array([[[0], [1]], [[1], [0]]])
        >>> flow = table_flow(xor, 2, correct=False)
        >>> float(flow.bits[0]), float(flow.given_context[0])
        (0.0, 1.0)
    """
    m, k, t = codes.shape
    if m < 2 or k < 2:
        raise ValueError(f"expected at least 2 donors and 2 contexts, got {m} donors, {k} contexts")
    _check_codes(codes, n_codes)
    column = np.arange(t) * n_codes
    by_donor = _histograms(codes + column, t, n_codes)  # (M, T, C)
    by_context = _histograms(codes.transpose(1, 0, 2) + column, t, n_codes)  # (K, T, C)
    mixture = by_donor.sum(0)  # (T, C)
    bits = entropy_bits(mixture) - entropy_bits(by_donor).mean(0)
    given_context = entropy_bits(by_context).mean(0)
    if correct:
        bits = bits + _shared_context_correction(by_donor, by_context)
        seen = (by_context > 0).sum(-1)
        given_context = given_context + ((seen - 1) / (2 * (m - 1))).mean(0) / LN2
    unchanged = (codes == codes[:1]).all(axis=(0, 1))
    bits[unchanged] = 0.0
    given_context[unchanged] = 0.0
    pointwise, pointwise_context = _pointwise(codes, by_donor, by_context, mixture)
    cells = float((by_donor > 0).sum(-1).mean() / k)
    return TableFlow(bits, given_context, pointwise, pointwise_context, cells)


def _check_codes(codes: np.ndarray, n_codes: int) -> None:
    if not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(f"expected integer codes, got {codes.dtype}; bin the activations first")
    if codes.min() < 0 or codes.max() >= n_codes:
        raise ValueError(f"expected codes 0 ... {n_codes - 1}, got {codes.min()} ... {codes.max()}")


def _histograms(offset_codes: np.ndarray, t: int, n_codes: int) -> np.ndarray:
    """`(A, T, C)` counts of codes `(A, B, T)` already offset by column."""
    a = offset_codes.shape[0]
    width = t * n_codes
    flat = offset_codes.reshape(a, -1) + (np.arange(a) * width)[:, None]
    return np.bincount(flat.ravel(), minlength=a * width).reshape(a, t, n_codes)


def _shared_context_correction(by_donor: np.ndarray, by_context: np.ndarray) -> np.ndarray:
    m, k = len(by_donor), len(by_context)
    p_donor, p_context = by_donor / k, by_context / m
    p = p_donor.mean(0)
    seen = (by_donor > 0).sum(-1)
    within = ((seen - 1) / (2 * (k - 1))).mean(0)
    ss_donor = k * ((p_donor - p) ** 2).sum(0)
    ss_context = m * ((p_context - p) ** 2).sum(0)
    ss_total = m * k * p * (1 - p)
    ms_donor, ms_context = ss_donor / (m - 1), ss_context / (k - 1)
    ms_inter = (ss_total - ss_donor - ss_context) / ((m - 1) * (k - 1))
    variance = (ms_donor + ms_context - ms_inter) / (m * k)
    between = np.where(p > 0, variance / (2 * np.where(p > 0, p, 1.0)), 0.0).sum(-1)
    return (between - within) / LN2


def _pointwise(
    codes: np.ndarray, by_donor: np.ndarray, by_context: np.ndarray, mixture: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    m, k, t = codes.shape
    with np.errstate(divide="ignore"):  # cells never seen are never looked up
        log_donor = np.log2(by_donor / k)
        log_context = np.log2(by_context / m)
        log_mixture = np.log2(mixture / (m * k))
    columns = np.arange(t)
    rows = np.arange(m)[:, None, None]
    picked = log_donor[rows, columns, codes] - log_mixture[columns, codes]
    contexts = np.arange(k)[None, :, None]
    return picked.sum(-1), -log_context[contexts, columns, codes].sum(-1)


def two_way_se(pointwise: np.ndarray) -> float:
    """Standard error of the mean of `(M, K)` values whose rows and columns are both samples.

    The variance of a mean over crossed random rows and columns, (MS_row + MS_column - MS_inter) /
    MK, never below zero.

    Examples:
        >>> two_way_se(np.ones((3, 4)))
        0.0
    """
    m, k = pointwise.shape
    mean = pointwise.mean()
    ss_row = k * ((pointwise.mean(1) - mean) ** 2).sum()
    ss_column = m * ((pointwise.mean(0) - mean) ** 2).sum()
    ss_inter = max(((pointwise - mean) ** 2).sum() - ss_row - ss_column, 0.0)
    ms_inter = ss_inter / ((m - 1) * (k - 1))
    variance = (ss_row / (m - 1) + ss_column / (k - 1) - ms_inter) / (m * k)
    return float(np.sqrt(max(variance, 0.0)))
