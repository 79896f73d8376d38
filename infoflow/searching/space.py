"""Random partitions, and the partitions that a search may visit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from infoflow.exchanges import ExchangeMeter
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


@dataclass(frozen=True, eq=False)
class Space:
    """Partitions of some of the units into `least` to `most` modules.

    Attributes:
        used: `(n,)` bool; the other units stay at -1.
        least, most: Fewest and most modules.

    Examples:
        >>> space = Space(np.array([True, True, False, True]), 2, 3)
        >>> space.count, [p.labels.tolist() for p in space.all()][:2]
        (4, [[0, 0, -1, 1], [0, 1, -1, 0]])
    """

    used: np.ndarray
    least: int
    most: int

    @cached_property
    def units(self) -> np.ndarray:
        """Indices of the units that are divided."""
        return np.flatnonzero(self.used)

    @property
    def count(self) -> int:
        """How many partitions there are: a sum of Stirling numbers of the second kind."""
        row = [1]  # row[k]: partitions of the units so far into k modules
        for _ in self.units:
            row = [0] + [
                k * row[k] + row[k - 1] if k < len(row) else 1 for k in range(1, len(row) + 1)
            ]
        return sum(row[self.least : self.most + 1])

    def all(self) -> Iterator[Partition]:
        """Every partition once, as restricted growth strings in lexicographic order."""
        n = len(self.units)

        def extend(prefix: list[int], top: int) -> Iterator[list[int]]:
            if len(prefix) == n:
                yield prefix
                return
            for label in range(min(top + 1, self.most - 1) + 1):
                grown = max(top, label)
                if grown + n - len(prefix) >= self.least:
                    yield from extend([*prefix, label], grown)

        for inside in extend([0], 0) if n else ():
            labels = np.full(len(self.used), -1)
            labels[self.units] = inside
            if labels.max() + 1 >= self.least:
                yield Partition(labels)

    def random(self, rng: np.random.Generator, *, uneven: bool = False) -> Partition:
        """A random partition into a random number of modules that is allowed."""
        k = int(rng.integers(self.least, self.most + 1))
        return random_partition(self.used, k, rng, uneven=uneven)

    def fitted(self, partition: Partition) -> Partition | None:
        """The partition on this space's units, surplus modules merged smallest first; None if it
        leaves units out or has too few modules."""
        labels = np.where(self.used, partition.labels, -1)
        if (labels[self.units] < 0).any():
            return None
        while True:
            names, sizes = np.unique(labels[self.units], return_counts=True)
            if len(names) <= self.most:
                return Partition(labels) if len(names) >= self.least else None
            first, second = names[np.argsort(sizes, kind="stable")[:2]]
            labels[labels == first] = second


def divided_units(meter: ExchangeMeter, at_least: int) -> np.ndarray:
    """`(n,)` bool: the units that partitions divide.

    Those that the meter knows, that change over the data and are not silent (`Traffic.silent`);
    where fewer than `at_least` are left, silent ones too.
    """
    used = ~meter.rec.units.unused & ~meter.left_out
    active = used & ~meter.traffic.silent
    return active if active.sum() >= at_least else used


def check_downstream(meter: ExchangeMeter) -> None:
    """Refuse a search where nothing is exchanged whatever the partition.

    Raises:
        ValueError: No recorded unit sends anything to another, and all of them by themselves
            exchange nothing together.
    """
    used = ~meter.rec.units.unused & ~meter.left_out
    if (meter.traffic.unit_flow > 0).any():
        return
    halves = Partition(np.where(used, np.cumsum(used) % 2, -1))
    apart = Partition(np.where(used, np.arange(len(used)), -1))
    if not any(flow.any() for flow in meter.flows([halves, apart])):
        layers = ", ".join(repr(name) for name in meter.rec.units.layers)
        raise ValueError(
            f"expected recorded units downstream of others, got none: forcing units of {layers} "
            "changes no other recorded unit, so every partition exchanges 0 bits and none is "
            "best; record layers that follow one another, or divide these by similarity "
            "(find_modules)"
        )
