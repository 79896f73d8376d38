"""Flow from a table of codes: M donors down the rows, K shared contexts across the columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from infoflow._shapes import Float, Integer, shaped
from infoflow.information.binning import check_codes, code_dtype
from infoflow.information.entropy import (
    ENTROPIES,
    FEW_CELLS,
    LN2,
    entropy_bits,
    log2_counts,
    panzeri_treves_bits,
    quadratic_limit,
)
from infoflow.measured import Correction, Estimator, check_correction

_MOST_CELLS = 200_000_000
_QUANTITIES = ("bits", "given_context")
Entropy = Literal["auto"] | Estimator
"""Corrections that can be counted while an intervention runs."""


@dataclass(frozen=True, eq=False)
class TableFlow:
    """Information of a donors × contexts table, one entry per code column.

    Attributes:
        bits: `(T,)` I(do(S); C): what the code tells about the donor, context unknown.
        given_context: `(T,)` E_x H(C | context x): the same with the context known.
        pointwise, pointwise_given_context: `(M, K)` contributions summed over the columns; their
            means are the plug-in values and their scatter gives the standard errors. `(1, K)`
            where the donors are no sample but all that the source can be.
        cells_per_sample: Mean number of distinct codes a donor produced, over K.
    """

    bits: np.ndarray
    given_context: np.ndarray
    pointwise: np.ndarray
    pointwise_given_context: np.ndarray
    cells_per_sample: float


@shaped
def table_flow(
    codes: Integer[np.ndarray, "donors contexts targets"],
    n_codes: int,
    *,
    estimator: Correction = "auto",
    observed: np.ndarray | None = None,
) -> TableFlow:
    """Interventional information from codes seen under every donor and context.

    With P_m the histogram over contexts of the code under donor m, and P̄ their mean,

        plug-in  I = H(P̄) - mean_m H(P_m)
        corrected  I - mean_m (R_m - 1) / 2K + Σ_c V(P̄(c)) / 2 P̄(c)   (nats),

    R_m being the codes possible under donor m (see `estimator`), V the estimated sampling
    variance. For P̄ the contexts are shared by all donors, so it is that of a two-way layout: with
    mean squares over donors, contexts and their interaction,
    V(P̄) = (MS_donor + MS_context - MS_inter) / MK.
    Where do(S) changes no code, 0 is exactly 0.

    Args:
        codes: `(M, K, T)` integer codes; column t is summed over in `pointwise`.
        n_codes: Codes are 0 ... n_codes - 1.
        estimator: Of the entropy of a row, H(P_m), and of H(code | context x). "none" gives the
            plug-in values. "auto" is
            Miller-Madow (codes seen) up to 0.05 codes seen per sample, else Panzeri-Treves (codes
            possible): over a calibration on trained networks their mean bias at 200 x 100 was
            .006 and .003 bits. "quadratic" extrapolates from halves and quarters of donors and
            contexts. The mixture P̄ keeps its correction for shared contexts under all others.
        observed: `(T, n_codes)` p(c) of the normal run: the marginal instead of P̄, so that `bits`
            is mean_m KL(P_m || p), inf where do(S) gives a code that p has not got. It is taken to
            be known, and only the rows are corrected. Not with "quadratic".

    Returns:
        A `TableFlow`, in bits.

    Raises:
        ValueError: Fewer than two donors or contexts, unknown estimator, codes that are not
            0 ... n_codes - 1 or too many to count.

    Examples:
        >>> xor = np.array([[[0], [1]], [[1], [0]]])
        >>> flow = table_flow(xor, 2, estimator="none")
        >>> float(flow.bits[0]), float(flow.given_context[0])
        (0.0, 1.0)
    """
    check_correction(estimator)
    codes, counts = counted(codes, n_codes)
    if estimator == "quadratic":
        if observed is not None:
            raise ValueError("correction='quadratic' is not derived for the observed marginal")
        bits, given_context = _extrapolated(codes, n_codes)
        bits[~counts.changed], given_context[~counts.changed] = 0.0, 0.0
    else:
        bits, given_context = counts.bits(estimator, observed)
    pointwise, pointwise_context = _pointwise(codes, counts, observed)
    cells = float(np.count_nonzero(counts.by_donor, axis=-1).mean() / codes.shape[1])
    return TableFlow(bits, given_context, pointwise, pointwise_context, cells)


@dataclass(eq=False)
class Counts:
    """How often each code was seen: all that a flow rests on but its standard error.

    Attributes:
        by_donor: `(M, T, C)` counts over contexts.
        by_context: `(K, T, C)` counts over donors.
        changed: `(T,)` bool; a code differed from donor to donor.
        rows: Runs counted so far, donor by donor with K contexts each.
    """

    by_donor: np.ndarray
    by_context: np.ndarray
    changed: np.ndarray
    rows: int = 0

    @classmethod
    def empty(cls, m: int, k: int, columns: int, n_codes: int) -> Counts:
        """No counts yet of M donors, K contexts and so many columns of codes."""
        small = np.uint16 if max(m, k) < 2**16 else np.uint32  # stays in the processor's cache
        by_donor, by_context = (np.zeros((size, columns, n_codes), small) for size in (m, k))
        return cls(by_donor, by_context, np.zeros(columns, dtype=bool))

    def add(self, codes: np.ndarray) -> None:
        """Count the codes `(rows, T)` of the next runs."""
        from infoflow.information._histograms import count_codes

        count_codes(codes, self.rows, self.by_donor, self.by_context, self.changed)
        self.rows += len(codes)

    def bits(
        self, estimator: Entropy, observed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """`(T,)` plain flow and `(T,)` flow given the context, the first-order bias removed.

        Exactly 0 where do(S) changed no code. `observed` as for `table_flow`.
        """
        m, k = len(self.by_donor), len(self.by_context)
        mixture = self.by_donor.sum(0)
        rows, columns = _Histograms.of(self.by_donor, k), _Histograms.of(self.by_context, m)
        # codes that no donor showed are missed by both entropies, so that none may be made up for
        # in one of them: on 20 x 20 runs of a donor that hardly matters, -.06 ± .015 bits
        bits = entropy_bits(mixture) - rows.mean_entropy(estimator, np.count_nonzero(mixture, 1))
        if observed is not None:
            p = mixture / (m * k)
            bits += cross_entropy(p, log2_observed(observed)) - entropy_bits(mixture)
        elif estimator != "none":
            bits += _mixture_bias(mixture / (m * k), rows.squares / k, columns.squares / m, m, k)
        given_context = columns.mean_entropy(estimator)
        bits[~self.changed], given_context[~self.changed] = 0.0, 0.0
        return bits, given_context


def cross_entropy(p: np.ndarray, log2_marginal: np.ndarray) -> np.ndarray:
    """-Σ_c p(c) log2_marginal(c) along the last axis; inf where p has what the marginal has not."""
    return -np.where(p > 0, p * np.where(p > 0, log2_marginal, 0.0), 0.0).sum(-1)


def log2_observed(observed: np.ndarray) -> np.ndarray:
    """log2, -inf for 0."""
    return np.log2(observed, where=observed > 0, out=np.full(observed.shape, -np.inf))


def counted(codes: np.ndarray, n_codes: int) -> tuple[np.ndarray, Counts]:
    """Codes `(M, K, T)` in their smallest type, and their counts.

    Raises:
        ValueError: Fewer than two donors or contexts, codes out of range or too many to count.
    """
    m, k, t = codes.shape
    if m < 2 or k < 2:
        raise ValueError(f"expected at least 2 donors and 2 contexts, got {m} donors, {k} contexts")
    codes = _checked(codes, n_codes)
    counts = Counts.empty(m, k, t, n_codes)
    counts.add(codes.reshape(m * k, t))
    return codes, counts


def _checked(codes: np.ndarray, n_codes: int) -> np.ndarray:
    check_codes(codes, n_codes)
    m, k, t = codes.shape
    if max(m, k) * t * n_codes > _MOST_CELLS:
        raise ValueError(
            f"{n_codes} different codes for {m} donors and {k} contexts are too many to count; "
            "use fewer bins, bins='unique' is for networks of which every case can be listed"
        )
    return np.ascontiguousarray(codes, dtype=code_dtype(n_codes))


@dataclass(frozen=True, eq=False)
class _Histograms:
    """Histograms `(A, T, C)` of n codes each, and sums over A: `(T, C)` squares of the counts,
    `(T,)` mean plug-in entropy and mean number of codes seen."""

    counts: np.ndarray
    n: int
    squares: np.ndarray
    entropy: np.ndarray
    seen: np.ndarray

    @classmethod
    def of(cls, counts: np.ndarray, n: int) -> _Histograms:
        from infoflow.information._histograms import summed_up

        weights = np.arange(n + 1) * np.log2(np.maximum(np.arange(n + 1), 1))
        return cls(counts, n, *summed_up(counts, weights, n))

    def mean_entropy(self, estimator: Entropy, possible: np.ndarray | None = None) -> np.ndarray:
        """Mean over A of the corrected entropies, `(T,)` bits; of `possible` `(T,)` codes each."""
        if estimator == "none":
            return self.entropy
        if estimator == "panzeri_treves":
            return panzeri_treves_bits(self.counts, possible=possible).mean(0)
        if estimator not in ("auto", "miller_madow"):
            return ENTROPIES[estimator](self.counts).mean(0)
        # with N - 1, as P(1-P) in the formula is an estimate, too
        found = self.entropy + (self.seen - 1) / (2 * (self.n - 1)) / LN2
        many = self.seen > FEW_CELLS * self.n
        if estimator == "auto" and many.any():
            most = None if possible is None else possible[many]
            found[many] = panzeri_treves_bits(self.counts[:, many], possible=most).mean(0)
        return found


def row_entropy(by_donor: np.ndarray, k: int, estimator: Entropy) -> np.ndarray:
    """`(M, T)` H(P_m) of counts `(M, T, C)` over K contexts, as in `table_flow`."""
    possible = np.count_nonzero(by_donor.sum(0), axis=-1)
    if estimator == "panzeri_treves":
        return panzeri_treves_bits(by_donor, possible=possible)
    if estimator not in ("none", "auto", "miller_madow"):
        return ENTROPIES[estimator](by_donor)
    found = entropy_bits(by_donor)
    if estimator == "none":
        return found
    seen = np.count_nonzero(by_donor, axis=-1)
    found += (seen - 1) / (2 * (k - 1)) / LN2
    many = seen.mean(0) > FEW_CELLS * k
    if estimator == "auto" and many.any():
        found[:, many] = panzeri_treves_bits(by_donor[:, many], possible=possible[many])
    return found


def _mixture_bias(
    p: np.ndarray, donors: np.ndarray, contexts: np.ndarray, m: int, k: int
) -> np.ndarray:
    """By how much the plug-in entropy of the mixture p is too small, `(T,)`: Σ_c V(P̄) / 2 P̄.

    `donors` and `contexts`: uncentred sums of squares `(T, C)` of the two-way layout.
    """
    ss_donor, ss_context = donors - m * k * p**2, contexts - m * k * p**2
    ss_total = m * k * p * (1 - p)
    ms_donor, ms_context = ss_donor / (m - 1), ss_context / (k - 1)
    ms_inter = (ss_total - ss_donor - ss_context) / ((m - 1) * (k - 1))
    variance = (ms_donor + ms_context - ms_inter) / (m * k)
    return np.where(p > 0, variance / (2 * np.where(p > 0, p, 1.0)), 0.0).sum(-1) / LN2


def _extrapolated(codes: np.ndarray, n_codes: int) -> tuple[np.ndarray, np.ndarray]:
    """Quadratic extrapolation of the plug-in values; donors and contexts come in random order."""
    m, k, _ = codes.shape
    if m < 8 or k < 8:
        raise ValueError(f"extrapolation needs 8 donors and 8 contexts, got {m} and {k}")
    values = []
    for parts in (1, 2, 4):
        blocks = [
            table_flow(block, n_codes, estimator="none")
            for rows in np.array_split(codes, parts, axis=0)
            for block in np.array_split(rows, parts, axis=1)
        ]
        values.append([np.mean([getattr(f, what) for f in blocks], axis=0) for what in _QUANTITIES])
    whole, half, quarter = np.array(values)  # (2, T) each
    plain, given = quadratic_limit(whole, half, quarter)
    return plain, given


def _pointwise(
    codes: np.ndarray, counts: Counts, observed: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    m, k, _ = codes.shape
    log_mixture = log2_counts(counts.by_donor.sum(0)) - np.log2(m * k)
    if observed is not None:
        log_mixture = log2_observed(observed)
    donor_terms = log2_counts(counts.by_donor) - np.log2(k) - log_mixture
    return summed_terms(codes, counts, donor_terms, np.log2(m) - log2_counts(counts.by_context))


def summed_terms(
    codes: np.ndarray, counts: Counts, donor_terms: np.ndarray, context_terms: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`(M, K)` sums over columns of the terms `(M, T, C)` and `(K, T, C)` of each run's codes."""
    from infoflow.information._histograms import pointwise_sums

    still = ~counts.changed
    donor_terms[:, still], context_terms[:, still] = 0.0, 0.0  # no rounding in a true zero
    return pointwise_sums(codes, donor_terms, context_terms)


