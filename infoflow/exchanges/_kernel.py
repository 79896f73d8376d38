"""Compiled loops over observed activations (numba, cached on disk). Import late: numba is slow."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def count_rows(values, inside, edges, zero, start, first, row, columns, mixture, sums, changed):
    """Code `values[:, inside]` and count the codes, rows in order of donors with K contexts each.

    Args:
        values: `(rows, width)` activations of a layer; inside: `(T,)` columns to look at.
        edges: `(n_codes - 1, T)`, unused ones +inf; zero: `(T,)` what is that near to 0 has
            code 0; -1 where there is no such bin.
        start: Number of the first row.
        first: `(K, T)` codes under the first donor; changed: `(T,)` whether a code ever differed.
        row: `(T n_codes,)` counts of the donor at hand; columns: `(K, T n_codes)` of all donors.
        mixture: `(2, T n_codes)` sum over donors of their counts, and of their squares.
        sums: `(2, T)` sum over donors of Σ c log c, and of the cells seen.

    Returns:
        Whether a value was not a number.
    """
    k, t = first.shape
    n_codes = edges.shape[0] + 1
    code = np.empty(t, np.int32)
    value = np.empty(t, values.dtype)
    bad = False
    for r in range(values.shape[0]):
        b = (start + r) % k
        for j in range(t):
            v = values[r, inside[j]]
            value[j] = v
            code[j] = np.int32(zero[j] >= 0)
        for j in range(t):
            bad |= value[j] != value[j]
        for e in range(edges.shape[0]):
            for j in range(t):
                code[j] += np.int32(value[j] > edges[e, j])
        for j in range(t):
            code[j] = 0 if abs(value[j]) <= zero[j] else code[j]
        if start + r < k:
            for j in range(t):
                first[b, j] = code[j]
        else:
            for j in range(t):
                changed[j] |= code[j] != first[b, j]
        column = columns[b]
        for j in range(t):
            cell = j * n_codes + code[j]
            row[cell] += 1
            column[cell] += 1
        if b == k - 1:
            _close_donor(row, mixture, sums, n_codes)
    return bad


@njit(cache=True)
def _close_donor(row, mixture, sums, n_codes):
    for cell in range(row.shape[0]):
        count = row[cell]
        if count:
            j = cell // n_codes
            sums[0, j] += count * np.log(count)
            sums[1, j] += 1
            mixture[0, cell] += count
            mixture[1, cell] += np.int64(count) * count
            row[cell] = 0


@njit(cache=True)
def _column_sums(columns, t):
    """Over contexts, of the counts over donors: Σ c², `(2, T)` Σ c log c and the cells seen."""
    k, cells = columns.shape
    n_codes = cells // t
    squares = np.zeros(cells, np.int64)
    sums = np.zeros((2, t))
    for b in range(k):
        for cell in range(cells):
            count = columns[b, cell]
            if count:
                squares[cell] += np.int64(count) * count
                sums[0, cell // n_codes] += count * np.log(count)
                sums[1, cell // n_codes] += 1
    return squares, sums


@njit(cache=True)
def bits_of_counts(columns, mixture, sums, changed, m):
    """`(T,)` bits and `(T,)` bits given the context from what `count_rows` counted, corrected.

    The numbers of `information.donors.table_flow` with Miller-Madow, without pointwise terms.
    """
    k = columns.shape[0]
    t = changed.shape[0]
    n_codes = columns.shape[1] // t
    squares, below = _column_sums(columns, t)
    bits = np.zeros(t)
    given = np.zeros(t)
    for j in range(t):
        if not changed[j]:
            continue
        entropy = 0.0
        bias = 0.0
        for cell in range(j * n_codes, (j + 1) * n_codes):
            if mixture[0, cell] == 0:
                continue
            p = mixture[0, cell] / (m * k)
            entropy -= p * np.log(p)
            ss_donor = mixture[1, cell] / k - m * k * p * p
            ss_context = squares[cell] / m - m * k * p * p
            ss_inter = m * k * p * (1 - p) - ss_donor - ss_context
            ms_inter = ss_inter / ((m - 1) * (k - 1))
            variance = (ss_donor / (m - 1) + ss_context / (k - 1) - ms_inter) / (m * k)
            bias += variance / (2 * p)
        of_rows = np.log(k) - sums[0, j] / (m * k) + (sums[1, j] / m - 1) / (2 * (k - 1))
        of_columns = np.log(m) - below[0, j] / (m * k) + (below[1, j] / k - 1) / (2 * (m - 1))
        bits[j] = (entropy + bias - of_rows) / np.log(2)
        given[j] = of_columns / np.log(2)
    return bits, given
