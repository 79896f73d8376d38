"""Nested modules: modules inside modules by Q, as deep as chance does not explain."""

from __future__ import annotations

from typing import Any

import numpy as np

from infoflow.clustering.find import find_modules
from infoflow.clustering.significances import Shuffle, significance
from infoflow.module_tree import Division, ModuleTree, grown


def nested_modules(
    S: Any,
    *,
    alpha: float = 0.05,
    min_size: int = 4,
    max_depth: int = 10,
    shuffle: Shuffle = "weights",
    n_null: int = 99,
    seed: int = 0,
    **options: Any,
) -> ModuleTree:
    """Divide each module's own submatrix again, while its Q* is significant.

    Q of the whole cannot see small modules (its resolution limit, Fortunato & Barthélemy 2007);
    the submatrix of a module, with its own null, can.

    Args:
        S: `(n, n)` symmetric similarities.
        alpha: A module divides if p is at most this.
        min_size: Smaller modules are not divided.
        max_depth: Nor are those this deep.
        shuffle: Random matrices to compare with, see `significance`.
        n_null: Number of them, at each module.
        seed: Of searches and shuffles.
        options: Of `find_modules`.

    Raises:
        ValueError: A bad matrix or option, or too few random matrices to ever reach `alpha`.

    Examples:
        >>> inner = np.kron(np.eye(2), np.ones((6, 6)))
        >>> S = np.kron(np.eye(2), inner + 2) + 0.02 * np.arange(24) / 24
        >>> print(nested_modules(S + S.T, n_null=19))
        24 units: Q* 0.496, p = 0.05
        ├─ 12 units: Q* 0.0554, p = 0.05
        │  ├─ 6 units: no significant division (p = 1)
        │  └─ 6 units: no significant division (p = 1)
        └─ 12 units: Q* 0.055, p = 0.05
           ├─ 6 units: no significant division (p = 1)
           └─ 6 units: no significant division (p = 1)
    """
    if 1 / (1 + n_null) > alpha:
        raise ValueError(
            f"{n_null} random matrices give p of at least {1 / (1 + n_null):.3g}, above "
            f"alpha={alpha}; use n_null of at least {int(np.ceil(1 / alpha)) - 1}"
        )
    matrix = np.array(S, dtype=np.float64)
    top = find_modules(matrix, seed=seed, **options)  # checks the matrix and finds unused units

    def divide(units: np.ndarray) -> Division | str:
        block = matrix[np.ix_(units, units)]
        if not block[~np.eye(len(units), dtype=bool)].any():
            return "no unit is similar to another"
        tested = significance(block, shuffle=shuffle, n_null=n_null, seed=seed, **options)
        found = find_modules(block, seed=seed, **options).partition
        inside = [*found.modules, *np.flatnonzero(found.unused)[:, None]]
        return Division([units[module] for module in inside], tested.observed, tested.p_value)

    return grown(
        divide,
        np.flatnonzero(~top.partition.unused),
        len(matrix),
        quantity="Q*",
        alpha=alpha,
        min_size=min_size,
        max_depth=max_depth,
    )
