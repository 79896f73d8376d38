"""Effects with intervals: over seeds (Student's t) and over networks (bootstrap)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from infoflow.study.table import Table


@dataclass(frozen=True)
class Estimate:
    """An estimate and its 95 % interval; nan bounds where there is nothing to take one from."""

    mean: float
    low: float
    high: float

    @property
    def positive(self) -> bool:
        """The whole interval lies above 0."""
        return self.low > 0

    @property
    def negative(self) -> bool:
        """The whole interval lies below 0."""
        return self.high < 0

    def __str__(self) -> str:
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def estimate(values: Table) -> Estimate:
    """Mean over seeds with a 95 % interval, mean ± t s / sqrt(n) (Student's t, n - 1).

    Args:
        values: A Series, one value a seed; nan is left out.

    Examples:
        >>> import pandas as pd
        >>> str(estimate(pd.Series([1.0, 2.0, 3.0])))
        '+2.000 [-0.484, +4.484]'
    """
    from scipy.stats import t

    values = values.dropna()
    n = len(values)
    if n < 2:
        return Estimate(float(values.mean()), float("nan"), float("nan"))
    half = float(t.ppf(0.975, n - 1) * values.std() / np.sqrt(n))
    mean = float(values.mean())
    return Estimate(mean, mean - half, mean + half)


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
    rows: Table, statistic: Callable[[Table], float], *, n: int = 10_000, seed: int = 0
) -> Estimate:
    """A statistic of networks with a 95 % percentile interval over networks drawn anew.

    Args:
        rows: One row a network.
        statistic: Of such rows.
        n: Draws.
        seed: Of the draws.

    Raises:
        ValueError: Fewer than two networks.

    Examples:
        >>> import pandas as pd
        >>> rows = pd.DataFrame({"x": np.arange(30.0)})
        >>> found = bootstrap(rows, lambda some: some["x"].mean(), n=200)
        >>> found.mean, found.low < 14.5 < found.high
        (14.5, True)
    """
    if len(rows) < 2:
        raise ValueError(f"expected at least two networks, got {len(rows)}")
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(rows), size=(n, len(rows)))
    values = [statistic(rows.iloc[drawn]) for drawn in draws]
    low, high = np.nanquantile(values, [0.025, 0.975])
    return Estimate(float(statistic(rows)), float(low), float(high))


def rank_correlation(x: Table, y: Table, given: Table | None = None) -> float:
    """Spearman's ρ of two columns; with `given`, the partial one: what remains of it when the
    ranks of both are cleared of their linear part in those of `given`.

    Examples:
        >>> import pandas as pd
        >>> x = pd.Series([1.0, 2.0, 3.0, 4.0, 5.0])
        >>> round(rank_correlation(x, x**2), 6)
        1.0
        >>> z, a, b = np.random.default_rng(0).standard_normal((3, 500))
        >>> columns = pd.DataFrame({"x": z + a, "y": z + b, "z": z})
        >>> round(rank_correlation(columns["x"], columns["y"]), 1)
        0.5
        >>> abs(rank_correlation(columns["x"], columns["y"], given=columns["z"])) < 0.1
        True
    """
    ranks = [np.asarray(values.rank(), dtype=float) for values in (x, y)]
    if given is not None:
        design = np.column_stack([np.ones(len(given)), np.asarray(given.rank(), dtype=float)])
        ranks = [r - design @ np.linalg.lstsq(design, r, rcond=None)[0] for r in ranks]
    a, b = (r - r.mean() for r in ranks)
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 1e-9 * len(a) else float("nan")
