"""Soft modules: assignments between 0 and 1 that raise Q by gradient ascent (an experiment)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from infoflow.clustering.matrix import Null, modularity_matrix
from infoflow.partition import Partition


@dataclass(frozen=True, eq=False)
class SoftModules:
    """A soft assignment of units to modules.

    Attributes:
        assignment: `(n, n_modules)`, rows sum to 1; rows of unused units are nan.
        q: Q of the assignment (eq. 6, soft P).
        partition: Each unit in its largest module.
        q_hard: Q of that partition.
        trace: `(n_steps,)` Q before each step.
    """

    assignment: np.ndarray
    q: float
    partition: Partition
    q_hard: float
    trace: np.ndarray

    def __repr__(self) -> str:
        return (
            f"SoftModules(q={self.q:.4f}, {self.assignment.shape[1]} modules, "
            f"q_hard={self.q_hard:.4f})"
        )


def soft_modules(
    S: Any,
    n_modules: int,
    *,
    n_steps: int = 500,
    rate: float = 0.3,
    seed: int = 0,
    resolution: float = 1.0,
    null: Null | np.ndarray = "degree",
) -> SoftModules:
    """Raise Q(P) = Tr(PᵀBP) over soft P by mirror ascent, P ∝ P exp(η ∂Q/∂P) with ∂Q/∂P = 2BP.

    Lange et al. (2022) expect soft assignments to matter when Q is raised during training and note
    (footnote 4) that a soft P can have the larger Q. As a search over partitions `find_modules` is
    better: this one stops in the nearest local optimum.

    Args:
        S: `(n, n)` symmetric similarities.
        n_modules: Columns of P.
        n_steps: Steps.
        rate: η, in units of one over the gradient's standard deviation.
        seed: Of the random start near the even assignment.
        resolution: See `modularity_matrix`.
        null: See `modularity_matrix`.

    Raises:
        ValueError: A bad matrix, or fewer than one module or step.

    Examples:
        >>> S = np.kron(np.eye(2), np.ones((4, 4))) + 0.1
        >>> found = soft_modules(S, 2)
        >>> found.partition, round(found.q, 3)
        (Partition(8 units in 2 modules of 4, 4), 0.392)
    """
    if n_modules < 1 or n_steps < 1:
        raise ValueError(f"expected at least 1 module and 1 step, got {n_modules} and {n_steps}")
    B = modularity_matrix(S, resolution=resolution, null=null)
    m = len(B.used)
    logits = 0.01 * np.random.default_rng(seed).standard_normal((m, n_modules))
    trace = np.empty(n_steps)
    for step in range(n_steps):
        P = _softmax(logits)
        gradient = 2 * (B.values @ P)
        trace[step] = 0.5 * (P * gradient).sum()
        # what all modules share does not change P; the rest sets the length of the step
        gradient -= gradient.mean(axis=1, keepdims=True)
        logits += rate * gradient / max(float(gradient.std()), 1e-300)
        logits -= logits.max(axis=1, keepdims=True)
    P = _softmax(logits)
    hard = P.argmax(axis=1)
    assignment = np.full((B.n, n_modules), np.nan)
    assignment[B.used] = P
    q = float((P * (B.values @ P)).sum())
    return SoftModules(assignment, q, B.partition(hard), B.q(hard), trace)


def _softmax(logits: np.ndarray) -> np.ndarray:
    P = np.exp(logits - logits.max(axis=1, keepdims=True))
    return P / P.sum(axis=1, keepdims=True)
