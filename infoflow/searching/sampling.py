"""Random partitions: what the module score compares with."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from infoflow.partition import Partition


def random_partition(
    used: np.ndarray, n_modules: int, rng: np.random.Generator, *, uneven: bool = False
) -> Partition:
    """Each used unit in one of `n_modules` modules with equal probability, none left empty.

    Args:
        used: `(n,)` bool; the others get -1.
        n_modules: At least 1, at most the number of used units.
        rng: Source of randomness.
        uneven: The probabilities are themselves drawn, uniformly: modules of all sizes.

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
    else:
        inside = rng.integers(n_modules, size=count)
    inside[rng.permutation(count)[:n_modules]] = np.arange(n_modules)  # no module is empty
    labels = np.full(len(used), -1)
    labels[used] = inside
    return Partition(labels)


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
