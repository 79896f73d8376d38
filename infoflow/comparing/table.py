"""What each partition exchanges, its Q, and how that compares with chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, get_args

import numpy as np

from infoflow._passes import show_progress
from infoflow.clustering.q import QOf
from infoflow.comparing.sources import Candidate
from infoflow.exchanges import ExchangeMeter, Values
from infoflow.measured import Weighting
from infoflow.partition import Partition
from infoflow.searching.score import score_against
from infoflow.searching.space import random_partitions

if TYPE_CHECKING:
    import pandas as pd

SIMPLE_WEIGHTINGS: tuple[Weighting, ...] = tuple(
    w for w in get_args(Weighting) if w not in ("none", "size_null", "size_z")
)
"""Weightings that divide by a number known beforehand; random partitions of equal sizes have
columns of their own."""


@dataclass(eq=False)
class Chance:
    """What random partitions of the same units exchange, measured once for each shape.

    Attributes:
        meter: Measures.
        used: `(n,)` bool; units that are divided.
        weighting: Of the exchange.
        samples: Random partitions into k modules.
        same_size: Random partitions with given module sizes.
        seed: Of the draws.
    """

    meter: ExchangeMeter
    used: np.ndarray
    weighting: Weighting
    samples: int
    same_size: int
    seed: int
    _into: dict[int, Values] = field(default_factory=dict, init=False)
    _of: dict[tuple[int, ...], list[Partition]] = field(default_factory=dict, init=False)

    def into(self, k: int) -> Values:
        """What random partitions into k modules exchange."""
        if k not in self._into:
            drawn = list(islice(random_partitions(self.used, k, self.seed), self.samples))
            self._into[k] = self.meter.values(drawn, self.weighting)
        return self._into[k]

    def sized(self, partition: Partition) -> list[Partition]:
        """Random partitions whose modules have the sizes of this one's."""
        sizes = tuple(sorted(partition.sizes.tolist()))
        if sizes not in self._of:
            rng = np.random.default_rng([self.seed, *sizes])
            labels = np.full(len(self.used), -1)
            labels[self.used] = np.repeat(np.arange(len(sizes)), sizes)
            self._of[sizes] = [Partition(labels).shuffled(rng) for _ in range(self.same_size)]
        return self._of[sizes]


def partition_table(
    candidates: Mapping[str, Candidate], chance: Chance, *, progress: bool = False
) -> pd.DataFrame:
    """A row for each partition; see `Comparison.partitions`."""
    import pandas as pd

    rows = {}
    for name in show_progress(list(candidates), progress, "partitions"):
        candidate = candidates[name]
        partition = candidate.partition
        rows[name] = {
            "origin": candidate.origin,
            "measure": candidate.measure,
            "k": candidate.k,
            "method": candidate.method,
            "n_modules": partition.n_modules,
            "n_effective": partition.n_effective,
            "smallest": int(partition.sizes.min(initial=len(partition))),
            **(_exchanged(partition, chance) if partition.n_modules >= 2 else {}),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("source")
    return table.astype({"k": "Int64"})


def _exchanged(partition: Partition, chance: Chance) -> dict[str, object]:
    meter, weighting = chance.meter, chance.weighting
    measured = meter(partition, weighting)
    drawn = chance.into(partition.n_modules)
    score = score_against(drawn, measured, meter.floor)
    null = meter.values(chance.sized(partition), weighting)
    as_little = int((null.weighted <= measured.weighted).sum())
    return {
        "bits": measured.bits,
        "se": measured.se,
        "bits_given_context": measured.bits_given_context,
        "se_given_context": measured.se_given_context,
        "weighted": measured.weighted,
        "random_weighted": score.mean,
        "score": score.ratio,
        "score_se": score.se / measured.weighted if measured.weighted > 0 else float("nan"),
        "isolated": score.isolated,
        "p_same_size": (1 + as_little) / (1 + len(null)),
        "of_same_size": _ratio(measured.amount, float(null.bits.mean())),
        "z_same_size": _ratio(measured.amount - null.bits.mean(), float(null.bits.std(ddof=1))),
    }


def _ratio(value: float, divisor: float) -> float:
    return value / divisor if divisor > 0 else float("nan")


def weighting_table(labels: Mapping[str, Partition], meter: ExchangeMeter) -> pd.DataFrame:
    """Columns `source` (of the partition), `weighting`, `value`."""
    import pandas as pd

    rows = [
        (name, weighting, meter(partition, weighting).weighted)
        for name, partition in labels.items()
        if partition.n_modules >= 2
        for weighting in SIMPLE_WEIGHTINGS
    ]
    return pd.DataFrame(rows, columns=["source", "weighting", "value"])


def q_table(labels: Mapping[str, Partition], matrices: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Columns `source` (of the partition), `measure` (the graph), `q`."""
    import pandas as pd

    q_of = {measure: QOf(matrix) for measure, matrix in matrices.items()}
    rows = [
        (name, measure, q(partition))
        for name, partition in labels.items()
        for measure, q in q_of.items()
    ]
    return pd.DataFrame(rows, columns=["source", "measure", "q"])


def layer_table(labels: Mapping[str, Partition], meter: ExchangeMeter) -> pd.DataFrame:
    """Who talks to whom, layer to layer: bits that the units of one layer send those of another,
    within modules and between them, when each module's part of each layer is forced by itself.

    Returns:
        Columns `source` (of the partition), `from`, `to`, `between`, `within`, both given the
        context, and `between_plain`, `within_plain`; layer pairs without any flow are left out.
    """
    import pandas as pd

    layers = meter.rec.units.layers
    rows = []
    measurable = {name: p for name, p in labels.items() if p.n_modules >= 2}
    for name, partition in measurable.items():
        within, between = layer_flows(partition, meter)
        for a, b in zip(*np.nonzero((within + between).sum(0)), strict=True):
            row = {"source": name, "from": layers[a], "to": layers[b]}
            row |= {"between": between[1, a, b], "within": within[1, a, b]}
            row |= {"between_plain": between[0, a, b], "within_plain": within[0, a, b]}
            rows.append(row)
    names = ["source", "from", "to", "between", "within", "between_plain", "within_plain"]
    return pd.DataFrame(rows, columns=names)


def layer_flows(partition: Partition, meter: ExchangeMeter) -> tuple[np.ndarray, np.ndarray]:
    """Flow from layer to layer, within modules and between them, each `(2, L, L)` bits: plain,
    and given the context."""
    labels, layer = partition.labels, meter.rec.units.layer_index
    count, k = len(meter.rec.units.layers), partition.n_modules
    parts = Partition(np.where(labels >= 0, layer * k + labels, -1))
    first = [part[0] for part in parts.modules]
    (flow,) = meter.flows([parts])
    same = np.equal.outer(labels[first], labels[first])
    member = np.eye(count)[layer[first]]
    within = member.T @ (flow * same) @ member
    return within, member.T @ flow @ member - within
