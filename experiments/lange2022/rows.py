"""The study's saved rows: which networks count, and the table of agreements."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from experiments.lange2022.networks import LAYERS, LEAST_ACCURACY
from experiments.lange2022.settings import percent, table_1
from infoflow.agreements import Unused
from infoflow.study import Table, agreement_table, load_table, save_table
from infoflow.sweep import load_sweep
from infoflow.unit_similarity import MEASURES

ROWS = "rows.csv.gz"
NETWORK = ["family", "seed", "dropout", "l1", "l2"]


def sweep_rows(sweep_folder: Path) -> Table:
    """The rows of a sweep, without what only its tasks need."""
    rows: Table = pd.DataFrame(load_sweep(sweep_folder)).drop(columns=["networks", "first_seed"])
    rows.insert(0, "seed", rows.pop("seed"))
    return rows


def save_rows(sweep_folder: Path, path: Path) -> Table:
    """The rows of a sweep as one table, in a fixed order: networks, layers, measures.

    Of a sweep under way only seeds with all settings are taken, so that no seed weighs on one
    kind of regularisation alone.
    """
    rows = sweep_rows(sweep_folder)
    trained = rows[rows["trained"]].drop_duplicates(NETWORK)
    whole = trained["seed"].value_counts() == len(table_1())
    rows = rows[~rows["trained"] | rows["seed"].isin(whole.index[whole])]
    if not rows["trained"].any():
        raise ValueError(f"no seed in {sweep_folder} has all its networks yet; let the sweep go on")
    rows = rows.copy()
    for name, order in (("layer", LAYERS), ("measure", MEASURES)):
        rows[name] = pd.Categorical(rows[name], order, ordered=True)
    save_table(rows.sort_values([*NETWORK, "layer", "measure"], ignore_index=True), path)
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
    return with_percent(load_table(path))


def with_percent(rows: Table) -> Table:
    """The same rows with `percent` regularisation, and whether the network counts (`kept`)."""
    settings = zip(rows["family"], rows["dropout"], rows["l1"], rows["l2"], strict=True)
    shown = np.round([percent(*setting) for setting in settings], 6)
    kept = ~rows["trained"] | (rows["test_accuracy"] >= LEAST_ACCURACY)
    return rows.assign(percent=shown, kept=kept)


def clusterable(rows: Table) -> Table:
    """Rows of the networks that count, where there was something to cluster."""
    return rows[rows["kept"] & rows["q_star"].notna()]


def agreement(
    rows: Table,
    *,
    partition: str = "partition",
    measure: str = "element",
    unused: Unused = "cluster",
) -> Table:
    """Agreement of all 28 pairs of measures, one row a network and layer that count.

    Unused units are a cluster of their own, as in the paper (appendix A.1), unless said otherwise.
    """
    by = [*NETWORK, "percent", "trained", "layer"]
    some = clusterable(rows)
    return agreement_table(some, by=by, partition=partition, measure=measure, unused=unused)
