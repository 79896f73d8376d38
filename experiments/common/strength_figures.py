"""Figures of a quantity against the strength of regularisation (figures 3, S3, S4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.common.matrix_text import decode_matrix
from experiments.common.style import (
    Columns,
    Family,
    families_of,
    frame,
    hide_rest,
    layout_of,
    new_figure,
    styled,
)
from infoflow.plot import against, similarity_matrix
from infoflow.study import Table, decode


def against_strength(
    rows: Table,
    column: str,
    *,
    label: str,
    panel: str = "measure",
    layout: Sequence[Sequence[str]] | None = None,
    families: Sequence[Family] | None = None,
    columns: Columns | None = None,
    axis: str = "% regularisation",
    share_y: bool = True,
    figure: Any = None,
) -> Any:
    """A quantity against the strength of regularisation, one panel a similarity measure.

    Mean ± standard error of each family over seeds (and whatever else the rows differ in), on
    gray bands of ±1, 2, 3 standard deviations of the untrained networks.

    Args:
        rows: One row a network and panel, or several.
        column: What is drawn.
        label: Of the vertical axis.
        panel: Column whose values get a panel each.
        layout: Lines of these values; None: the paper's 2 x 4 of the measures present.
        families: What is drawn of the trained networks; None: all kinds.
        columns: Names of the other columns.
        axis: Label of the horizontal axis.
        share_y: The same vertical axis in all panels.
        figure: A figure or subfigure to draw in.

    Returns:
        The matplotlib figure.

    Raises:
        ImportError: matplotlib is not installed.

    Examples:
        >>> import pandas as pd
        >>> rows = pd.DataFrame({"measure": "cov", "family": "l2", "percent": [0, 0, 9, 9],
        ...     "trained": True, "q_star": [0.1, 0.2, 0.3, 0.4]})
        >>> len(against_strength(rows, "q_star", label="Q*").axes)
        1
    """
    columns = columns or Columns()
    layout = layout_of(rows[panel]) if layout is None else layout
    families = families_of(rows, columns) if families is None else families
    styles = {f.name: {"color": f.color, "label": f.label} for f in families}
    width = max(map(len, layout))
    with styled():
        figure = new_figure((2.5 * width, 2.4 * len(layout))) if figure is None else figure
        axes = figure.subplots(len(layout), width, sharex=True, sharey=share_y, squeeze=False)
        for names, line in zip(layout, axes, strict=True):
            for name, ax in zip(names, line, strict=False):
                frame(ax, name)
                some = rows[rows[panel] == name]
                untrained = some.loc[~some[columns.trained], column]
                by = columns.family
                against(
                    some, columns.strength, column, by=by, styles=styles, baseline=untrained, ax=ax
                )
        hide_rest(axes, layout)
        for ax in axes[:, 0]:
            ax.set_ylabel(label)
        for ax in axes[-1]:
            ax.set_xlabel(axis)
        if families:
            axes[0, 0].legend(fontsize=6, frameon=False, loc="upper left")
    return figure


def matrices(
    rows: Table, titles: Sequence[str], *, places: int | None = None, figure: Any = None
) -> Any:
    """Similarity matrices sorted by module, side by side (the top of figure 3).

    Args:
        rows: With `partition` and `matrix` as text, as `measure_modularity(keep=...)` gives them.
        titles: Above each.
        places: At least so many places; the rest stays empty.
        figure: A figure or subfigure to draw in.

    Returns:
        The matplotlib figure.
    """
    count = max(len(rows), places or 1)
    with styled():
        figure = new_figure((2.5 * count, 2.6)) if figure is None else figure
        axes = figure.subplots(1, count, squeeze=False)[0]
        for ax in axes:
            ax.axis("off")
        for ax, title, (_, row) in zip(axes, titles, rows.iterrows(), strict=False):
            ax.axis("on")
            S = decode_matrix(row["matrix"])
            similarity_matrix(S, decode(row["partition"]), ax=ax, title=title)
    return figure
