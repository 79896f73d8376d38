"""Compiled loops over codes (numba, cached on disk). Import late: numba is slow to load."""

from __future__ import annotations

import numpy as np

from infoflow._compiled import compiled


@compiled
def encode_units(
    values: np.ndarray,
    inside: np.ndarray,
    edges: np.ndarray,
    zero: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    places: np.ndarray,
    out: np.ndarray,
    outside: np.ndarray,
):
    """Write the code of values[r, inside[j]] to out[r, places[j]] and count values outside
    [low, high].

    `edges` is `(bins - 1, n)`, unused ones +inf, of the same type as `values`; what is as near to
    0 as `zero` `(n,)` has code 0 (-1: there is no such bin). Returns whether a
    value was not a number. The inner loops run over units, one thing each, so that they compile to
    vector code: all in one took 2.6 times as long.
    """
    n = inside.shape[0]
    code = np.empty(n, np.int32)
    value = np.empty(n, values.dtype)
    bad = False
    for r in range(values.shape[0]):
        for j in range(n):
            v = values[r, inside[j]]
            value[j] = v
            code[j] = np.int32(zero[j] >= 0)
        for j in range(n):
            bad |= value[j] != value[j]
        for e in range(edges.shape[0]):
            for j in range(n):
                code[j] += np.int32(value[j] > edges[e, j])
        for j in range(n):
            code[j] = 0 if abs(value[j]) <= zero[j] else code[j]
        for j in range(n):
            out[r, places[j]] = code[j]
        for j in range(n):
            outside[j] += np.int32(value[j] < low[j]) + np.int32(value[j] > high[j])
    return bad


@compiled
def count_codes(
    codes: np.ndarray, start: int, by_donor: np.ndarray, by_context: np.ndarray, changed: np.ndarray
):
    """Add codes `(rows, T)` to the counts `(M, T, C)` over contexts and `(K, T, C)` over donors.

    Rows come donor by donor with K contexts each, the first of these being number `start`.
    `changed` `(T,)` is set where a code differs from what it was under another donor.
    """
    k = by_context.shape[0]
    for r in range(codes.shape[0]):
        a, b = divmod(start + r, k)
        donor, context = by_donor[a], by_context[b]
        for j in range(codes.shape[1]):
            c = codes[r, j]
            donor[j, c] += 1
            context[j, c] += 1
            changed[j] |= context[j, c] != a + 1


@compiled
def summed_up(counts: np.ndarray, weights: np.ndarray, total: int):
    """Of A histograms `(A, T, C)` of `total` codes each: `(T, C)` sum of squared counts, `(T,)`
    mean plug-in entropy, and `(T,)` mean number of codes seen; weights[n] is n log2 n."""
    count, t, n_codes = counts.shape
    squares = np.zeros((t, n_codes))
    entropy = np.zeros(t)
    seen = np.zeros(t)
    whole = np.log2(total)
    for a in range(count):
        for j in range(t):
            inside = 0.0
            for c in range(n_codes):
                n = counts[a, j, c]
                if n:
                    squares[j, c] += np.float64(n) * n
                    inside += weights[n]
                    seen[j] += 1
            entropy[j] += whole - inside / total
    return squares, entropy / count, seen / count


@compiled
def pointwise_sums(codes: np.ndarray, donor_terms: np.ndarray, context_terms: np.ndarray):
    """`(M, K)` sums over columns of donor_terms[m, t, code] and of context_terms[k, t, code]."""
    m, k, t = codes.shape
    plain = np.empty((m, k))
    given = np.empty((m, k))
    for a in range(m):
        for b in range(k):
            first = 0.0
            second = 0.0
            for j in range(t):
                c = codes[a, b, j]
                first += donor_terms[a, j, c]
                second += context_terms[b, j, c]
            plain[a, b] = first
            given[a, b] = second
    return plain, given


@compiled
def pair_counts(codes: np.ndarray, columns: np.ndarray, n_codes: int, n_column_codes: int):
    """`(T, C, D)` contingency tables of `codes` `(N,)` with each of `columns` `(T, N)`."""
    t, n = columns.shape
    counts = np.zeros((t, n_codes, n_column_codes), np.int32)
    for j in range(t):
        table = counts[j]
        for r in range(n):
            table[codes[r], columns[j, r]] += 1
    return counts


