"""Partitions of equal sizes in every layer: of largest Q, of least cut, of least exchange."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from infoflow.clustering.q import modularity_matrix
from infoflow.partition import Partition


def dealt(layers: np.ndarray, used: np.ndarray, k: int, rng: np.random.Generator) -> Partition:
    """The used units of every layer dealt to k modules at random, as evenly as can be.

    Examples:
        >>> layers, used = np.repeat([0, 1], 6), np.arange(12) > 0
        >>> dealt(layers, used, 2, np.random.default_rng(0)).sizes.tolist()
        [6, 5]
    """
    labels = np.full(len(layers), -1)
    for layer in np.unique(layers):
        units = rng.permutation(np.flatnonzero((layers == layer) & used))
        labels[units] = np.arange(len(units)) % k
    return Partition(labels)


def exchanged(
    partition: Partition, layers: np.ndarray, share: float, rng: np.random.Generator
) -> Partition:
    """A share of every layer's units dealt to their modules anew."""
    labels = partition.given
    for layer in np.unique(layers):
        units = np.flatnonzero((layers == layer) & ~partition.unused)
        some = rng.choice(units, round(share * len(units)), replace=False)
        labels[some] = rng.permutation(labels[some])
    return Partition(labels)


def heaviest_within(
    matrix: np.ndarray, layers: np.ndarray, start: Partition
) -> tuple[float, Partition]:
    """Pairs of one layer exchanged, the best first, as long as the sum of the matrix within
    modules grows; that sum, and the partition."""
    labels = start.given
    used = np.flatnonzero(labels >= 0)
    links = matrix[np.ix_(used, used)] + matrix[np.ix_(used, used)].T
    np.fill_diagonal(links, 0.0)
    own, same = labels[used], layers[used][:, None] == layers[used]
    modules = np.arange(own.max() + 1)
    while True:
        to = links @ (own[:, None] == modules)  # (n, k): each unit's links to each module
        gain = to[:, own] - to[np.arange(len(own)), own][:, None]  # i goes to j's module
        gain = np.where(same & (own[:, None] != own), gain + gain.T - 2 * links, -np.inf)
        i, j = np.unravel_index(gain.argmax(), gain.shape)
        if gain[i, j] <= 1e-12:
            break
        own[[i, j]] = own[[j, i]]
    labels[used] = own
    return float((links * (own[:, None] == own)).sum()) / 2, Partition(labels)


def best_of(
    matrix: np.ndarray,
    layers: np.ndarray,
    used: np.ndarray,
    k: int,
    rng: np.random.Generator,
    starts: int = 20,
) -> Partition:
    """The heaviest within modules of several random starts."""
    found = [heaviest_within(matrix, layers, dealt(layers, used, k, rng)) for _ in range(starts)]
    return max(found, key=lambda one: one[0])[1]


def q_matrix(similarity: np.ndarray) -> np.ndarray:
    """`(n, n)` matrix whose sum within modules is their Q."""
    found = modularity_matrix(similarity)
    whole = np.zeros((found.n, found.n))
    whole[np.ix_(found.used, found.used)] = found.values
    return whole


def climbed(
    values: Callable[[list[Partition]], np.ndarray],
    start: Partition,
    layers: np.ndarray,
    rng: np.random.Generator,
    budget: int,
    batch: int = 8,
) -> Partition:
    """The least value met by exchanging pairs of one layer from `start`, several tried at a time
    and the best taken if it is better."""
    best, least = start, float(values([start])[0])
    for _ in range(budget // batch):
        tried = [_one_exchange(best, layers, rng) for _ in range(batch)]
        found = values(tried)
        if found.min() < least:
            best, least = tried[int(found.argmin())], float(found.min())
    return best


def _one_exchange(partition: Partition, layers: np.ndarray, rng: np.random.Generator) -> Partition:
    labels = partition.given
    i = rng.choice(np.flatnonzero(labels >= 0))
    others = np.flatnonzero((layers == layers[i]) & (labels >= 0) & (labels != labels[i]))
    j = rng.choice(others)
    labels[[i, j]] = labels[[j, i]]
    return Partition(labels)
