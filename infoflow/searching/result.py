"""SearchResult: the best partition found, judged on fresh samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from infoflow._notebook import card
from infoflow.exchanges import Exchange, ExchangeMeter
from infoflow.graphs import Graph, GraphOfModules
from infoflow.partition import Partition
from infoflow.saving import Saved
from infoflow.searching.confidence import Confidence
from infoflow.searching.count import ModuleCount
from infoflow.searching.score import ModuleScore

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class SearchResult(Saved, GraphOfModules):
    """The best partition found, what it exchanges, and how that compares with chance.

    Attributes:
        partition: The best partition. Silent units, which neither send nor receive anything
            detectable, are in no module.
        exchange: Its exchange on donors and contexts that the search did not see.
        score: The module score.
        trail: `(E, 3)`, one row per partition measured: weighted value, bits, best weighted value
            so far. Random partitions for the mean come first.
        visited: The partitions measured, in the order of `trail`.
        evaluations: Partitions measured, the random ones for the mean included.
        method: How it was searched.
        weighting: Weighting that was minimised.
        count: Where the number of modules was not given: how it was found, with the p-value that
            there are modules at all. One module then means that none were found; it exchanges 0
            bits by definition, and has no score (nan).
        confidence: How sure each unit's module is, if it was asked for.
    """

    partition: Partition
    exchange: Exchange
    score: ModuleScore
    trail: np.ndarray
    visited: tuple[Partition, ...]
    evaluations: int
    method: str
    weighting: str
    count: ModuleCount | None = None
    confidence: Confidence | None = None

    @property
    def history(self) -> pd.DataFrame:
        """One row per evaluation: `weighted`, `bits`, `best` (smallest weighted so far),
        `n_modules`. `infoflow.plot.search_history` draws it."""
        import pandas as pd

        frame = pd.DataFrame(self.trail, columns=["weighted", "bits", "best"])
        frame["n_modules"] = [p.n_modules for p in self.visited]
        return frame

    def to_frame(self) -> pd.DataFrame:
        """The score's row."""
        return self.score.to_frame()

    def graph(self) -> Graph:
        """What the modules found send each other (see `Exchange.graph`)."""
        return self.exchange.graph()

    def _repr_html_(self) -> str:
        score, error = self.score, self.score.ratio_se
        facts = {
            "module score": f"{score.ratio:.3g}"
            + (f" ± {error:.2g}" if np.isfinite(error) else ""),
            "what that is": f"mean of {score.n_samples} random partitions ÷ this one, "
            f"{self.weighting}-weighted",
            "bits": f"{self.exchange.bits:.4g} ± {self.exchange.se:.2g}",
            "bits given the context": f"{self.exchange.bits_given_context:.4g}",
            "modules": f"{self.partition.n_modules} of "
            f"{', '.join(map(str, self.partition.sizes.tolist()))} units"
            f"{self.partition.said_unused}",
            "isolated": "yes" if score.isolated else "",
            "number of modules": repr(self.count) if self.count else "",
            "sure": repr(self.confidence) if self.confidence else "",
            "search": f"{self.method}, {self.evaluations} partitions measured",
        }
        return card("Search", facts, self.exchange.to_frame())

    def __repr__(self) -> str:
        if self.partition.n_modules < 2:
            return f"SearchResult(no modules found, {self.partition!r}, {self.count!r})"
        sure = f", {self.confidence!r}" if self.confidence else ""
        return f"SearchResult({self.partition!r}, {self.exchange!r}, {self.score!r}{sure})"


def undivided(
    count: ModuleCount, meter: ExchangeMeter, method: str, weighting: str
) -> SearchResult:
    """The result where no modules were found: one module, which exchanges nothing with any other,
    and a score that is not defined."""
    none, undefined = np.zeros((1, 1)), float("nan")
    exchange = Exchange(
        count.partition, none, none, none, 0.0, 0.0, 0.0, 0.0, 0.0, weighting,
        meter.given_context, meter.draws.coding,
    )  # fmt: skip
    score = ModuleScore(
        undefined, undefined, 0, undefined, 0.0, weighting, 0.0, 0.0, meter.given_context
    )
    return SearchResult(
        count.partition, exchange, score, np.zeros((0, 3)), (), 0, method, weighting, count
    )