@compiled
def likely_cells(counts: np.ndarray, possible: np.ndarray):
    """Per histogram `(H, C)`, the number of cells for which the expected number of cells seen in
    N draws comes closest to the number that was seen: at least that, at most `possible` `(H,)`."""
    rows, width = counts.shape
    cells = np.zeros(rows, np.int64)
    found = np.empty(width, np.int64)
    for h in range(rows):
        n = 0
        seen = 0
        for c in range(width):
            if counts[h, c] > 0:
                n += counts[h, c]
                found[seen] = counts[h, c]
                seen += 1
        cells[h] = seen
        if seen >= possible[h]:
            continue
        expected = 0.0
        for c in range(seen):
            expected += 1.0 - (1.0 - found[c] / n) ** n
        off = abs(seen - expected)
        rest = 1.0 - (n / (n + seen)) ** (1.0 / n)  # chance of each cell that was not seen
        while cells[h] < possible[h]:
            extra = cells[h] + 1 - seen
            unseen = min(extra * rest, 1.0)
            expected = extra * (1.0 - (1.0 - unseen / extra) ** n)
            for c in range(seen):
                share = min((1.0 - unseen) * (found[c] + 1) / (n + seen), 1.0)
                expected += 1.0 - (1.0 - share) ** n
            if abs(seen - expected) >= off:
                break
            off = abs(seen - expected)
            cells[h] += 1
    return cells


@compiled
def ranked(
    values: np.ndarray, units: np.ndarray, levels: np.ndarray, ranks: np.ndarray, out: np.ndarray
):
    """Write to out[r, j] where values[r, j] lies on the scale of unit units[j]: on the straight
    line between two of its ascending `levels` `(n, power of two)`, of which `ranks` has the places,
    or at an end. Unused levels are +inf."""
    half = levels.shape[1] // 2
    for j in range(units.shape[0]):
        level, rank = levels[units[j]], ranks[units[j]]
        for r in range(values.shape[0]):
            v = values[r, j]
            at = 0
            step = half
            while step:
                at += step * (level[at + step] <= v)
                step //= 2
            place = rank[at]
            if at + 1 < levels.shape[1] and v > level[at] and level[at + 1] < np.inf:
                share = (v - level[at]) / (level[at + 1] - level[at])
                place += share * (rank[at + 1] - place)
            out[r, j] = place


@compiled
def entropies_of_lines(
    moved: np.ndarray,
    start: np.ndarray,
    edges: np.ndarray,
    zero: float,
    weights: np.ndarray,
    out: np.ndarray,
):
    """Write to out[u] the mean over rows r of the entropy of the codes of start[u, r] +
    moved[u, r, :], corrected for the codes seen (Miller 1955); weights[n] is n log2 n.

    `edges` `(bins - 1,)` and `zero` are one target's, as in `encode_units`.
    """
    sources, rows, count = moved.shape
    value = np.empty(count, moved.dtype)
    code = np.empty(count, np.int32)
    seen = np.empty(edges.shape[0] + 1, np.int64)
    whole = np.log2(count)
    each = 1.0 / (2.0 * np.log(2.0) * count)
    for u in range(sources):
        total = 0.0
        for r in range(rows):
            for d in range(count):
                value[d] = start[u, r] + moved[u, r, d]
                code[d] = np.int32(zero >= 0)
            for e in range(edges.shape[0]):
                for d in range(count):
                    code[d] += np.int32(value[d] > edges[e])
            for d in range(count):
                code[d] = 0 if abs(value[d]) <= zero else code[d]
            seen[:] = 0
            for d in range(count):
                seen[code[d]] += 1
            inside = 0.0
            cells = 0
            for c in range(seen.shape[0]):
                inside += weights[seen[c]]
                cells += seen[c] > 0
            if cells > 1:
                total += whole - inside / count + (cells - 1) * each
        out[u] = total / rows
