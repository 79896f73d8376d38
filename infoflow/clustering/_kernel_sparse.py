"""Moves of single units between modules on a sparse graph."""

from __future__ import annotations

import numpy as np

from infoflow._compiled import compiled


@compiled
def move_units(
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    strength: np.ndarray,
    labels: np.ndarray,
    order: np.ndarray,
    resolution: float,
):
    """Move units to the module that raises Q most, in this order, until none does; labels change in
    place. Strengths add up to one. Returns the gain in Q."""
    n = labels.shape[0]
    held = np.zeros(n)  # strength of each module
    sizes = np.zeros(n, np.int64)
    for i in range(n):
        held[labels[i]] += strength[i]
        sizes[labels[i]] += 1
    free = np.empty(n, np.int64)  # numbers without a module, the last one first
    count = 0
    for c in range(n - 1, -1, -1):
        if sizes[c] == 0:
            free[count] = c
            count += 1
    links = np.zeros(n)  # from the unit at hand to each module
    near = np.empty(n, np.int64)
    waiting = np.ones(n, np.bool_)
    queue = order.copy()
    first = 0
    left = n
    gained = 0.0
    while left > 0:
        i = queue[first]
        first = (first + 1) % n
        left -= 1
        waiting[i] = False
        own = labels[i]
        found = 0
        for at in range(indptr[i], indptr[i + 1]):
            j = indices[at]
            if j != i:
                c = labels[j]
                if links[c] == 0.0:
                    near[found] = c
                    found += 1
                links[c] += data[at]
        weight = resolution * strength[i]
        stay = links[own] - weight * (held[own] - strength[i])
        best = own
        top = stay + 1e-15
        for at in range(found):
            c = near[at]
            value = links[c] - weight * held[c]
            if c != own and value > top:
                top = value
                best = c
        if top < 0.0 and sizes[own] > 1 and count > 0:
            best = free[count - 1]
            top = 0.0
        for at in range(found):
            links[near[at]] = 0.0
        if best == own:
            continue
        gained += 2.0 * (top - stay)
        if sizes[best] == 0:
            count -= 1
        held[own] -= strength[i]
        held[best] += strength[i]
        sizes[own] -= 1
        sizes[best] += 1
        labels[i] = best
        if sizes[own] == 0:
            held[own] = 0.0
            free[count] = own
            count += 1
        for at in range(indptr[i], indptr[i + 1]):  # those that may now want to move as well
            j = indices[at]
            if labels[j] != best and not waiting[j]:
                waiting[j] = True
                queue[(first + left) % n] = j
                left += 1
    return gained
