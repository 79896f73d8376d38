"""Products of masked matrices summed over samples, by counting bits.

With two masks a sample, s over m units and t over n, and constant G and W,

    Σ_k t_ki t_kj Σ_ab W_ia s_ka G_ab s_kb W_jb = Σ_ab W_ia W_jb G_ab #{k: s_ka s_kb t_ki t_kj = 1}

and the number of samples in which four units are on is a count of bits, 64 samples to a word.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numba.extending import intrinsic


def _bits(_typing: Any, word: Any) -> Any:
    """Number of bits that are set, as one instruction where the processor has it."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return word(word), generate


ones: Any = intrinsic(_bits)


@njit(cache=True)
def _pairs(bits):
    """Row w, column a (a + 1) / 2 + b for b <= a: word w of units a and b both being on."""
    words, n = bits.shape
    both = np.zeros((words + 3, n * (n + 1) // 2), np.uint64)
    for w in range(words):
        q = 0
        for a in range(n):
            for b in range(a + 1):
                both[w, q] = bits[w, a] & bits[w, b]
                q += 1
    return both


@njit(cache=True)
def _count(both, m, c0, c1, c2, c3):
    """Add to four rows of counts, of samples in which a pair is on and so is each of four masks:
    what is loaded is used four times, which halves the time."""
    for w in range(0, both.shape[0] - 3, 4):
        r0, r1, r2, r3 = both[w], both[w + 1], both[w + 2], both[w + 3]
        for q in range(both.shape[1]):
            x, y, z, v = r0[q], r1[q], r2[q], r3[q]
            c0[q] += np.int32(
                ones(x & m[0, w]) + ones(y & m[0, w + 1]) + ones(z & m[0, w + 2])
                + ones(v & m[0, w + 3])
            )  # fmt: skip
            c1[q] += np.int32(
                ones(x & m[1, w]) + ones(y & m[1, w + 1]) + ones(z & m[1, w + 2])
                + ones(v & m[1, w + 3])
            )  # fmt: skip
            c2[q] += np.int32(
                ones(x & m[2, w]) + ones(y & m[2, w + 1]) + ones(z & m[2, w + 2])
                + ones(v & m[2, w + 3])
            )  # fmt: skip
            c3[q] += np.int32(
                ones(x & m[3, w]) + ones(y & m[3, w + 1]) + ones(z & m[3, w + 2])
                + ones(v & m[3, w + 3])
            )  # fmt: skip


@njit(cache=True, fastmath={"reassoc", "contract"})
def _weighed(counts, gram, one, other):
    """Σ_ab W_ia W_jb G_ab counts_ab, of symmetric G and counts."""
    total, q = 0.0, 0
    for a in range(gram.shape[0]):
        row, u, v = gram[a], one[a], other[a]
        part = 0.0
        for b in range(a):
            part += (u * other[b] + v * one[b]) * row[b] * counts[q + b]
        q += a
        total += part + u * v * row[a] * counts[q]
        q += 1
    return total


@njit(cache=True)
def masked_products(first, second, gram, weight):
    """Σ_k diag(t_k) W diag(s_k) G diag(s_k) Wᵀ diag(t_k).

    Args:
        first: s `(words, m)` uint64, bit by bit the samples.
        second: t `(words, n)` uint64.
        gram: G `(m, m)` float64, symmetric.
        weight: W `(n, m)` float64.

    Returns:
        `(n, n)` float64.
    """
    both = _pairs(first)
    words, n = second.shape
    masks = np.zeros((4, words + 3), np.uint64)
    counts = np.empty((4, both.shape[1]), np.int32)
    found = np.empty((n, n))
    for i in range(n):
        for start in range(0, i + 1, 4):
            counts[:] = 0
            for k in range(4):
                j = min(start + k, n - 1)
                for w in range(words):
                    masks[k, w] = second[w, i] & second[w, j]
            _count(both, masks, counts[0], counts[1], counts[2], counts[3])
            for j in range(start, min(start + 4, i + 1)):
                value = _weighed(counts[j - start], gram, weight[i], weight[j])
                found[i, j] = found[j, i] = value
    return found
