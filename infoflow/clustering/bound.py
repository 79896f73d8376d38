"""Upper bounds on Q: how much better than the best partition found could any be?"""

from __future__ import annotations

import numpy as np

from infoflow._shapes import Real, shaped

_DENSE = 1024  # above this the eigenvalue takes longer than the search it would judge


@shaped
def cheap_bound(B: Real[np.ndarray, "units units"]) -> float:
    """An upper bound on Q over all partitions, in O(m²) to O(m³).

    The least of three: 1; the sum of all positive pairs, as if each could be inside a module and no
    negative one were; and m λ_max(B), since Q = Σ_c x_cᵀBx_c over disjoint indicator vectors x_c
    whose squared lengths sum to m (left out above 1024 units).

    Args:
        B: `(m, m)` modularity matrix.

    Examples:
        >>> from infoflow.clustering import modularity_matrix
        >>> B = modularity_matrix(np.kron(np.eye(2), np.ones((2, 2)))).values
        >>> round(cheap_bound(B), 9)
        0.5
    """
    diagonal = float(np.trace(B))
    blocks = (np.clip(B[i : i + 256], 0, None).sum() for i in range(0, len(B), 256))
    positive = float(sum(blocks) - np.clip(np.diag(B), 0, None).sum()) + diagonal
    bounds = [1.0, positive]
    if len(B) <= _DENSE:
        from scipy.linalg import eigh

        top = eigh(B, eigvals_only=True, subset_by_index=[len(B) - 1, len(B) - 1])
        bounds.append(len(B) * float(top[0]) + 1e-12)  # the solver's rounding
    return min(bounds)
