"""Transfer and alignment: how well one measure's modules divide another measure's matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from infoflow.clustering.modules import Modules
from infoflow.clustering.q import modularity
from infoflow.partition import Partition


def transfer(S: Any, partition: Modules | Partition | np.ndarray, **options: Any) -> float:
    """Q of one measure's matrix under a partition found from another (eq. 6).

    Args:
        S: `(n, n)` similarities.
        partition: Modules found elsewhere. Units it leaves unused are left out of S.
        options: `resolution`, `null`, as in `modularity`.

    Examples:
        >>> from infoflow.clustering import find_modules
        >>> pairs = np.kron(np.eye(2), np.ones((2, 2)))
        >>> other = np.kron(np.ones((2, 2)), np.eye(2))  # joins units 0, 2 and 1, 3
        >>> transfer(other, find_modules(pairs)), transfer(other, find_modules(other))
        (-0.5, 0.5)
    """
    plain = partition.partition if isinstance(partition, Modules) else partition
    return modularity(S, plain, **options)


@dataclass(frozen=True)
class Alignment:
    """How well two measures' modules serve each other's matrix, beside shuffled labels.

    Attributes:
        score: Mean of Q_A(P_B)/Q_A(P_A) and Q_B(P_A)/Q_B(P_B); 1 when each partition is as good
            for the other matrix as that matrix's own.
        null_mean: Mean score with the labels shuffled over the units.
        null_sd: Its standard deviation.
        p_value: Share of shuffles that score at least as high, with the +1 correction.
    """

    score: float
    null_mean: float
    null_sd: float
    p_value: float


def alignment(
    S_a: Any, modules_a: Modules, S_b: Any, modules_b: Modules, *, n_null: int = 200, seed: int = 0
) -> Alignment:
    """The alignment score of two measures on the same units, with its shuffled null.

    Args:
        S_a: `(n, n)` similarities of the first measure.
        modules_a: Its modules.
        S_b: `(n, n)` similarities of the second.
        modules_b: Its modules.
        n_null: Shuffles: module sizes stay, the borrowed labels move between units.
        seed: Of the shuffles.

    Raises:
        ValueError: No unit is used in both, a Q* is not positive, or `n_null` is below 1.

    Examples:
        >>> from infoflow.clustering import find_modules
        >>> S = np.kron(np.eye(3), np.ones((4, 4))) + 0.05
        >>> result = alignment(S, find_modules(S), 2 * S, find_modules(2 * S))
        >>> round(result.score, 9), result.p_value < 0.01
        (1.0, True)
    """
    if n_null < 1:
        raise ValueError(f"n_null: expected at least 1 shuffle, got {n_null}")
    both = np.flatnonzero(~modules_a.partition.unused & ~modules_b.partition.unused)
    if len(both) < 2:
        raise ValueError(f"expected at least 2 units used in both measures, got {len(both)}")
    matrices = [np.asarray(S)[np.ix_(both, both)] for S in (S_a, S_b)]
    labels = [found.partition.labels[both] for found in (modules_a, modules_b)]
    own = [modularity(S, label) for S, label in zip(matrices, labels, strict=True)]
    if min(own) <= 0:
        raise ValueError(f"expected modules with positive Q, got {own[0]:.4g} and {own[1]:.4g}")

    def score(borrowed_by_a: np.ndarray, borrowed_by_b: np.ndarray) -> float:
        q_a, q_b = modularity(matrices[0], borrowed_by_a), modularity(matrices[1], borrowed_by_b)
        return (q_a / own[0] + q_b / own[1]) / 2

    rng = np.random.default_rng(seed)
    found = score(labels[1], labels[0])
    null = np.array(
        [score(rng.permutation(labels[1]), rng.permutation(labels[0])) for _ in range(n_null)]
    )
    p_value = (1 + int((null >= found - 1e-12).sum())) / (1 + n_null)
    return Alignment(
        found, float(null.mean()), float(null.std(ddof=1 if n_null > 1 else 0)), p_value
    )
