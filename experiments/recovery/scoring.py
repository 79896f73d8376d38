"""How an answer is judged: adjusted Rand index and element-centric similarity."""

from __future__ import annotations

import numpy as np

import infoflow as ifl
from infoflow.searching.starts import completed


def score(found: np.ndarray, truth: np.ndarray, unused: np.ndarray) -> tuple[float, float, int]:
    """ARI, element-centric similarity and number of modules, over the units whose module is known.

    Args:
        found: `(n,)` labels; -1, of a unit that was left out, counts as the largest module.
        truth: `(n,)` labels; units of -1 are not scored.
        unused: `(n,)` bool; units that never change are not scored either.

    Examples:
        >>> score(np.array([0, 0, 1, -1, 0]), np.array([4, 4, 2, 4, -1]), np.zeros(5, bool))
        (1.0, 1.0, 2)
        >>> score(np.array([0, 0, 1]), np.array([0, 0, 0]), np.zeros(3, bool))[0]
        0.0
    """
    from sklearn.metrics import adjusted_rand_score

    whole = completed(ifl.Partition(found), ~unused)
    modules = max(whole.n_modules, 1)
    known = (truth >= 0) & ~unused
    labels = whole.labels[known] if whole.n_modules else np.zeros(known.sum(), dtype=int)
    rand = float(adjusted_rand_score(truth[known], labels))
    return rand, float(ifl.agreement(labels, truth[known])), modules
