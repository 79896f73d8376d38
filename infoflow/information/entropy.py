"""Entropy and mutual information from integer counts. Counts in, bits out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

import numpy as np

from infoflow._shapes import Integer, shaped
from infoflow.measured import Correction, Estimator, check_correction

LN2 = float(np.log(2.0))


def entropy_bits(counts: np.ndarray, axis: int = -1) -> np.ndarray:
    """Plug-in entropy in bits of count vectors along `axis`.

    Args:
        counts: Non-negative counts; each vector must have a positive sum.

    Examples:
        >>> float(entropy_bits(np.array([2, 2, 0])))
        1.0
    """
    total = counts.sum(axis=axis)
    return np.log2(total) - (counts * log2_counts(counts)).sum(axis=axis) / total


def log2_counts(counts: np.ndarray) -> np.ndarray:
    """log2 of integer counts, 0 for a count of 0.

    Examples:
        >>> log2_counts(np.array([0, 1, 8])).tolist()
        [0.0, 0.0, 3.0]
    """
    return _looked_up(lambda n: np.log2(np.maximum(n, 1)), counts)


def _looked_up(function: Callable[[np.ndarray], np.ndarray], counts: np.ndarray) -> np.ndarray:
    """`function(counts)`, computed once for each count there can be where that is less work."""
    most = int(counts.max()) if counts.size else 0
    if most > 4 * counts.size + 1000:
        return function(counts)
    return function(np.arange(most + 1))[counts]


def miller_madow_bits(counts: np.ndarray, axis: int = -1) -> np.ndarray:
    """Plug-in entropy plus (cells seen - 1) / (2 N), in bits (Miller 1955).

    Examples:
        >>> bool(miller_madow_bits(np.array([5, 5])) > 1.0)
        True
    """
    seen = np.count_nonzero(counts, axis=axis)
    return entropy_bits(counts, axis) + (seen - 1) / (2 * counts.sum(axis=axis)) / LN2


def panzeri_treves_bits(
    counts: np.ndarray, axis: int = -1, possible: np.ndarray | int | None = None
) -> np.ndarray:
    """Plug-in entropy plus (R - 1) / (2 N), R an estimate of the cells that can be seen at all.

    R is the number of cells for which the Bayes-expected number of cells seen in N samples comes
    closest to the number that was seen; at most `possible`, by default the length of the vector.

    Source: Panzeri and Treves 1996, Network 7, equations 12 to 17.

    Examples:
        >>> few = np.array([3, 2, 1, 1, 0, 0, 0, 0])
        >>> bool(panzeri_treves_bits(few) > miller_madow_bits(few))
        True
    """
    from infoflow.information._histograms import likely_cells

    counts = np.moveaxis(np.asarray(counts), axis, -1)
    total = counts.sum(-1)
    most = np.broadcast_to(counts.shape[-1] if possible is None else possible, total.shape)
    flat = np.ascontiguousarray(counts.reshape(-1, counts.shape[-1]), dtype=np.int64)
    cells = likely_cells(flat, most.ravel().astype(np.int64)).reshape(total.shape)
    return entropy_bits(counts) + (cells - 1) / (2 * total) / LN2


def grassberger_bits(counts: np.ndarray, axis: int = -1) -> np.ndarray:
    """H = log N - Σ n G(n) / N with G(n) = ψ(n) + (-1)^n (ψ((n+1)/2) - ψ(n/2)) / 2, in bits.

    Source: Grassberger 2003, arXiv:physics/0307138, equations 27 to 30.

    Examples:
        >>> float(grassberger_bits(np.array([7, 0]))) < 0.3  # not zero: others may be unseen
        True
    """
    total = counts.sum(axis=axis)
    terms = _looked_up(_n_times_g, counts)
    return (np.log(total) - terms.sum(axis=axis) / total) / LN2


def _n_times_g(n: np.ndarray) -> np.ndarray:
    from scipy.special import digamma

    m = np.maximum(n, 1).astype(np.float64)
    sign = np.where(n % 2, -1.0, 1.0)
    g = digamma(m) + sign * (digamma((m + 1) / 2) - digamma(m / 2)) / 2
    return np.where(n > 0, m * g, 0.0)


def chao_shen_bits(counts: np.ndarray, axis: int = -1) -> np.ndarray:
    """Entropy of the coverage-adjusted shares, each weighed by its chance to be seen, in bits.

    With C = 1 - (cells seen once) / N and p = C n / N: H = -Σ p log p / (1 - (1 - p)^N).

    Source: Chao and Shen 2003, Environmental and Ecological Statistics 10.

    Examples:
        >>> bool(chao_shen_bits(np.array([3, 1, 1])) > entropy_bits(np.array([3, 1, 1])))
        True
    """
    total = counts.sum(axis=axis, keepdims=True)
    once = (counts == 1).sum(axis=axis, keepdims=True)
    once = np.where(once == total, total - 1, once)  # all seen once: no coverage, no estimate
    p = (1 - once / total) * counts / total
    safe = np.where(p > 0, p, 1.0)
    terms = np.where(p > 0, safe * np.log2(safe) / (1 - (1 - safe) ** total), 0.0)
    return -terms.sum(axis=axis) + 0.0


ENTROPIES: dict[str, Callable[..., np.ndarray]] = {
    "none": entropy_bits,
    "miller_madow": miller_madow_bits,
    "panzeri_treves": panzeri_treves_bits,
    "grassberger": grassberger_bits,
    "chao_shen": chao_shen_bits,
}


_Value = TypeVar("_Value", float, np.ndarray)

# Joint cells seen, over samples, up to which the first-order correction needs no help.
FEW_CELLS = 0.05


@shaped
def joint_counts(
    a: Integer[np.ndarray, " samples"], b: Integer[np.ndarray, " samples"]
) -> Integer[np.ndarray, "a b"]:
    """Contingency table of two code vectors `(N,)`.

    Examples:
        >>> joint_counts(np.array([0, 0, 1]), np.array([1, 1, 0])).tolist()
        [[0, 2], [1, 0]]
    """
    width = int(b.max()) + 1
    size = (int(a.max()) + 1) * width
    return np.bincount(a.astype(np.int64) * width + b, minlength=size).reshape(-1, width)


@shaped
def information_bits(
    table: Integer[np.ndarray, "a b"], correction: Correction = "auto", seed: int = 0
) -> float:
    """Mutual information of a contingency table in bits, I = H(A) + H(B) - H(A, B).

    Args:
        table: `(a, b)` counts.
        correction: Estimator of the three entropies; "auto": Miller-Madow up to 0.05 joint cells
            seen per sample, Panzeri-Treves above; "quadratic": extrapolation in 1/N; "none":
            plug-in.
        seed: Seed of the subsamples of the extrapolation.

    Raises:
        ValueError: Unknown correction.

    Examples:
        >>> information_bits(np.eye(2, dtype=int), "none")
        1.0
    """
    check_correction(correction)
    if correction == "quadratic":
        return _extrapolated(table, seed)
    return float(information_of_each(table[None], correction)[0])


def information_of_each(
    tables: np.ndarray, correction: Literal["auto"] | Estimator = "auto"
) -> np.ndarray:
    """`information_bits` of many tables `(T, a, b)` of equal totals at once, `(T,)` bits."""
    if not len(tables):
        return np.zeros(0)
    rows, columns = tables.sum(2), tables.sum(1)
    cells = tables.reshape(len(tables), -1)
    if correction == "auto":
        few = np.count_nonzero(cells, axis=1) <= FEW_CELLS * cells.sum(1)
        found = np.empty(len(tables))
        found[few] = information_of_each(tables[few], "miller_madow")
        found[~few] = information_of_each(tables[~few], "panzeri_treves")
        return found
    if correction == "panzeri_treves":
        # Empty rows and columns are no possible cells: their margins are seen in full.
        possible = np.count_nonzero(rows, axis=1) * np.count_nonzero(columns, axis=1)
        joint = panzeri_treves_bits(cells, possible=possible)
        return miller_madow_bits(rows) + miller_madow_bits(columns) - joint
    measure = ENTROPIES[correction]
    return measure(rows) + measure(columns) - measure(cells)


def quadratic_limit(whole: _Value, half: _Value, quarter: _Value) -> _Value:
    """The limit at infinite N of f(N) = f + a / N + b / N², given f at N, N / 2 and N / 4.

    Source: Strong, Koberle, de Ruyter van Steveninck and Bialek 1998.

    Examples:
        >>> f = lambda n: 2.0 + 3 / n + 5 / n**2
        >>> round(quadratic_limit(f(8), f(4), f(2)), 12)
        2.0
    """
    return (8 * whole - 6 * half + quarter) / 3


def _extrapolated(table: np.ndarray, seed: int) -> float:
    """Quadratic extrapolation from the whole sample, its halves and its quarters."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.repeat(np.arange(table.size), table.ravel()))

    def mean_over(parts: int) -> float:
        tables = (np.bincount(p, minlength=table.size) for p in np.array_split(order, parts))
        return float(
            np.mean([information_bits(t.reshape(table.shape), "none") for t in tables if t.sum()])
        )

    return quadratic_limit(mean_over(1), mean_over(2), mean_over(4))


def conditional_information_bits(
    a: np.ndarray, b: np.ndarray, given: np.ndarray, correction: Correction = "none"
) -> float:
    """I(A; B | X) = Σ_x p(x) I(A; B | X = x) of code vectors `(N,)`, in bits.

    Examples:
        >>> x = np.array([0, 0, 1, 1])
        >>> conditional_information_bits(x, x, x)  # nothing is left to share
        0.0
    """
    total = 0.0
    for value in np.unique(given):
        own = given == value
        share = information_bits(joint_counts(a[own], b[own]), correction)
        total += float(own.mean()) * share
    return total
