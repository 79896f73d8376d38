"""Consensus: one partition out of the many that different seeds find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from infoflow.agreements import element_similarity
from infoflow.clustering.find import find_modules
from infoflow.clustering.q import modularity
from infoflow.partition import Partition
from infoflow.saving import Saved


@dataclass(frozen=True, eq=False)
class Consensus(Saved):
    """What the searches of several seeds agree on.

    Attributes:
        partition: The consensus partition.
        q: Its Q under the matrix.
        best_q: The best Q of any single search.
        together: `(n, n)` share of searches that put two units in one module; nan for unused.
        similarity: Mean element-centric similarity of the searches' partitions in pairs: 1 when
            every seed finds the same.
        rounds: Rounds until all searches agreed.
    """

    partition: Partition
    q: float
    best_q: float
    together: np.ndarray
    similarity: float
    rounds: int

    def __repr__(self) -> str:
        return (
            f"Consensus(q={self.q:.4f} (best {self.best_q:.4f}), {self.partition.n_modules} "
            f"modules, similarity={self.similarity:.3f}, {self.rounds} rounds)"
        )


def consensus(S: Any, *, n_seeds: int = 20, seed: int = 0, **options: Any) -> Consensus:
    """Partition on which many seeds agree (Lancichinetti & Fortunato 2012).

    S is searched with `n_seeds` seeds; the share of searches that put two units together is itself
    searched as a similarity, and so on until all searches give one partition. Of most use with
    the stochastic `method="lange2022"`.

    Args:
        S: `(n, n)` symmetric similarities.
        n_seeds: Searches in each round.
        seed: First of the seeds.
        options: Of `find_modules`.

    Raises:
        ValueError: A bad matrix or option, or fewer than two seeds.

    Examples:
        >>> S = np.kron(np.eye(2), np.ones((4, 4))) + 0.1
        >>> consensus(S, n_seeds=5)
        Consensus(q=0.3919 (best 0.3919), 2 modules, similarity=1.000, 1 rounds)
    """
    if n_seeds < 2:
        raise ValueError(f"n_seeds: expected at least 2, got {n_seeds}")
    seeds = range(seed, seed + n_seeds)
    first = [find_modules(S, seed=s, **options) for s in seeds]
    partitions = [found.partition for found in first]
    unused = partitions[0].unused
    labels = [p.labels[~unused] for p in partitions]
    pairs = [(a, b) for i, a in enumerate(labels) for b in labels[:i]]
    similarity = float(np.mean([element_similarity(a, b) for a, b in pairs]))
    shares = _together(partitions)
    together = np.where(unused[:, None] | unused, np.nan, shares)
    rounds = 1
    while len(set(partitions)) > 1 and rounds < 50:
        partitions = [find_modules(shares, seed=s).partition for s in seeds]
        # a unit that shares its module with no other has no similarity left: it stands alone
        partitions = [_alone_again(p, unused) for p in partitions]
        shares = _together(partitions)
        rounds += 1
    agreed = max(partitions, key=lambda p: modularity(S, p))
    q = modularity(S, agreed, **{k: options[k] for k in ("resolution", "null") if k in options})
    return Consensus(agreed, q, max(f.q for f in first), together, similarity, rounds)


def _together(partitions: list[Partition]) -> np.ndarray:
    labels = np.array([p.labels for p in partitions])
    same = (labels[:, :, None] == labels[:, None, :]) & (labels[:, :, None] >= 0)
    return same.mean(axis=0)


def _alone_again(partition: Partition, unused: np.ndarray) -> Partition:
    labels = partition.labels.copy()
    lone = np.flatnonzero((labels < 0) & ~unused)
    labels[lone] = labels.max(initial=-1) + 1 + np.arange(len(lone))
    return Partition(labels)
