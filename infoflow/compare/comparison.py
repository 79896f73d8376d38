"""Comparison: partitions of one network side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from infoflow.modularity import Modules
from infoflow.partition import Partition
from infoflow.record import Recording
from infoflow.search import SearchResult

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Comparison:
    """Partitions of one network side by side.

    Attributes:
        rec: The recording compared.
        partitions: One row a partition, indexed by where it comes from: number of modules, Q under
            every measure (`q_<measure>`), exchange in bits with its standard error, given the
            context, and weighted, the module score and its agreement with the causal best.
        correlations: One row a measure: rank correlation of Q with -exchange (in bits, given the
            context, and weighted) over a common set of partitions, averaged over strata of equal
            module sizes: otherwise it would only say that more modules exchange more.
        agreement: Element-centric similarity of every pair of partitions.
        layers: One row per layer (and "all") and measure: Q*, modules, effective modules.
        common: The common set: stratum, share of units dealt anew, Q under every measure and the
            exchange of each partition.
        labels: The partitions themselves.
        modules: What maximising Q found per measure, all layers together.
        similarities: Similarity matrices of all layers together.
        search: The causal search.
        weighting: Weighting of the exchange.
        skipped: Measures left out, and why.
    """

    rec: Recording
    partitions: pd.DataFrame
    correlations: pd.DataFrame
    agreement: pd.DataFrame
    layers: pd.DataFrame
    common: pd.DataFrame
    labels: Mapping[str, Partition]
    modules: Mapping[str, Modules]
    similarities: Mapping[str, np.ndarray]
    search: SearchResult
    weighting: str
    skipped: Mapping[str, str]

    def to_frame(self) -> pd.DataFrame:
        """The table of partitions."""
        return self.partitions

    def __repr__(self) -> str:
        best = self.correlations["spearman_weighted"].idxmax()
        return (
            f"Comparison({len(self.partitions)} partitions of {len(self.rec.units)} units, "
            f"{self.search.score!r}, Q closest to -weighted exchange: {best})"
        )
