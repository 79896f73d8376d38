"""Random partitions: what the module score compares with."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from infoflow.partition import Partition


def random_partition(
    used: np.ndarray, n_modules: int, rng: np.random.Generator, *, uneven: bool = False
) -> Partition:
    """A partition into `n_modules` modules, each of those there are with equal probability.

    Such partitions are mostly even. Unit by unit: the last of i units is alone with probability
    S(i - 1, k - 1) / S(i, k), else in any of k modules, S the Stirling numbers of the second kind.

    Args:
        used: `(n,)` bool; the others get -1.
        n_modules: At least 1, at most the number of used units.
        rng: Source of randomness.
        uneven: Modules of all sizes instead: each unit joins a module with probabilities that are
            themselves drawn, uniformly; one unit of each is drawn beforehand, so that none is
            empty. These are not equally probable.

    Raises:
        ValueError: More modules than used units.

    Examples:
        >>> p = random_partition(np.array([True, True, False]), 2, np.random.default_rng(0))
        >>> p.labels.tolist()
        [0, 1, -1]
    """
    count = int(used.sum())
    if not 1 <= n_modules <= count:
        raise ValueError(f"cannot make {n_modules} modules of {count} used units")
    if uneven:
        inside = rng.choice(n_modules, size=count, p=rng.dirichlet(np.ones(n_modules)))
        inside[rng.permutation(count)[:n_modules]] = np.arange(n_modules)  # no module is empty
    else:
        inside = _uniform(count, n_modules, rng)
    labels = np.full(len(used), -1)
    labels[used] = inside
    return Partition(labels)


def _uniform(count: int, k: int, rng: np.random.Generator) -> np.ndarray:
    chances = _alone(count, k)
    inside = np.empty(count, dtype=np.int64)
    drawn = rng.random((count, 2))
    for i in range(count, 0, -1):
        if drawn[i - 1, 0] < chances[i, k]:
            inside[i - 1] = k - 1
            k -= 1
        else:
            inside[i - 1] = int(drawn[i - 1, 1] * k)
    return inside


@lru_cache(maxsize=64)
def _alone(count: int, k: int) -> np.ndarray:
    """`(count + 1, k + 1)` [i, j]: the chance that the last of i units in j modules is alone."""
    chances = np.zeros((count + 1, k + 1))
    row = [1] + [0] * k  # S(0, j)
    for i in range(1, count + 1):
        new = [0] + [j * row[j] + row[j - 1] for j in range(1, k + 1)]
        chances[i] = [row[j - 1] / new[j] if j and new[j] else 0.0 for j in range(k + 1)]
        row = new
    return chances


def random_partitions(used: np.ndarray, n_modules: int, seed: int) -> Iterator[Partition]:
    """An endless, reproducible stream of random partitions."""
    rng = np.random.default_rng(seed)
    while True:
        yield random_partition(used, n_modules, rng)


def mean_and_se(values: np.ndarray) -> tuple[float, float]:
    """Mean and its standard error.

    Examples:
        >>> mean_and_se(np.array([1.0, 1.0]))
        (1.0, 0.0)
    """
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
