"""The table of a study: saved rows, and how far the modules of different measures agree."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from infoflow.agreements import element_similarity
from infoflow.study.text import decode
from infoflow.unit_similarity import MEASURES

Table = Any
"""A DataFrame or a Series: type checkers cannot follow what pandas returns."""

_TEXT = ("partition", "partition_default", "matrix", "versions", "git_commit", "config_hash")


def save_table(rows: Table, path: str | Path) -> None:
    """Write rows as CSV, compressed if the name ends in `.gz`; equal rows give equal files.

    Examples:
        >>> import tempfile, pandas as pd
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "rows.csv.gz"
        ...     save_table(pd.DataFrame({"partition": ["010"], "q_star": [1 / 3]}), path)
        ...     load_table(path)["partition"].item()
        '010'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # no time of writing in the gzip header
    packed: Any = {"method": "gzip", "mtime": 0} if path.suffix == ".gz" else None
    rows.to_csv(path, index=False, compression=packed)


def load_table(path: str | Path) -> Table:
    """Rows that `save_table` wrote; columns of text stay text (a partition 0101 is no number).

    Raises:
        FileNotFoundError: No file there.
    """
    import pandas as pd

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no rows at {path}; expected a CSV file that save_table wrote")
    rows: Table = pd.read_csv(path, dtype=dict.fromkeys(_TEXT, str))  # type: ignore[arg-type]
    texts = [name for name in _TEXT if name in rows]
    rows[texts] = rows[texts].fillna("")
    return rows


def pairs(measures: Sequence[str] = MEASURES) -> list[str]:
    """All pairs of measures, as columns of `agreement_table`: `a|b`.

    Examples:
        >>> len(pairs()), pairs(["cov", "hess", "o_sens"])
        (28, ['cov|hess', 'cov|o_sens', 'hess|o_sens'])
    """
    return [f"{a}|{b}" for a, b in combinations(measures, 2)]


def agreement_table(
    rows: Table,
    *,
    by: Sequence[str],
    measures: Sequence[str] = MEASURES,
    partition: str = "partition",
) -> Table:
    """Element-centric similarity of the modules of all pairs of measures: one row a layer.

    Args:
        rows: One row a network, layer and measure, with columns `measure` and `partition`.
        by: Columns that a network and layer is known by.
        measures: Which.
        partition: Column of the partitions as text.

    Returns:
        The columns `by`, then one a pair, named `a|b`: 1 where the modules are the same. Nan where
        a layer had nothing to cluster by one of the measures, or shares no unit.

    Examples:
        >>> import pandas as pd
        >>> rows = pd.DataFrame(
        ...     {"seed": [0, 0], "measure": ["cov", "hess"], "partition": ["0011", "0011"]}
        ... )
        >>> agreement_table(rows, by=["seed"], measures=["cov", "hess"])["cov|hess"].item()
        1.0
    """
    import pandas as pd

    found = []
    for values, group in rows.groupby(list(by), sort=True):
        row = dict(zip(by, values, strict=True))
        texts = zip(group["measure"], group[partition], strict=True)
        labels = {measure: decode(text) for measure, text in texts}
        for a, b in combinations(measures, 2):
            both = a in labels and b in labels
            shared = both and bool((~(labels[a].unused | labels[b].unused)).any())
            row[f"{a}|{b}"] = element_similarity(labels[a], labels[b]) if shared else np.nan
        found.append(row)
    return pd.DataFrame(found)
