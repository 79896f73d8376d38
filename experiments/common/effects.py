"""Effects over seeds and over networks, the latter with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from infoflow.study import Estimate, Table


def strong_minus_weak(
    rows: Table, column: str, *, strength: str = "percent", seed: str = "seed", ends: int = 3
) -> Table:
    """Per seed: mean of `column` over its `ends` strongest settings, less that over its weakest.

    Args:
        rows: Of one kind of regularisation; several rows of one setting (layers, measures) are
            averaged first.
        column: What to compare.
        strength, seed: Columns.
        ends: Settings at each end.

    Returns:
        A Series by seed.

    Examples:
        >>> import pandas as pd
        >>> rows = pd.DataFrame({"seed": 0, "percent": range(6), "q_star": [0, 0, 0, 1, 1, 1]})
        >>> strong_minus_weak(rows, "q_star").to_dict()
        {0: 1.0}
    """
    by_setting = rows.groupby([seed, strength])[column].mean().sort_index()
    by_seed = by_setting.groupby(seed)
    return by_seed.apply(lambda s: s.iloc[-ends:].mean() - s.iloc[:ends].mean())


def bootstrap(
    statistic: Callable[..., np.ndarray], *columns: ArrayLike, n: int = 10_000, seed: int = 0
) -> Estimate:
    """A statistic of networks with a 95 % percentile interval over networks drawn anew.

    Args:
        statistic: Takes as many arrays `(..., N)` and gives `(...,)`.
        columns: `(N,)`, one value a network.
        n: Draws.
        seed: Of the draws.

    Raises:
        ValueError: Fewer than two networks.

    Examples:
        >>> found = bootstrap(lambda x: x.mean(-1), np.arange(30.0), n=500)
        >>> found.mean, found.low < 14.5 < found.high
        (14.5, True)
    """
    arrays = [np.asarray(column, dtype=float) for column in columns]
    return interval(statistic(*arrays), statistic(*resampled(*arrays, n=n, seed=seed)))


def resampled(*columns: ArrayLike, n: int = 10_000, seed: int = 0) -> list[np.ndarray]:
    """Each column `(N,)` as `(n, N)`: networks drawn anew with replacement, the same in all.

    Raises:
        ValueError: Fewer than two networks.

    Examples:
        >>> x, y = resampled([1.0, 2.0, 3.0], [2.0, 4.0, 6.0], n=5)
        >>> x.shape, bool((y == 2 * x).all())
        ((5, 3), True)
    """
    arrays = [np.asarray(column, dtype=float) for column in columns]
    count = len(arrays[0])
    if count < 2:
        raise ValueError(f"expected at least two networks, got {count}")
    chosen = np.random.default_rng(seed).integers(count, size=(n, count))
    return [array[chosen] for array in arrays]


def interval(value: ArrayLike, draws: np.ndarray) -> Estimate:
    """A value with the middle 95 % of what it was over resampled networks; draws in which it was
    not defined are left out.

    Examples:
        >>> interval(1.0, np.array([0.0, 1.0, 2.0, np.nan])).high
        1.95
    """
    defined = draws[~np.isnan(draws)]
    low, high = np.quantile(defined, [0.025, 0.975]) if len(defined) else (np.nan, np.nan)
    return Estimate(float(np.asarray(value)), float(low), float(high))


def rank_correlation(x: ArrayLike, y: ArrayLike, given: ArrayLike | None = None) -> np.ndarray:
    """Spearman's ρ along the last axis; with `given`, the partial one,
    (ρ_xy - ρ_xz ρ_yz) / sqrt((1 - ρ_xz²)(1 - ρ_yz²)). Nan where a column is constant.

    Examples:
        >>> float(rank_correlation([1, 2, 3, 4], [1, 4, 9, 16]).round(6))
        1.0
        >>> z, a, b = np.random.default_rng(0).standard_normal((3, 500))
        >>> float(rank_correlation(z + a, z + b).round(1))
        0.5
        >>> bool(abs(rank_correlation(z + a, z + b, given=z)) < 0.1)
        True
    """
    plain = _spearman(x, y)
    if given is None:
        return plain
    first, second = _spearman(x, given), _spearman(y, given)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (plain - first * second) / np.sqrt((1 - first**2) * (1 - second**2))


def _spearman(x: ArrayLike, y: ArrayLike) -> np.ndarray:
    from scipy.stats import rankdata

    ranks = [rankdata(values, axis=-1) for values in (x, y)]
    a, b = (r - r.mean(-1, keepdims=True) for r in ranks)
    with np.errstate(invalid="ignore"):
        return (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
