"""What the page draws from, as one JSON object of bounded size."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from infoflow.comparing import CAUSAL, Comparison
from infoflow.partition import Partition
from infoflow.plot.ink import shortened
from infoflow.reporting.sentences import References
from infoflow.reporting.subject import Subject
from infoflow.searching import SearchResult
from infoflow.unit_similarity import UPSTREAM

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 160
"""Rows of a matrix that are drawn; those of larger ones are means over units of one module."""
MOST_SQUARES = 4000
"""Units that are drawn one by one."""
MOST_PARTS = 4000
"""Flows between modules' parts in layers that are drawn: the largest."""
MOST_LABELS = 400_000
"""Units times partitions; above, only the searched partition's units are listed."""
MOST_MODULES = 12
"""Modules in a picture; the smallest ones beyond are drawn as one."""


def contents(subject: Subject, references: References | None = None) -> str:
    """JSON for a script element: nothing in it can end the element or begin a tag."""
    search, comparison, rec = subject.search, subject.comparison, subject.rec
    units = rec.units if rec is not None else None
    layers = list(units.layers) if units is not None else ["units"]
    labels = {CAUSAL: search.partition, **(comparison.labels if comparison is not None else {})}
    if len(search.partition) * len(labels) > MOST_LABELS:
        labels = {CAUSAL: search.partition}
    data = {
        "layers": layers,
        "short": shortened(layers),
        "sizes": list(units.sizes) if units is not None else [len(search.partition)],
        "causal": CAUSAL,
        "mostSquares": MOST_SQUARES,
        "mostModules": MOST_MODULES,
        "partitions": {name: _labels(partition) for name, partition in labels.items()},
        "exchange": {
            "given": _rounded(search.exchange.flow_given_context),
            "plain": _rounded(search.exchange.flow),
            "se": _rounded(search.exchange.flow_se),
        },
        "parts": None if subject.sent is None else _parts(layers, subject.sent),
        "sequence": [] if subject.sent is None else _sequence(layers, subject.sent),
        "dots": _dots(search, comparison),
        "references": {
            name: [1 / score if score else None for score in scores]
            for name, scores in (references or {}).items()
        },
        "history": _history(search),
        "matrices": [] if comparison is None else _matrices(comparison),
        "scatter": None if comparison is None else _scatter(comparison),
        "tracking": [] if comparison is None else _tracking(comparison),
    }
    text = json.dumps(_finite(data), allow_nan=False, separators=(",", ":"))
    return text.translate({ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})


def _labels(partition: Partition) -> dict[str, Any]:
    return {"labels": partition.labels.tolist(), "names": list(partition.names)}


def _finite(value: Any) -> Any:
    """JSON has no nan and no infinity: those are null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value


def _rounded(values: Any) -> list[Any]:
    return np.asarray(values, dtype=float).tolist()


def _parts(layers: list[str], sent: pd.DataFrame) -> list[list[Any]]:
    """[from, module, to, module, bits given the context, plain], layers by their number."""
    largest = sent.nlargest(MOST_PARTS, "bits_given_context", keep="first")
    place = {name: number for number, name in enumerate(layers)}
    rows = largest.to_numpy().tolist()
    return [[place[a], m, place[b], n, *values] for a, m, b, n, *values in rows]


def _sequence(layers: list[str], sent: pd.DataFrame) -> list[int]:
    """Layers in the order in which the network runs them, as far as flows tell: those that send to
    many others and receive from few come first."""
    between = sent.loc[sent["from"] != sent["to"], ["from", "to"]].drop_duplicates()
    received, given = between["to"].value_counts(), between["from"].value_counts()
    late = [received.get(name, 0) - given.get(name, 0) for name in layers]
    return np.argsort(late, kind="stable").tolist()


def _dots(search: SearchResult, comparison: Comparison | None) -> dict[str, Any]:
    """Exchange over that of random divisions, of every division into as many modules."""
    score = search.score
    if comparison is None:
        drawn = search.trail[: score.n_samples, 0]
        random = drawn / drawn.mean() if len(drawn) else drawn
        best = 1 / score.ratio if score.ratio else float("nan")
        return {"random": _rounded(random), "rows": [[CAUSAL, "search", "", best]]}
    table, common = comparison.partitions, comparison.common.partitions
    k = table.loc[CAUSAL, "n_modules"]
    rows = []
    for name, row in zip(table.index, table.to_dict("records"), strict=True):
        asked = row["k"] == k if row["origin"] in ("Q*", "n-cut") else row["origin"] == "given"
        wanted = bool(asked) and row["n_modules"] == k
        if (wanted or name == CAUSAL) and row["weighted"] == row["weighted"]:
            ratio = row["weighted"] / row["random_weighted"]
            rows.append([name, row["origin"], row["measure"], ratio])
    random = common.loc[common["kind"] == "random", "of_random"]
    return {"random": _rounded(random), "rows": sorted(rows, key=lambda r: (r[0] != CAUSAL, r[3]))}


def _history(search: SearchResult, most: int = 1500) -> dict[str, Any]:
    trail = search.trail
    kept = np.unique(np.linspace(0, len(trail) - 1, min(len(trail), most)).astype(int))
    if not len(trail):
        return {"step": [], "weighted": [], "best": [], "mean": None}
    return {
        "step": (kept + 1).tolist(),
        "weighted": _rounded(trail[kept, 0]),
        "best": _rounded(trail[kept, 2]),
        "mean": search.score.mean,
    }


def _matrices(comparison: Comparison) -> list[dict[str, Any]]:
    """Similarities sorted by their own modules, and the other graphs sorted by the search's."""
    found = []
    causal = comparison.search.partition
    for name, matrix in {**comparison.similarities, **comparison.graphs}.items():
        modules = comparison.modules.get(name)
        partition = modules.partition if modules is not None else causal
        family = "other" if name in comparison.graphs else "down"
        about = {
            "name": name,
            "family": "up" if name in UPSTREAM else family,
            "q": None if modules is None else modules.q,
            "effective": None if modules is None else modules.n_effective,
        }
        found.append({**about, **matrix_block(matrix, partition)})
    return found


