"""Lines over a setting, one a group of networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infoflow.plot.ink import MARKERS, axes, module_color


def against(
    rows: Any,
    x: str,
    y: str,
    *,
    by: str,
    styles: Mapping[Any, Mapping[str, Any]] | None = None,
    baseline: Any = None,
    ax: Any = None,
) -> Any:
    """Mean ± standard error of `y` at each `x`, one line for each value of `by`.

    Args:
        rows: A DataFrame, one row a network, or several (layers, measures).
        x, y: Columns: a setting, and what was measured.
        by: Column whose values get a line each.
        styles: Of each line, in matplotlib's words; only these are drawn. None: all.
        baseline: A Series, values of `y` in networks to compare with (untrained, say): gray bands
            of ±1, 2, 3 standard deviations.
        ax: Where to draw.

    Examples:
        >>> import pandas as pd
        >>> rows = pd.DataFrame({"kind": "l2", "percent": [0, 0, 9, 9], "q": [0.1, 0.2, 0.3, 0.4]})
        >>> ax = against(rows, "percent", "q", by="kind")
        >>> [round(float(q), 2) for q in ax.containers[0].lines[0].get_ydata()]
        [0.15, 0.35]
    """
    ax = axes(ax, (4.0, 3.0))
    if styles is None:
        names = list(dict.fromkeys(rows[by]))
        styles = {
            name: {"color": module_color(n), "marker": MARKERS[n % len(MARKERS)]}
            for n, name in enumerate(names)
        }
    if baseline is not None and len(baseline) > 1:
        mean, spread = baseline.mean(), baseline.std()
        for times in (3, 2, 1):
            ax.axhspan(mean - times * spread, mean + times * spread, color="0.5", alpha=0.15, lw=0)
    for name, style in styles.items():
        of_x = rows[rows[by] == name].groupby(x)[y]
        mean = of_x.mean()
        options: Any = {"label": str(name), "lw": 1.2, "ms": 3, "marker": "o", **style}
        ax.errorbar(mean.index, mean, of_x.sem(), **options)
    return ax
