"""Kept sums: what every search over partitions shares.

B is a modularity matrix with its diagonal set to zero; sums[c, i] is kept equal to the sum of
B[i, j] over the units j of cluster c, so that moving unit i from a to c changes Q by exactly
2 (sums[c, i] - sums[a, i]). A move costs O(n), looking at one costs O(1).
"""

from __future__ import annotations

import numpy as np

from infoflow._compiled import compiled


@compiled
def shift(
    B: np.ndarray, sums: np.ndarray, labels: np.ndarray, sizes: np.ndarray, unit: int, new: int
):
    """Move one unit to cluster `new`, keeping sums and sizes true."""
    old = labels[unit]
    row = B[unit]
    leaving = sums[old]
    for j in range(row.shape[0]):  # one row at a time: these loops compile to vector code
        leaving[j] -= row[j]
    entering = sums[new]
    for j in range(row.shape[0]):
        entering[j] += row[j]
    labels[unit] = new
    sizes[old] -= 1
    sizes[new] += 1


@compiled
def close_gap(sums: np.ndarray, labels: np.ndarray, sizes: np.ndarray, empty: int, k: int) -> int:
    """Give the last of k clusters the number of an empty one; returns k - 1."""
    last = k - 1
    for j in range(labels.shape[0]):
        if empty != last:
            sums[empty, j] = sums[last, j]
            if labels[j] == last:
                labels[j] = empty
        sums[last, j] = 0.0
    if empty != last:
        sizes[empty] = sizes[last]
    sizes[last] = 0
    return last
