"""Information between all pairs of code columns, as observed."""

from __future__ import annotations

import numpy as np

from infoflow._shapes import Float, Integer, shaped
from infoflow.information.binning import check_codes, code_dtype
from infoflow.information.entropy import entropy_bits


@shaped
def pairwise_information(
    codes: Integer[np.ndarray, "samples units"], n_codes: int, *, correct: bool = True
) -> Float[np.ndarray, "units units"]:
    """Mutual information of every pair of columns, I = H(A) + H(B) - H(A, B), in bits.

    Args:
        codes: `(K, n)` integer codes.
        n_codes: Codes are 0 ... n_codes - 1.
        correct: Miller-Madow on each entropy; False gives the plug-in values.

    Returns:
        `(n, n)`, symmetric; the diagonal holds the entropies.

    Raises:
        ValueError: Codes that are not 0 ... n_codes - 1.

    Examples:
        >>> a = np.arange(400) % 2
        >>> codes = np.stack([a, 1 - a, 0 * a], 1)
        >>> pairwise_information(codes, 2, correct=False).round(9).tolist()
        [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    from infoflow.information._histograms import pairwise_tables

    check_codes(codes, n_codes)
    rows = np.ascontiguousarray(codes.T, dtype=code_dtype(n_codes))
    k = rows.shape[1]
    weights = np.arange(k + 1) * np.log2(np.maximum(np.arange(k + 1), 1))
    single, joint, cells = pairwise_tables(rows, n_codes, weights)
    h = entropy_bits(single)
    values = h[:, None] + h - (np.log2(k) - joint / k)
    if correct:
        seen = np.count_nonzero(single, axis=1)
        values += (seen[:, None] + seen - cells - 1) / (2 * k * np.log(2))
    return values
