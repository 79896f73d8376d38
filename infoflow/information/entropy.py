"""Entropy and information from integer counts. Counts in, bits out."""

from __future__ import annotations

import numpy as np

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
    """log2 of integer counts, 0 for a count of 0; looked up, as few counts are different.

    Examples:
        >>> log2_counts(np.array([0, 1, 8])).tolist()
        [0.0, 0.0, 3.0]
    """
    most = int(counts.max()) if counts.size else 0
    if most > 4 * counts.size + 1000:
        return np.log2(np.maximum(counts, 1))
    return np.log2(np.maximum(np.arange(most + 1), 1))[counts]


def miller_madow_bits(counts: np.ndarray, axis: int = -1) -> np.ndarray:
    """Plug-in entropy plus (cells seen - 1) / (2 N), in bits (Miller 1955).

    Examples:
        >>> bool(miller_madow_bits(np.array([5, 5])) > 1.0)
        True
    """
    seen = (counts > 0).sum(axis=axis)
    return entropy_bits(counts, axis) + (seen - 1) / (2 * counts.sum(axis=axis)) / LN2


def joint_counts(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Contingency table of two code vectors `(N,)`.

    Examples:
        >>> joint_counts(np.array([0, 0, 1]), np.array([1, 1, 0])).tolist()
        [[0, 2], [1, 0]]
    """
    width = int(b.max()) + 1
    size = (int(a.max()) + 1) * width
    return np.bincount(a.astype(np.int64) * width + b, minlength=size).reshape(-1, width)


def information_bits(table: np.ndarray, *, correct: bool = True) -> float:
    """Mutual information of a contingency table in bits, I = H(A) + H(B) - H(A, B).

    Args:
        table: `(a, b)` counts.
        correct: Miller-Madow on each entropy; False gives the plug-in value.

    Examples:
        >>> information_bits(np.eye(2, dtype=int), correct=False)
        1.0
    """
    measure = miller_madow_bits if correct else entropy_bits
    rows, columns, cells = table.sum(1), table.sum(0), table.ravel()
    return float(measure(rows) + measure(columns) - measure(cells))