def matrix_block(matrix: np.ndarray, partition: Partition, most: int = MOST_ROWS) -> dict[str, Any]:
    """A matrix sorted by module, of `most` rows at most (and one a module more).

    Args:
        matrix: `(n, n)`.
        partition: Of the n units; unused ones come last.
        most: Rows; where there are more units, neighbours in one module are averaged, the diagonal
            left out.

    Returns:
        `groups`, the units of each row; `ranks`, the module of each, -1 for none; `values`, base64
        of 16-bit numbers between `low` and `high`; `top`, the value at the end of the colours.
    """
    rank = np.where(partition.labels < 0, partition.n_modules, partition.labels)
    order = np.argsort(rank, kind="stable")
    size = max(1, -(-len(rank) // most))
    starts = np.concatenate(
        [np.arange(first, first + count, size) for first, count in _runs(rank[order])]
    )
    clean = np.nan_to_num(np.asarray(matrix, dtype=float)[np.ix_(order, order)])
    counted = np.ones_like(clean)
    if size > 1:
        np.fill_diagonal(clean, 0.0)
        np.fill_diagonal(counted, 0.0)
    values, number = _summed(clean, starts), _summed(counted, starts)
    values = values / np.maximum(number, 1)
    low, high = float(values.min()), float(values.max())
    beside = values[~np.eye(len(values), dtype=bool)]
    top = float(np.percentile(beside, 99.5)) if beside.size else high
    scaled = np.round((values - low) / ((high - low) or 1.0) * 65535).astype("<u2")
    packed = base64.b64encode(scaled.tobytes()).decode()
    return {
        "groups": [part.tolist() for part in np.split(order, starts[1:])],
        "ranks": partition.labels[order[starts]].tolist(),
        "values": packed,
        "low": low,
        "high": high,
        "top": top or high or 1.0,
    }


def _runs(ranks: np.ndarray) -> list[tuple[int, int]]:
    """(first, count) of each run of equal numbers."""
    firsts = np.flatnonzero(np.diff(ranks, prepend=-1))
    return list(zip(firsts.tolist(), np.diff(firsts, append=len(ranks)).tolist(), strict=True))


def _summed(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return np.add.reduceat(np.add.reduceat(values, starts, axis=0), starts, axis=1)


def _scatter(comparison: Comparison) -> dict[str, Any]:
    """Q under each similarity measure beside the exchange, over the common set."""
    common, predicted = comparison.common.partitions, comparison.common.predictions
    q = {}
    for name in comparison.similarities:
        own = predicted[(predicted["predictor"] == name) & (predicted["layer"] == "")]
        q[name] = _rounded(own.set_index("partition")["value"].reindex(common.index))
    return {
        "q": q,
        "rho": comparison.tracking,
        "exchange": _rounded(common["of_random"]),
        "kind": common["kind"].tolist(),
        "from": common["stratum"].tolist(),
    }


def _tracking(comparison: Comparison) -> list[list[Any]]:
    """[predictor, kind, ρ, low, high] of the weighted exchange."""
    table = comparison.correlations
    table = table[(table["scope"] == "together") & (table["quantity"] == "weighted")]
    return table.loc[:, ["predictor", "kind", "spearman", "low", "high"]].to_numpy().tolist()
