"""Changes of a partition that a search tries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from infoflow.partition import Partition
from infoflow.searching.space import Space


def moved(partition: Partition, rng: np.random.Generator) -> Partition:
    """One unit in another module, or two units of different modules exchanged; none is emptied."""
    labels = partition.labels.copy()
    units = np.flatnonzero(labels >= 0)
    unit = units[rng.integers(len(units))]
    if rng.random() < 0.3 or partition.sizes[labels[unit]] == 1:
        others = units[labels[units] != labels[unit]]
        if len(others):
            other = others[rng.integers(len(others))]
            labels[unit], labels[other] = labels[other], labels[unit]
        return Partition(labels)
    step = rng.integers(1, partition.n_modules) if partition.n_modules > 1 else 0
    labels[unit] = (labels[unit] + step) % partition.n_modules
    return Partition(labels)


def merged(partition: Partition, rng: np.random.Generator) -> Partition:
    """Two modules made one; a partition of one module stays."""
    if partition.n_modules < 2:
        return partition
    keep, gone = rng.choice(partition.n_modules, 2, replace=False)
    return Partition(np.where(partition.labels == gone, keep, partition.labels))


def split(partition: Partition, rng: np.random.Generator) -> Partition:
    """One module of at least two units dealt out to two."""
    large = np.flatnonzero(partition.sizes > 1)
    if not len(large):
        return partition
    module = rng.permutation(partition.modules[rng.choice(large)])
    labels = partition.labels.copy()
    labels[module[: rng.integers(1, len(module))]] = partition.n_modules
    return Partition(labels)


def injected(
    mother: Partition, father: Partition, n_modules: int, rng: np.random.Generator
) -> Partition:
    """The mother with one of the father's modules; surplus modules are merged in pairs.

    Group injection of Falkenauer (1992): what is inherited is a module, not labels, whose numbers
    mean nothing.

    Args:
        mother, father: Partitions of the same units.
        n_modules: At most so many modules; the mother where fewer are left than she has.
        rng: Source of randomness.

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
    return child if child.n_modules >= min(n_modules, mother.n_modules) else mother


def mutated(partition: Partition, space: Space, rng: np.random.Generator) -> Partition:
    """No, one or a few changes: mostly units moved, at times modules merged and split."""
    for _ in range(rng.geometric(0.5) - 1):
        kind = rng.random()
        if kind < 0.8:
            partition = moved(partition, rng)
        elif kind < 0.9 and partition.n_modules < space.most:
            partition = split(partition, rng)
        elif kind >= 0.9 and partition.n_modules > space.least:
            partition = merged(partition, rng)
        else:
            partition = split(merged(partition, rng), rng)
    return partition


def neighbours(
    partition: Partition,
    space: Space,
    rng: np.random.Generator,
    cost: np.ndarray | None = None,
) -> Iterator[Partition]:
    """All partitions one unit move away, in random order; a unit may open a module of its own, or
    leave one, where the number of modules allows.

    Args:
        partition: Where the moves begin.
        space: Partitions allowed.
        rng: Source of randomness.
        cost: `(n, n_modules + 1)` of each unit put in each module, a new one last: cheapest first.
    """
    k = partition.n_modules
    targets = k + (k < space.most)
    steps = rng.permutation(len(space.units) * targets)
    if cost is not None:
        known = cost[space.units, :targets].ravel()
        steps = steps[np.argsort(known[steps], kind="stable")]
    for step in steps:
        unit, target = space.units[step // targets], step % targets
        own = partition.labels[unit]
        alone = partition.sizes[own] == 1
        if target == own or (alone and (target == k or k == space.least)):
            continue
        labels = partition.labels.copy()
        labels[unit] = target
        yield Partition(labels)


def exchanges(partition: Partition, space: Space, rng: np.random.Generator) -> Iterator[Partition]:
    """All partitions in which two units of different modules have changed places, in random
    order."""
    labels = partition.labels
    first, second = np.triu_indices(len(space.units), 1)
    apart = labels[space.units[first]] != labels[space.units[second]]
    pairs = np.column_stack([space.units[first], space.units[second]])[apart]
    for pair in rng.permutation(pairs):
        changed = labels.copy()
        changed[pair] = labels[pair[::-1]]
        yield Partition(changed)


def distances(partitions: Sequence[Partition]) -> np.ndarray:
    """`(P, P)` units outside the largest overlaps of each module of one with the modules of the
    other, or the other way round, whichever are more; units unused in the first left out.

    Examples:
        >>> distances([Partition([0, 0, 1, 1]), Partition([1, 1, 1, 0])]).tolist()
        [[0, 1], [1, 0]]
    """
    labels = np.array([p.labels for p in partitions])
    labels = labels[:, labels[0] >= 0]
    count, k = len(labels), int(labels.max(initial=0)) + 1
    member = (labels[:, None] == np.arange(k)[:, None]).reshape(count * k, -1).astype(np.float32)
    overlap = (member @ member.T).reshape(count, k, count, k)
    kept = np.minimum(overlap.max(3).sum(1), overlap.max(1).sum(2))
    return (labels.shape[1] - kept).astype(np.int64)
