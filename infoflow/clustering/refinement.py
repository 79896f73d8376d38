"""The default search: iterated local search over modules and units, from many starts."""

from __future__ import annotations

import numpy as np

from infoflow._shapes import Integer, Real, shaped


@shaped
def refine(
    B: Real[np.ndarray, "units units"],
    starts: list[np.ndarray],
    *,
    restarts: int,
    perturbations: int,
    n_modules: int | None = None,
    rng: np.random.Generator,
) -> Integer[np.ndarray, " units"]:
    """The best labels found from the given starts and from `restarts` times every unit alone.

    Each start is settled: units move to their best module in random order, and modules merge,
    until neither raises Q (from single units this is Louvain's method, Blondel et al. 2008, on a
    dense matrix). Then a module is split, two are merged or some units are thrown elsewhere, at
    random; the labels settle again, and stay if Q did not fall (iterated local search).

    Many short searches beat few long ones: on the worst of 64 matrices of trained networks (n = 64)
    10 restarts of 100 perturbations met the best Q known with 65 % of seeds, 20 of 200 with 93 %,
    40 of 50 with 97 %, 60 of 40 with all. Simulated annealing lost to this at equal time on noisy
    blocks of 256 and 1024 units and is not offered.

    Args:
        B: `(m, m)` modularity matrix.
        starts: Label arrays to start from; the answer is never worse than any of them.
        restarts: Starts from single units besides.
        perturbations: Of each start.
        n_modules: Keep exactly so many modules; `starts` must have at least that many.
        rng: Seeds the search.
    """
    from infoflow.clustering import _kernel as kernels

    off = np.array(B, dtype=np.float64)
    np.fill_diagonal(off, 0.0)
    alone = np.arange(len(B))
    best, best_score = alone, -np.inf
    for start in [*starts, *[alone] * restarts]:
        room = min(len(B), 2 * int(start.max()) + 64)  # sums are kept for so many modules at most
        bounds = np.array([1, room] if n_modules is None else [n_modules, n_modules])
        state = rng.integers(2**63, size=1).astype(np.uint64)
        labels, _ = kernels.iterate(off, start, bounds, perturbations, state)
        score = kernels.within(off, labels)
        if score > best_score:
            best, best_score = labels, score
    return best
