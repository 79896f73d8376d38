"""Genetic search over partitions: whole modules are inherited, single units are moved."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from infoflow.partition import Partition
from infoflow.search.sampling import random_partition

Objective = Callable[[Partition], float]


def genetic_search(
    objective: Objective,
    used: np.ndarray,
    n_modules: int,
    *,
    budget: int,
    seed: int,
    population: int = 24,
    starts: Iterable[Partition] = (),
) -> Partition:
    """The partition with the smallest objective that a genetic search finds.

    Offspring inherit whole modules (group injection, Falkenauer 1992: a module of one parent
    replaces the labels of the other, surplus modules are merged), then single units move. Plain
    genetic search loses to local search here, so half of the budget goes to one-unit moves on the
    best member.

    Args:
        objective: Smaller is better. Called once per new partition.
        used: `(n,)` bool; the others stay at -1.
        n_modules: Number of modules, fixed.
        budget: Number of evaluations.
        seed: Seed.
        population: Members kept.
        starts: Partitions to begin with, beside random ones.

    Returns:
        The best partition seen.
    """
    rng = np.random.default_rng(seed)
    members: dict[Partition, float] = {}
    remaining = budget

    def try_out(candidate: Partition) -> float:
        nonlocal remaining
        if candidate not in members:
            members[candidate] = objective(candidate)
            remaining -= 1
        return members[candidate]

    for start in starts:
        if remaining and start.n_modules == n_modules:
            try_out(start)
    failed = 0  # small networks have fewer partitions than the budget
    while remaining > 0 and failed < 50:
        before = remaining
        if len(members) < population:
            try_out(random_partition(used, n_modules, rng))
        else:
            elite = sorted(members, key=members.__getitem__)[:population]
            if rng.random() < 0.5:
                try_out(moved(elite[_ranked(rng, population // 4)], rng))
            else:
                mother, father = elite[_ranked(rng, population)], elite[_ranked(rng, population)]
                try_out(mutated(injected(mother, father, n_modules, rng), rng))
        failed = failed + 1 if remaining == before else 0
    return min(members, key=members.__getitem__)


def injected(
    mother: Partition, father: Partition, n_modules: int, rng: np.random.Generator
) -> Partition:
    """The mother with one of the father's modules; surplus modules are merged in pairs.

    Examples:
        >>> a, b = Partition([0, 0, 1, 1]), Partition([0, 1, 1, 0])
        >>> injected(a, b, 2, np.random.default_rng(0)).n_modules
        2
    """
    labels = mother.labels.copy()
    module = father.modules[rng.integers(father.n_modules)]
    labels[module] = mother.n_modules
    present = np.unique(labels[labels >= 0])
    while len(present) > n_modules:
        keep, gone = rng.choice(present, 2, replace=False)
        labels[labels == gone] = keep
        present = present[present != gone]
    child = Partition(labels)
    return child if child.n_modules == n_modules else mother


def mutated(partition: Partition, rng: np.random.Generator) -> Partition:
    """No, one or a few units moved."""
    for _ in range(rng.geometric(0.5) - 1):
        partition = moved(partition, rng)
    return partition


def moved(partition: Partition, rng: np.random.Generator) -> Partition:
    """One unit in another module, or two units of different modules exchanged; none is emptied."""
    labels = partition.labels.copy()
    units = np.flatnonzero(labels >= 0)
    unit = rng.choice(units)
    if rng.random() < 0.3 or partition.sizes[labels[unit]] == 1:
        others = units[labels[units] != labels[unit]]
        if len(others):
            other = rng.choice(others)
            labels[[unit, other]] = labels[[other, unit]]
        return Partition(labels)
    step = rng.integers(1, partition.n_modules) if partition.n_modules > 1 else 0
    labels[unit] = (labels[unit] + step) % partition.n_modules
    return Partition(labels)


def _ranked(rng: np.random.Generator, count: int) -> int:
    """A rank, better ones more often (tournament of two)."""
    return int(rng.integers(count, size=2).min())
