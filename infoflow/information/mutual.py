"""Mutual information from integer counts. Counts in, bits out."""

from __future__ import annotations

from typing import Literal, TypeVar

import numpy as np

from infoflow._shapes import Integer, shaped
from infoflow.information.entropy import (
    ENTROPIES,
    miller_madow_bits,
    panzeri_treves_bits,
)
from infoflow.measured import Correction, Estimator, check_correction

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