@shaped
def two_way_se(pointwise: Float[np.ndarray, "donors contexts"]) -> float:
    """Standard error of the mean of `(M, K)` values whose rows and columns are both samples.

    The variance of a mean over crossed random rows and columns, (MS_row + MS_column - MS_inter) /
    MK, never below zero. With one row only the columns are samples. nan for an infinite mean.

    Examples:
        >>> two_way_se(np.ones((3, 4)))
        0.0
    """
    m, k = pointwise.shape
    if not np.isfinite(pointwise).all():
        return float("nan")
    if m == 1:
        return float(pointwise[0].std(ddof=1) / np.sqrt(k))
    mean = pointwise.mean()
    ss_row = k * ((pointwise.mean(1) - mean) ** 2).sum()
    ss_column = m * ((pointwise.mean(0) - mean) ** 2).sum()
    ss_inter = max(((pointwise - mean) ** 2).sum() - ss_row - ss_column, 0.0)
    ms_inter = ss_inter / ((m - 1) * (k - 1))
    variance = (ss_row / (m - 1) + ss_column / (k - 1) - ms_inter) / (m * k)
    return float(np.sqrt(max(variance, 0.0)))


def by_context(pointwise: np.ndarray, contexts: int) -> np.ndarray:
    """`(M, contexts)` of `(M, K)`: positions of one context, if each is a sample, averaged into
    it, since they are not independent."""
    return pointwise.reshape(len(pointwise), contexts, -1).mean(2)
