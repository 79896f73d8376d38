"""Is Q* larger than that of random matrices of the same kind? Modules inside modules, as long as it
is."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

from infoflow.clustering.find import find_modules
from infoflow.measured import Null
from infoflow.module_tree import Division, ModuleTree, grown
from infoflow.units import UnknownName, unknown_name

Shuffle = Literal["weights", "rewired"]


def significance(
    S: Any,
    *,
    shuffle: Shuffle = "weights",
    n_null: int = 99,
    seed: int = 0,
    **options: Any,
) -> Null:
    """Compare Q* with the Q* of random matrices, found with the same options.

    Any matrix has Q* > 0: a random one of 64 units about .05.

    Args:
        S: `(n, n)` symmetric similarities, at least 0.
        shuffle: `"weights"`: the similarities of the used units change pairs at random; which
            values occur stays, how similar each unit is to the rest does not. `"rewired"`:
            similarity moves around random 4-cycles; every unit's total stays exactly, as does the
            largest value allowed, the distribution of values does not.
        n_null: Random matrices.
        seed: Of the shuffles and of every search.
        options: Of `find_modules`.

    Raises:
        ValueError: A bad matrix or option.

    Examples:
        >>> S = np.kron(np.eye(3), np.ones((5, 5))) + np.linspace(0, 0.1, 15 * 15).reshape(15, 15)
        >>> significance(S + S.T, n_null=19).p_value
        0.05
    """
    if shuffle not in get_args(Shuffle):
        raise UnknownName(unknown_name("shuffle", shuffle, get_args(Shuffle)))
    if n_null < 1:
        raise ValueError(f"n_null: expected at least 1, got {n_null}")
    found = find_modules(S, seed=seed, **options)
    used = np.flatnonzero(~found.partition.unused)
    values = np.array(np.asarray(S, dtype=np.float64)[np.ix_(used, used)])
    np.fill_diagonal(values, 0.0)
    rng = np.random.default_rng(seed)
    make = shuffle_weights if shuffle == "weights" else rewire
    null = np.array(
        [find_modules(make(values, rng), seed=seed, **options).q for _ in range(n_null)]
    )
    return Null(found.q, null, what=f"Q*, shuffle={shuffle!r}")


def shuffle_weights(S: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A symmetric matrix with the same off-diagonal values on random pairs; zero diagonal."""
    upper = np.triu_indices(len(S), 1)
    shuffled = np.zeros(np.shape(S))
    shuffled[upper] = rng.permutation(S[upper])
    return shuffled + shuffled.T


def rewire(S: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random symmetric matrix with the same row sums, entries between 0 and the largest of S,
    by five moves for each pair of units.

    Raises:
        ValueError: A negative entry.
    """
    from infoflow.clustering import _kernel_nulls as kernels

    if S.min(initial=0.0) < 0:
        raise ValueError("shuffle='rewired' expects similarities of at least 0; use 'weights'")
    n = len(S)
    moves = int(5.0 * n * (n - 1) / 2)
    units = rng.integers(n, size=(moves, 4))
    return kernels.rewire(np.array(S), float(S.max()), units, rng.random(moves))


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
