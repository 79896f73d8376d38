"""find_modules: the partition of a similarity matrix with the largest Q, by a choice of methods."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

from infoflow._arguments import door, one_of, real, whole
from infoflow._warnings import warn
from infoflow.clustering.certificate import PROVEN, certify, cheap_bound
from infoflow.clustering.methods import greedy_spectral, monte_carlo, refine
from infoflow.clustering.modules import Modules, Trace
from infoflow.clustering.q import ModularityMatrix, NullModel, modularity_matrix
from infoflow.clustering.sparse import is_sparse, sparse_modules
from infoflow.partition import PartitionLike, as_partition

Method = Literal["default", "lange2022", "spectral", "monte_carlo"]


@door(
    method=one_of(get_args(Method)),
    n_steps=whole(0, 10**9),
    n_modules=whole(1, none=True),
    restarts=whole(0, 10**5, none=True),
    perturbations=whole(0, 10**6, none=True),
    proof_seconds=real(0),
)
def find_modules(
    S: Any,
    *,
    method: Method = "default",
    seed: int = 0,
    n_steps: int = 5000,
    initial: PartitionLike | None = None,
    n_modules: int | None = None,
    restarts: int | None = None,
    perturbations: int | None = None,
    proof_seconds: float = 0.0,
    resolution: float = 1.0,
    null: NullModel | np.ndarray = "degree",
) -> Modules:
    """P* = argmax_P Q(P), Q* = Q(P*) (Lange et al. 2022, eq. 7), as well as `method` finds it.

    Args:
        S: `(n, n)` symmetric similarities: array, DataFrame or CPU tensor. The diagonal is
            ignored; units with all-zero rows become unused (-1). A SciPy sparse matrix, or
            `SparseSimilarity`, is searched without a matrix of all pairs (`sparse_modules`).
        method: `"default"`: iterated local search (`refine`) from the paper's answer and from
            single units; never worse than the paper's with the same seed and steps.
            `"lange2022"`: the paper's, spectral splitting then Monte Carlo (algorithm 1).
            `"spectral"`: algorithm 2 alone. `"monte_carlo"`: algorithm 3 alone, from one module.
        seed: Same seed, same answer.
        n_steps: Monte Carlo steps.
        initial: Partition to start from. `"default"` takes it beside its own starts and is never
            worse than it (left out if it has fewer than `n_modules`); `"lange2022"` in place of
            the spectral split, `"monte_carlo"` in place of one module.
        n_modules: Exactly so many modules (`"default"` only); None lets Q decide.
        restarts: Starts of `"default"` from single units; None: 60 up to 256 units, 4 up to 1024,
            none above.
        perturbations: Of each start of `"default"`; None: 40 up to 256 units, 1000 up to
            1024, 50 above.
        proof_seconds: Time to spend on proving that nothing is better (`certify`; needs highspy,
            `pip install "infoflow[exact]"`). At 0, or without highspy, `upper_bound` is the cheap
            one: the least of 1, the sum of positive pairs and the leading eigenvalue times n.
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
    if n_modules is not None and method != "default":
        raise ValueError(f"n_modules: only method='default' keeps a number, got method={method!r}")
    if is_sparse(S):
        if method != "default" or initial is not None or n_modules is not None or null != "degree":
            raise ValueError(
                "of a sparse graph expected method='default' and null='degree', without initial "
                "and n_modules: give S.toarray() for these, up to some thousand units"
            )
        effort = {"restarts": restarts, "perturbations": perturbations}
        return sparse_modules(S, seed=seed, resolution=resolution, **effort)
    B = modularity_matrix(S, resolution=resolution, null=null)
    start = None if initial is None else _initial_labels(initial, B)
    rng = np.random.default_rng(seed)
    trace = None
    if method == "default":
        effort = _effort(len(B.used), restarts, perturbations)
        labels = _default(B.values, start, n_modules, n_steps, effort, rng)
    elif method == "spectral":
        labels = greedy_spectral(B.values)
    else:
        labels, trace = _lange2022(B.values, start, n_steps, rng, split=method == "lange2022")
    labels, bound = _bound(B.values, labels, proof_seconds)
    q = B.q(labels)
    bound = max(bound, q)  # a proof's rounding may end just under it
    return Modules(B.partition(labels), q, bound, bound - q <= PROVEN, method, seed, trace)


def _bound(B: np.ndarray, labels: np.ndarray, seconds: float) -> tuple[np.ndarray, float]:
    """The labels, or better ones that the proof met, and an upper bound on Q."""
    if seconds <= 0:
        return labels, cheap_bound(B)
    try:
        return certify(B, labels, seconds=seconds)
    except ImportError:
        warn(
            "highspy is not installed, so upper_bound is a cheap one; for a proof: "
            'pip install "infoflow[exact]"',
            UserWarning,
        )
        return labels, cheap_bound(B)


def _lange2022(
    B: np.ndarray,
    start: np.ndarray | None,
    n_steps: int,
    rng: np.random.Generator,
    *,
    split: bool,
) -> tuple[np.ndarray, Trace]:
    """Algorithm 1, or (without `split`) algorithm 3 from one module."""
    if start is None:
        start = greedy_spectral(B) if split else np.zeros(len(B), np.int64)
    return monte_carlo(B, start, n_steps=n_steps, rng=rng)


def _default(
    B: np.ndarray,
    start: np.ndarray | None,
    n_modules: int | None,
    n_steps: int,
    effort: tuple[int, int],
    rng: np.random.Generator,
) -> np.ndarray:
    m = len(B)
    starts = [] if start is None else [start]
    if n_modules is None:  # first, with the same draws: never worse than "lange2022" of this seed
        starts.append(_lange2022(B, None, n_steps, rng, split=True)[0])
    elif not 1 <= n_modules <= m:
        raise ValueError(f"n_modules: expected 1 to {m} (the units in use), got {n_modules}")
    else:
        starts = [s for s in starts if s.max() + 1 >= n_modules]
        starts.append(rng.permutation(np.arange(m) % n_modules))
    restarts, perturbations = effort
    return refine(
        B, starts, restarts=restarts, perturbations=perturbations, n_modules=n_modules, rng=rng
    )


def _effort(m: int, restarts: int | None, perturbations: int | None) -> tuple[int, int]:
    """Restarts and perturbations: full for a layer, thinned so that thousands of units stay cheap.

    A start from single units costs O(m²) memory and time; above 1024 the spectral start, settled,
    was already better than it.
    """
    usual = (60, 40) if m <= 256 else (4, 1000) if m <= 1024 else (0, 50)
    return (
        usual[0] if restarts is None else restarts,
        usual[1] if perturbations is None else perturbations,
    )


def _initial_labels(initial: PartitionLike, B: ModularityMatrix) -> np.ndarray:
    """Labels of the used units; those that `initial` leaves unused start alone."""
    labels = as_partition(initial, B.n).labels[B.used].copy()
    alone = np.flatnonzero(labels < 0)
    labels[alone] = labels.max(initial=-1) + 1 + np.arange(len(alone))
    return np.unique(labels, return_inverse=True)[1].ravel()
