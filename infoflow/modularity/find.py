"""find_modules: the partition of a similarity matrix with the largest Q, by a choice of methods."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

from infoflow.modularity.bound import cheap_bound
from infoflow.modularity.matrix import ModularityMatrix, Null, modularity_matrix
from infoflow.modularity.modules import Modules, Trace
from infoflow.modularity.monte_carlo import monte_carlo
from infoflow.modularity.q import PartitionLike, as_partition
from infoflow.modularity.spectral import greedy_spectral

Method = Literal["lange2022", "spectral", "monte_carlo"]


def find_modules(
    S: Any,
    *,
    method: Method = "lange2022",
    seed: int = 0,
    n_steps: int = 5000,
    initial: PartitionLike | None = None,
    resolution: float = 1.0,
    null: Null | np.ndarray = "degree",
) -> Modules:
    """P* = argmax_P Q(P), Q* = Q(P*) (Lange et al. 2022, eq. 7), as well as `method` finds it.

    Args:
        S: `(n, n)` symmetric similarities: array, DataFrame or CPU tensor. The diagonal is
            ignored; units with all-zero rows become unused (-1).
        method: `"lange2022"`: the paper's, spectral splitting then Monte Carlo (algorithm 1).
            `"spectral"`: algorithm 2 alone. `"monte_carlo"`: algorithm 3 alone, from one module.
        seed: Same seed, same answer.
        n_steps: Monte Carlo steps.
        initial: Partition to start from, in place of the spectral one (`"lange2022"`) or of one
            module (`"monte_carlo"`).
        resolution: γ, see `modularity_matrix`.
        null: See `modularity_matrix`.

    Raises:
        ValueError: A bad matrix (see `modularity_matrix`), an unknown method, or an initial
            partition that does not fit.

    Examples:
        >>> S = np.kron(np.eye(3), np.ones((4, 4))) + 0.05
        >>> modules = find_modules(S)
        >>> modules.partition, round(modules.q, 3), round(modules.n_effective, 6)
        (Partition(12 units in 3 modules of 4, 4, 4), 0.554, 3.0)
    """
    if method not in get_args(Method):
        raise ValueError(f"unknown method {method!r}; known: {', '.join(get_args(Method))}")
    B = modularity_matrix(S, resolution=resolution, null=null)
    start = None if initial is None else _initial_labels(initial, B)
    labels, trace = _search(B.values, method, start, n_steps, np.random.default_rng(seed))
    q = B.q(labels)
    bound = max(cheap_bound(B.values), q)
    return Modules(B.partition(labels), q, bound, bound - q <= 1e-9, method, seed, trace)


def _search(
    B: np.ndarray, method: str, start: np.ndarray | None, n_steps: int, rng: np.random.Generator
) -> tuple[np.ndarray, Trace | None]:
    if method == "spectral":
        return greedy_spectral(B), None
    if start is None:
        start = greedy_spectral(B) if method == "lange2022" else np.zeros(len(B), np.int64)
    return monte_carlo(B, start, n_steps=n_steps, rng=rng)


def _initial_labels(initial: PartitionLike, B: ModularityMatrix) -> np.ndarray:
    """Labels of the used units; those that `initial` leaves unused start alone."""
    labels = as_partition(initial, B.n).labels[B.used].copy()
    alone = np.flatnonzero(labels < 0)
    labels[alone] = labels.max(initial=-1) + 1 + np.arange(len(alone))
    return np.unique(labels, return_inverse=True)[1].ravel()
