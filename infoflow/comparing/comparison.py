"""Comparison: partitions of one network side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from infoflow.clustering import Modules
from infoflow.partition import Partition
from infoflow.recording import Recording
from infoflow.searching import SearchResult

if TYPE_CHECKING:
    import pandas as pd

CAUSAL = "causal search"
"""Row of the partition that the best of the causal searches found."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Partitions of one network side by side.

    Attributes:
        rec: The recording compared.
        partitions: One row a partition, indexed by where it comes from: number of modules, Q under
            every graph (`q_<measure>`), exchange in bits with its standard error, plain and given
            the context, under `weighting` (`weighted`) and under the others (`by_<weighting>`);
            the module score with its standard error; among random partitions of the same module
            sizes the share that exchange as little (`p_same_size`), the ratio to their mean and the
            z-score; agreement with the causal best.
        correlations: One row a predictor (Q of a graph where `is_q`, else another proxy): its rank
            correlation with -exchange (bits, given the context, and weighted) over the common set.
            Averaged over strata, most of them of equal module sizes: pooled it would mainly say
            that more modules exchange more. `low_` and `high_` bound the 95 % bootstrap interval.
        correlations_by: The same by kind of partitions, and layer by layer.
        agreement: Element-centric similarity of every pair of partitions.
        layers: One row per layer (and "all") and measure: Q*, modules, effective modules.
        layer_to_layer: One row per partition and pair of layers: bits sent within and between
            modules.
        common: The common set: kind, stratum, share of units dealt anew, Q under every graph, all
            proxies and the exchange of each partition.
        labels: The partitions themselves.
        modules: What maximising Q found per measure, all layers together.
        similarities: Similarity matrices of all layers together.
        graphs: The other graphs: `weights` (where layers follow one another) and `unit_flow`.
        search: The causal search that ended lowest.
        searches: All of them, by method.
        weighting: Weighting of the exchange.
        skipped: Measures left out, and why.
    """

    rec: Recording
    partitions: pd.DataFrame
    correlations: pd.DataFrame
    correlations_by: pd.DataFrame
    agreement: pd.DataFrame
    layers: pd.DataFrame
    layer_to_layer: pd.DataFrame
    common: pd.DataFrame
    labels: Mapping[str, Partition]
    modules: Mapping[str, Modules]
    similarities: Mapping[str, np.ndarray]
    graphs: Mapping[str, np.ndarray]
    search: SearchResult
    searches: Mapping[str, SearchResult]
    weighting: str
    skipped: Mapping[str, str]

    def to_frame(self) -> pd.DataFrame:
        """The table of partitions."""
        return self.partitions

    @property
    def tracking(self) -> dict[str, float]:
        """How well Q of each similarity measure tracks the exchange: Spearman's correlation with
        -weighted exchange, best first; measures for which it is not known left out."""
        column = self.correlations["spearman_weighted"].to_dict()
        known = {name: float(column[name]) for name in self.similarities}
        known = {name: rho for name, rho in known.items() if np.isfinite(rho)}
        return dict(sorted(known.items(), key=lambda item: -item[1]))

    def __repr__(self) -> str:
        best = next(iter(self.tracking), "none")
        return (
            f"Comparison({len(self.partitions)} partitions of {len(self.rec.units)} units, "
            f"{self.search.score!r}, Q closest to -weighted exchange: {best})"
        )
