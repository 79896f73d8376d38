"""Slow and obvious versions of what `infoflow.information` computes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from math import log2

import numpy as np


def entropy(symbols: Sequence) -> float:
    """Plug-in entropy of a list of hashable symbols, in bits."""
    counts = Counter(symbols)
    return -sum(c / len(symbols) * log2(c / len(symbols)) for c in counts.values())


def information(a: Sequence, b: Sequence) -> float:
    """Plug-in mutual information of two lists, in bits."""
    return entropy(a) + entropy(b) - entropy(list(zip(a, b, strict=True)))


def expected_cells_seen(counts: Sequence[int], extra: int) -> float:
    """Cells one expects to see in N draws if, besides those seen, `extra` ones were possible:
    Panzeri and Treves 1996, cell by cell."""
    n, seen = sum(counts), len(counts)
    if extra == 0:
        return sum(1 - (1 - c / n) ** n for c in counts)
    unseen = extra * (1 - (n / (n + seen)) ** (1 / n))
    known = [(1 - unseen) * (c + 1) / (n + seen) for c in counts]
    return sum(1 - (1 - q) ** n for q in [*known, *[unseen / extra] * extra])


def plain_flow(codes: np.ndarray) -> float:
    """I(do(S); C) of an `(M, K)` table: every donor and context equally likely."""
    m, k = codes.shape
    donor = [row for row in range(m) for _ in range(k)]
    return information(donor, codes.ravel().tolist())


def context_flow(codes: np.ndarray) -> float:
    """E_x H(C | context x) of an `(M, K)` table."""
    return sum(entropy(column.tolist()) for column in codes.T) / codes.shape[1]


def draw_table(
    function: np.ndarray, m: int, k: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A table of M donors and K contexts drawn from a world in which code = function[source, input]
    and all sources and inputs are equally likely; with the sources and inputs drawn."""
    sources, inputs = function.shape
    s, x = rng.integers(sources, size=m), rng.integers(inputs, size=k)
    return function[s][:, x], s, x


def unit_codes(normal: np.ndarray, values: np.ndarray, bins: int) -> np.ndarray:
    """Codes of `values` under bins fitted to `normal`, one unit, one value at a time."""
    has_zero = bool((normal == 0).any())
    rest = sorted(normal[normal != 0].tolist() if has_zero else normal.tolist())
    levels = sorted(set(rest))
    edges: set[float] = set()
    room = bins - has_zero
    if len(levels) <= room:
        edges = {(a + b) / 2 for a, b in pairwise(levels)}
    elif room >= 2:
        halfway = [(a + b) / 2 for a, b in pairwise(levels)]
        for cut in np.quantile(rest, np.arange(1, room) / room):
            above = [h for h in halfway if h >= cut]
            edges.add(above[0] if above else halfway[-1])
    codes = [0 if has_zero and v == 0 else has_zero + sum(v > e for e in edges) for v in values]
    return np.array(codes)
