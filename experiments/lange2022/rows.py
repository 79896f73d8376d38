"""The study's saved rows, and the two tables derived from them: which networks count, and how far
the clusters of two measures agree."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.lange2022.networks import LAYERS, LEAST_ACCURACY
from experiments.lange2022.settings import percent, table_1
from infoflow.agreement import element_similarity
from infoflow.similarity import MEASURES
from infoflow.study.text import decode
from infoflow.sweep import load_sweep

Table = Any
"""A DataFrame or a Series: type checkers cannot follow what pandas returns."""

ROWS = "rows.csv.gz"
NETWORK = ["family", "seed", "dropout", "l1", "l2"]
PAIRS = tuple(combinations(MEASURES, 2))
_TEXT = ["partition", "partition_default", "matrix", "versions", "git_commit", "config_hash"]


def save_rows(sweep_folder: Path, path: Path) -> Table:
    """The rows of a sweep as one table, in a fixed order: networks, layers, measures.

    Of a sweep under way only seeds with all settings are taken, so that no seed weighs on one
    kind of regularisation alone.
    """
    rows: Table = pd.DataFrame(load_sweep(sweep_folder)).drop(columns="networks")
    trained = rows[rows["trained"]].drop_duplicates(NETWORK)
    whole = trained["seed"].value_counts() == len(table_1())
    rows = rows[~rows["trained"] | rows["seed"].isin(whole.index[whole])]
    if not rows["trained"].any():
        raise ValueError(f"no seed in {sweep_folder} has all its networks yet; let the sweep go on")
    rows = rows.copy()
    for name, order in (("layer", LAYERS), ("measure", MEASURES)):
        rows[name] = pd.Categorical(rows[name], order, ordered=True)
    rows = rows.sort_values([*NETWORK, "layer", "measure"], ignore_index=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    # no time of writing in the gzip header: equal rows give equal files
    rows.to_csv(path, index=False, compression={"method": "gzip", "mtime": 0})
    return load_rows(path)


def load_rows(path: Path) -> Table:
    """Saved rows, with percent regularisation and whether the network counts (`kept`).

    Raises:
        FileNotFoundError: No rows at `path`.
    """
    path = path / ROWS if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(
            f"no rows at {path}; `python -m experiments.lange2022 --out FOLDER` writes them"
        )
    rows: Table = pd.read_csv(path, dtype=dict.fromkeys(_TEXT, str), keep_default_na=True)
    rows[_TEXT] = rows[_TEXT].fillna("")
    settings = zip(rows["family"], rows["dropout"], rows["l1"], rows["l2"], strict=True)
    rows["percent"] = np.round([percent(*setting) for setting in settings], 6)
    rows["kept"] = ~rows["trained"] | (rows["test_accuracy"] >= LEAST_ACCURACY)
    return rows


def clusterable(rows: Table) -> Table:
    """Rows of the networks that count, where there was something to cluster."""
    return rows[rows["kept"] & rows["q_star"].notna()]


def agreement_table(rows: Table, *, partition: str = "partition") -> Table:
    """Element similarity of the clusters of all 28 pairs of measures, one row a network and layer.

    Columns of `rows` that describe the network, then one a pair, named `a|b`. Nan where a layer had
    nothing to cluster by one of the measures, or shares no unit.
    """
    found = []
    keys = [*NETWORK, "percent", "layer"]
    for values, group in clusterable(rows).groupby(keys, sort=True):
        texts = dict(zip(group["measure"], group[partition], strict=True))
        labels = {measure: decode(text) for measure, text in texts.items()}
        row = dict(zip(keys, values, strict=True))
        for a, b in PAIRS:
            both = a in labels and b in labels
            shared = both and bool((~(labels[a].unused | labels[b].unused)).any())
            row[f"{a}|{b}"] = element_similarity(labels[a], labels[b]) if shared else np.nan
        found.append(row)
    return pd.DataFrame(found)
