"""What a study of many networks keeps: rows as files, partitions as text, effects over seeds.

`infoflow.sweep` runs a function over many settings; this is for the rows that it returns, and
`infoflow.plot.against` draws them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from infoflow._arguments import door, given, instance
from infoflow._files import with_formula, without_formulas
from infoflow.agreements import Unused, agreement
from infoflow.partition import Partition, PartitionLike, as_partition
from infoflow.unit_similarity import MEASURES

Table = Any
"""A DataFrame or a Series: type checkers cannot follow what pandas returns."""

LETTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"


def encode(partition: PartitionLike) -> str:
    """A partition (or a result that holds one, or labels) as text: one letter a unit, `.` for
    unused; with more modules than the 64 letters, numbers with commas, -1 for unused.

    Examples:
        >>> encode(Partition([0, 0, 1, -1]))
        '001.'
        >>> encode(Partition([*range(65), -1]))[-9:]
        ',63,64,-1'
    """
    partition = as_partition(partition)
    labels = partition.labels.tolist()
    if partition.n_modules > len(LETTERS):
        return ",".join(map(str, labels))
    return "".join("." if label < 0 else LETTERS[label] for label in labels)


@door(text=instance(str, "a partition written by encode"))
def decode(text: str) -> Partition:
    """The partition that `encode` wrote.

    Raises:
        ValueError: Anything else.

    Examples:
        >>> decode('001.')
        Partition(4 units in 2 modules of 2, 1, 1 unused)
    """
    if re.fullmatch(r"-?\d+(,-?\d+)+", text):
        return Partition([int(label) for label in text.split(",")])
    unknown = sorted(set(text) - {*LETTERS, "."})
    if unknown:
        raise ValueError(
            f"text: expected a partition written by encode, got {unknown} in {text[:40]!r}"
        )
    return Partition([-1 if letter == "." else LETTERS.index(letter) for letter in text])


_TEXT = ("partition", "partition_default", "matrix", "versions", "git_commit", "config_hash")


@door(rows=given)
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
    without_formulas(rows).to_csv(path, index=False, compression=packed)


@door()
def load_table(path: str | Path) -> Table:
    """Rows that `save_table` wrote; columns of text stay text (a partition 0101 is no number).

    Raises:
        FileNotFoundError: No file there.
    """
    import pandas as pd

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no rows at {path}; expected a CSV file that save_table wrote")
    rows: Table = pd.read_csv(path, dtype=dict.fromkeys(_TEXT, str))
    texts = [name for name in _TEXT if name in rows]
    rows[texts] = rows[texts].fillna("").map(with_formula)
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
    measure: str = "element",
    unused: Unused = "drop",
) -> Table:
    """How far the modules of all pairs of similarity measures agree: one row a layer.

    Args:
        rows: One row a network, layer and measure, with columns `measure` and `partition`.
        by: Columns that a network and layer is known by.
        measures: Which.
        partition: Column of the partitions as text.
        measure, unused: As for `infoflow.agreement`.

    Returns:
        The columns `by`, then one a pair, named `a|b`: 1 where the modules are the same (`"vi"`:
        0). Nan where a layer had nothing to cluster by one of the measures, or, with
        `unused="drop"`, no unit is used in both.

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
            some = a in labels and b in labels
            if some and unused == "drop":
                some = not (labels[a].unused | labels[b].unused).all()
            row[f"{a}|{b}"] = (
                agreement(labels[a], labels[b], measure=measure, unused=unused) if some else np.nan
            )
        found.append(row)
    return pd.DataFrame(found)


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
