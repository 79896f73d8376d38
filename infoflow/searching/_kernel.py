"""The weighted cut of a graph of links under one-unit moves, on kept sums.

A cut is Σ over pairs i < j of different modules of links[i, j]; links are symmetric with a zero
diagonal. `to[i, a]` is kept equal to Σ over the units j of module a of links[i, j], so looking at
a move costs O(modules) and making it O(units). Throughout:

    graph   (kind, links, apart, mass): how to weigh, `(n, n)` links, `(n, n)` a second graph,
            `(n,)` mass of each unit
    kept    (cuts, modules, to, to_apart): `(2,)` cut of either graph, `(3, k + 1)` units, mass and
            leaving links of each module, `(n, k + 1)` links of units to modules in either graph;
            the last module is a new one, still empty

and by kind the cut is: PLAIN as it is; APART divided by the cut of the second graph; LEAST by the
least mass of a module; EACH the sum over modules of leaving links by mass.
"""

from __future__ import annotations

import numpy as np

from infoflow._compiled import compiled
from infoflow.clustering._kernel import uniform

PLAIN, APART, LEAST, EACH = range(4)
Graph = tuple[int, np.ndarray, np.ndarray, np.ndarray]
Kept = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@compiled
def _to_modules(links: np.ndarray, labels: np.ndarray, k: int):
    n = labels.shape[0]
    to = np.zeros((n, k + 1))
    for i in range(n):
        for j in range(n):
            to[i, labels[j]] += links[i, j]
    return to


@compiled
def summed(graph: Graph, labels: np.ndarray, k: int):
    """What is kept, for these labels."""
    _, links, apart, mass = graph
    to, to_apart = _to_modules(links, labels, k), _to_modules(apart, labels, k)
    cuts, modules = np.zeros(2), np.zeros((3, k + 1))
    for i in range(labels.shape[0]):
        own = labels[i]
        modules[0, own] += 1
        modules[1, own] += mass[i]
        for a in range(k):
            if a != own:
                modules[2, own] += to[i, a]
                cuts[0] += to[i, a] / 2
                cuts[1] += to_apart[i, a] / 2
    return cuts, modules, to, to_apart


@compiled
def _ratio(value: float, divisor: float):
    return value / divisor if divisor > 0 else np.inf


@compiled
def value_after(graph: Graph, kept: Kept, labels: np.ndarray, i: int, target: int):
    """The weighted cut with unit i in module `target`; its own gives the present one."""
    kind, _, _, mass = graph
    cuts, modules, to, to_apart = kept
    own = labels[i]
    stays = target == own
    cut = cuts[0] if stays else cuts[0] + to[i, own] - to[i, target]
    if kind == PLAIN:
        return cut
    if kind == APART:
        return _ratio(cut, cuts[1] + to_apart[i, own] - to_apart[i, target])
    degree = to[i].sum()
    least, total = np.inf, 0.0
    for a in range(modules.shape[1]):
        count, weight, leaving = modules[0, a], modules[1, a], modules[2, a]
        if a == own and not stays:
            count, weight, leaving = count - 1, weight - mass[i], leaving + 2 * to[i, a] - degree
        elif a == target and not stays:
            count, weight, leaving = count + 1, weight + mass[i], leaving - 2 * to[i, a] + degree
        if count > 0:
            least = min(least, weight)
            total += _ratio(leaving, weight)
    return _ratio(cut, least) if kind == LEAST else total


@compiled
def move(graph: Graph, kept: Kept, labels: np.ndarray, i: int, target: int):
    """Put unit i in module `target`, keeping everything true."""
    _, links, apart, mass = graph
    cuts, modules, to, to_apart = kept
    own = labels[i]
    degree = to[i].sum()
    cuts[0] += to[i, own] - to[i, target]
    cuts[1] += to_apart[i, own] - to_apart[i, target]
    for a, sign in ((own, -1.0), (target, 1.0)):
        modules[0, a] += sign
        modules[1, a] += sign * mass[i]
        modules[2, a] += sign * (degree - 2 * to[i, a])
        for j in range(labels.shape[0]):
            to[j, a] += sign * links[i, j]
            to_apart[j, a] += sign * apart[i, j]
    labels[i] = target


@compiled
def values_around(graph: Graph, labels: np.ndarray, k: int):
    """`(n, k + 1)` weighted cut with each unit in each module, the last of them a new one."""
    kept = summed(graph, labels, k)
    found = np.empty((labels.shape[0], k + 1))
    for i in range(found.shape[0]):
        for a in range(k + 1):
            found[i, a] = value_after(graph, kept, labels, i, a)
    return found


@compiled
def annealed(
    graph: Graph, labels: np.ndarray, k: int, steps: int, hot: float, cold: float, state: np.ndarray
):
    """The labels of the least weighted cut met by Metropolis steps from these.

    A step moves a unit or exchanges two; no module is emptied. The temperature falls geometrically
    from `hot` to `cold`. `state`, one uint64, is the random generator's and changed in place.
    """
    labels = labels.copy()
    kept = summed(graph, labels, k)
    sizes = kept[1][0]
    n = labels.shape[0]
    value = value_after(graph, kept, labels, 0, labels[0])
    best, least = labels.copy(), value
    for step in range(steps):
        temperature = hot * (cold / hot) ** (step / steps)
        i, j = int(uniform(state) * n), int(uniform(state) * n)
        own, target = labels[i], int(uniform(state) * (k - 1))
        target += target >= own
        exchange = sizes[own] == 1 or uniform(state) < 0.3
        if exchange:  # the first half is made, and taken back if the whole is not wanted
            target = labels[j]
            if target == own:
                continue
            move(graph, kept, labels, i, target)
            found = value_after(graph, kept, labels, j, own)
        else:
            found = value_after(graph, kept, labels, i, target)
        if found <= value or uniform(state) < np.exp((value - found) / temperature):
            move(graph, kept, labels, j if exchange else i, own if exchange else target)
            value = found
        elif exchange:
            move(graph, kept, labels, i, own)
        if value < least:
            least = value
            best[:] = labels
    return best
