"""The tables of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from infoflow.comparing import CAUSAL, KINDS, Comparison
from infoflow.reporting.sentences import References, score_verdict

if TYPE_CHECKING:
    import pandas as pd


def report_tables(
    comparison: Comparison, references: References | None = None
) -> dict[str, pd.DataFrame]:
    """The tables of the report by name, rounded by the reader's eye only when shown."""
    layers = comparison.layers
    q_star = layers.pivot(index="measure", columns="layer", values="q_star")
    effective = layers.pivot(index="measure", columns="layer", values="n_effective")
    order = [m for m in comparison.similarities if m in q_star.index]
    columns = list(dict.fromkeys(layers["layer"]))
    by_measure = q_star.loc[order, columns].add_prefix("Q* ")
    by_measure = by_measure.join(effective.loc[order, columns].add_prefix("effective modules "))
    by_layer = _by_layer(comparison)
    sent = comparison.layer_to_layer
    return {
        "partitions": _partitions(comparison, references or {}),
        "by_measure": by_measure,
        "weightings": _wide(comparison.weightings, "weighting", "value"),
        "q_under": _wide(comparison.q, "measure", "q"),
        "correlations": _by_kind(comparison),
        **({} if by_layer.empty else {"by_layer": by_layer}),
        "layer_to_layer": sent.loc[sent["source"] == CAUSAL].set_index(["from", "to"]).iloc[:, 1:],
        "flow": comparison.search.exchange.to_frame().set_index(["source", "target"]),
    }


def _partitions(comparison: Comparison, references: References) -> pd.DataFrame:
    """What there is of each partition, the verdict beside its score; the search's own row is also
    compared with the references."""
    table = comparison.partitions.drop(columns=["origin", "measure", "k", "method"])
    said = [
        score_verdict(row, references if name == CAUSAL else {})
        for name, row in zip(table.index, table.to_dict("records"), strict=True)
    ]
    rank = [
        ("search", "given").index(o) if o in ("search", "given") else 2
        for o in comparison.partitions["origin"]
    ]
    first = ["n_modules", "bits_given_context", "score", "verdict", "p_same_size"]
    table = table.assign(verdict=said)
    table = table.iloc[np.argsort(rank, kind="stable")]
    return table[[*first, *(c for c in table if c not in first)]]


def _wide(table: pd.DataFrame, columns: str, values: str) -> pd.DataFrame:
    """One row a partition, both ways in the order of the table."""
    wide = table.pivot(index="source", columns=columns, values=values)
    return wide.loc[list(dict.fromkeys(table["source"])), list(dict.fromkeys(table[columns]))]


def _by_kind(comparison: Comparison) -> pd.DataFrame:
    """Spearman's correlation of every predictor with its interval, over all partitions and over
    each kind."""
    table = comparison.correlations
    table = table.loc[(table["scope"] == "together") & (table["quantity"] == "weighted")]
    return _interval_table(table.assign(column=table["kind"]), ["all", *KINDS])


def _by_layer(comparison: Comparison) -> pd.DataFrame:
    """The same layer by layer."""
    table = comparison.correlations
    table = table.loc[table["scope"] != "together"]
    between = table["layer"] + "→" + table["to"]
    table = table.assign(column=between.where(table["scope"] == "between", table["layer"]))
    return _interval_table(table, list(dict.fromkeys(table["column"])))


def _interval_table(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    text = table.assign(text=[_interval(row) for row in table.to_dict("records")])
    wide = text.pivot(index="predictor", columns="column", values="text")
    return wide.reindex(index=list(dict.fromkeys(table["predictor"])), columns=columns)


def _interval(row: Mapping[Any, Any]) -> str:
    if not np.isfinite(row["spearman"]):
        return "–"
    return f"{row['spearman']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


def shown(table: pd.DataFrame) -> dict[str, Any]:
    """A table as the page shows it: `columns`, how many of them are the index, and `rows` of
    (text, value), the value with all its digits where it is a number."""
    flat = table.reset_index()
    values = [[_cell(value) for value in row] for row in flat.itertuples(index=False, name=None)]
    named = table.columns.name is not None  # after measures or layers, whose names are as they are
    names = [str(c) if named else str(c).replace("_", " ") for c in flat]
    return {"columns": names, "index": table.index.nlevels, "rows": values}


def _cell(value: Any) -> tuple[str, str]:
    if isinstance(value, (bool, np.bool_)):
        return ("yes" if value else "no"), str(int(value))
    if isinstance(value, (int, np.integer)):
        return f"{value}", f"{value}"
    if isinstance(value, (float, np.floating)):
        return number(float(value)), repr(float(value))
    import pandas as pd

    return ("–", "nan") if pd.isna(value) else (str(value), "")


def number(value: float) -> str:
    """A number as a reader wants it.

    Examples:
        >>> number(1234.5678), number(0.12345), number(float("inf"))
        ('1234.6', '0.123', '∞')
    """
    if not np.isfinite(value):
        return "–" if value != value else "∞" if value > 0 else "-∞"
    if value == int(value) and abs(value) < 1e9:
        return f"{int(value)}"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.1f}"
