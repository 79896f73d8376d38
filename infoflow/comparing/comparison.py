"""Comparison: partitions of one network side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from infoflow._notebook import card
from infoflow.clustering import Modules
from infoflow.comparing.tracking import CommonSet
from infoflow.graphs import Graph, GraphOfModules
from infoflow.partition import Partition
from infoflow.recording import Recording
from infoflow.saving import Saved
from infoflow.searching import SearchResult

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Comparison(Saved, GraphOfModules):
    """Partitions of one network side by side.

    Every table has one fact a row; `source` is the name of a partition.

    Attributes:
        rec: The recording compared.
        partitions: Indexed by `source`. Where it comes from: `origin` ("Q*", "n-cut", "search",
            "random", "given"), the graph (`measure`), modules asked for (`k`, missing where the
            number was free) and `method` of the search. Number of modules; exchange in bits with
            its standard error, plain and given the context, and under `weighting` (`weighted`);
            the module score with its standard error; among random partitions of the same module
            sizes the share that exchange as little (`p_same_size`: a place among them, and a test
            only for a partition that was not searched for), the ratio to their mean and the
            z-score; `cka`, how much the modules depend on each other in the normal run, whoever
            sends what (`module_cka`); where layers follow one another the normalised cut of their
            weights (`weight_cut`) and its z-score against cuts of shuffled weights; agreement
            with the causal best.
        q: `source`, `measure`, `q`: of every partition under every graph.
        weightings: `source`, `weighting`, `value`: its exchange under the other weightings.
        correlations: Rank correlation of each `predictor` (Q of a graph where `is_q`, else another
            proxy) with -exchange in one `quantity` ("bits", "bits_given_context", "weighted") over
            the common set: `spearman`, its 95 % bootstrap interval `low` to `high`, `kendall`, `n`.
            `kind` of partitions: one kind, or "all". `scope` "together": the whole exchange;
            "between": what modules exchange between two layers (`layer`, `to`); "layer": Q of one
            `layer`'s units alone, with the whole exchange. Averaged over strata, most of them of
            equal module sizes: pooled it would mainly say that more modules exchange more.
        agreement: Element-centric similarity of every pair of partitions.
        layers: One row per layer (and "all") and measure: Q*, modules, effective modules.
        layer_to_layer: One row per partition and pair of layers: bits sent within and between
            modules.
        common: The partitions that were ranked, what was predicted and measured of each.
        labels: The partitions themselves.
        modules: What maximising Q found per measure, all layers together.
        similarities: Similarity matrices of all layers together.
        graphs: The other graphs: `weights` (where layers follow one another), `spearman` (its
            absolute value) and `unit_flow`.
        search: The causal search that ended lowest.
        searches: All of them, by method.
        weighting: Weighting of the exchange.
        skipped: Measures left out, and why.
        references: Module scores of networks that learnt nothing, by what they are, each searched
            in the same way; `with_references` adds them.
    """

    rec: Recording
    partitions: pd.DataFrame
    q: pd.DataFrame
    weightings: pd.DataFrame
    correlations: pd.DataFrame
    agreement: pd.DataFrame
    layers: pd.DataFrame
    layer_to_layer: pd.DataFrame
    common: CommonSet
    labels: Mapping[str, Partition]
    modules: Mapping[str, Modules]
    similarities: Mapping[str, np.ndarray]
    graphs: Mapping[str, np.ndarray]
    search: SearchResult
    searches: Mapping[str, SearchResult]
    weighting: str
    skipped: Mapping[str, str]
    references: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def to_frame(self) -> pd.DataFrame:
        """The table of partitions."""
        return self.partitions

    def spearman(
        self, *, kind: str = "all", quantity: str = "weighted", others: bool = False
    ) -> dict[str, float]:
        """Spearman's correlation of Q of each similarity measure with -exchange, best first;
        measures for which it is not known left out.

        Args:
            kind: Of partitions.
            quantity: Which exchange.
            others: All other predictors instead.
        """
        table = self.correlations.loc[self.correlations["scope"] == "together"]
        table = table.loc[(table["kind"] == kind) & (table["quantity"] == quantity)]
        known = table.loc[np.isfinite(table["spearman"])].sort_values(
            "spearman", ascending=False, kind="stable"
        )
        found = dict(zip(known["predictor"], known["spearman"].astype(float), strict=True))
        return {name: rho for name, rho in found.items() if others != (name in self.similarities)}

    @property
    def tracking(self) -> dict[str, float]:
        """How well Q of each similarity measure tracks the weighted exchange: `spearman()`."""
        return self.spearman()

    def graph(self) -> Graph:
        """What the modules of the causal search send each other (see `Exchange.graph`)."""
        return self.search.graph()

    def _repr_html_(self) -> str:
        facts = {
            "partitions": len(self.partitions),
            "units": f"{len(self.rec.units)}{self.search.partition.said_unused}",
            "weighting": self.weighting,
            "Q of a measure and -exchange, Spearman": ", ".join(
                f"{name} {rho:.2f}" for name, rho in self.tracking.items()
            ),
            "left out": ", ".join(self.skipped),
        }
        columns = ["source", "n_modules", "bits", "bits_given_context", "score", "p_same_size"]
        table = self.partitions.reset_index()
        first = table.assign(last=table["origin"] != "search")
        shown = first.sort_values(["last", "score"], ascending=[True, False])
        return card("Comparison", facts, shown.reindex(columns=columns))

    def __repr__(self) -> str:
        best = next(iter(self.tracking), "none")
        return (
            f"Comparison({len(self.partitions)} partitions of {len(self.rec.units)} units"
            f"{self.search.partition.said_unused}, "
            f"{self.search.score!r}, Q closest to -weighted exchange: {best})"
        )
