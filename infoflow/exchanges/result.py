"""Exchange: what the modules of one partition send each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from infoflow._notebook import card
from infoflow.graphs import Graph, GraphOfModules
from infoflow.information.flows import UNSATURATE
from infoflow.partition import Partition
from infoflow.saving import Saved

if TYPE_CHECKING:
    import pandas as pd

MORE_DONORS = "more donors=, or objective='gaussian', which has no such limit"


@dataclass(frozen=True, eq=False)
class Values:
    """What many partitions exchange, one entry a partition.

    Attributes:
        weighted: `(P,)` weighted exchange.
        bits: `(P,)` the same in bits, unweighted.
    """

    weighted: np.ndarray
    bits: np.ndarray

    def followed_by(self, more: Values) -> Values:
        """These and further ones."""
        joined = np.concatenate([self.weighted, more.weighted])
        return Values(joined, np.concatenate([self.bits, more.bits]))

    def __len__(self) -> int:
        return len(self.weighted)


@dataclass(frozen=True, eq=False)
class Exchange(Saved, GraphOfModules):
    """Information that the modules of one partition exchange.

    Attributes:
        partition: The partition measured, unused units at -1.
        flow: `(k, k)` bits; `[a, b]` is flow(a → b). Diagonal 0.
        flow_se: `(k, k)` standard errors.
        flow_given_context: `(k, k)` the same with the context known.
        bits: Sum over ordered pairs of different modules.
        se: Standard error of `bits`.
        bits_given_context, se_given_context: The same with the context known.
        weighted: The exchange under the weighting, in the quantity that `given_context` names.
        weighting: Its name.
        given_context: `weighted` rests on `bits_given_context` (True) or on `bits`.
        coding: How target modules were coded ("units" or "joint"), or what took their units
            together without a code ("cells", "kernel", "gaussian").
        saturated: Pairs (a, b) of modules where the bits are near log2 of b's joint code, which is
            blunter than b: the code is the limit, not the network. With "cells" and "kernel", near
            log2 of the donors.
    """

    partition: Partition
    flow: np.ndarray
    flow_se: np.ndarray
    flow_given_context: np.ndarray
    bits: float
    se: float
    bits_given_context: float
    se_given_context: float
    weighted: float
    weighting: str
    given_context: bool
    coding: str
    saturated: tuple[tuple[int, int], ...] = ()

    @property
    def amount(self) -> float:
        """The quantity that is weighted, in bits: given the context or plain."""
        return self.bits_given_context if self.given_context else self.bits

    @property
    def reachable(self) -> bool:
        """False when no module sends another anything at all: nothing that was recorded comes
        after anything else, as with a single layer, or nothing moves with it. A weighted value
        then says nothing about the partition."""
        return bool((self.flow_given_context != 0).any() or (self.flow != 0).any())

    @property
    def amount_se(self) -> float:
        """Standard error of `amount`."""
        return self.se_given_context if self.given_context else self.se

    def to_frame(self) -> pd.DataFrame:
        """One row per ordered pair of modules: source, target (the labels they were given), bits,
        se, bits_given_context."""
        import pandas as pd

        k = len(self.flow)
        pairs = [(a, b) for a in range(k) for b in range(k) if a != b]
        return pd.DataFrame(
            {
                "source": [self.partition.names[a] for a, _ in pairs],
                "target": [self.partition.names[b] for _, b in pairs],
                "bits": [self.flow[p] for p in pairs],
                "se": [self.flow_se[p] for p in pairs],
                "bits_given_context": [self.flow_given_context[p] for p in pairs],
            }
        )

    def graph(self) -> Graph:
        """Nodes: modules by the labels they were given, with their `units` (how many). Edges:
        `bits`, `se` and `bits_given_context` from one to another, where anything is sent."""
        sizes = self.partition.sizes.tolist()
        nodes = {m: {"units": n} for m, n in zip(self.partition.names, sizes, strict=True)}
        rows = self.to_frame().to_dict("records")
        sent = [row for row in rows if row["bits"] != 0 or row["bits_given_context"] != 0]
        return Graph(nodes, tuple((r.pop("source"), r.pop("target"), r) for r in sent), True)

    @property
    def read_as(self) -> str:
        """How the units of a target module are read, which decides how large the bits are."""
        if self.coding == "units":
            return "summed over target units (module_flow reads each module as one)"
        one = "by one code" if self.coding == "joint" else f"as wholes ({self.coding})"
        return f"each target module read {one}"

    def _repr_html_(self) -> str:
        facts = {
            "bits": f"{self.bits:.4g} ± {self.se:.2g}",
            "bits given the context": f"{self.bits_given_context:.4g} ± "
            f"{self.se_given_context:.2g}",
            f"weighted ({self.weighting})": self.weighted,
            "read": self.read_as,
            "modules": f"{len(self.flow)} of {', '.join(map(str, self.partition.sizes.tolist()))}"
            f" units{self.partition.said_unused}",
            "note": self.doubts[2:],
        }
        return card("Exchange", facts, self.to_frame())

    def __repr__(self) -> str:
        return (
            f"Exchange({self.bits:.4f} ± {self.se:.4f} bits among {len(self.flow)} modules"
            f"{self.partition.said_unused}, {self.read_as}, given context "
            f"{self.bits_given_context:.4f}, {self.weighting}-weighted {self.weighted:.4g}"
            f"{self.doubts})"
        )

    @property
    def doubts(self) -> str:
        """What makes the numbers trivial or doubtful, and what to do; empty where nothing does."""
        said = "" if self.reachable else "; no module reaches another: record a later layer"
        if self.saturated:
            names = self.partition.names
            pairs = ", ".join(f"{names[a]} to {names[b]}" for a, b in self.saturated[:5])
            more = ", ..." if len(self.saturated) > 5 else ""
            if self.coding in ("cells", "kernel"):
                said += f"; all donors told apart from {pairs}{more} ({MORE_DONORS})"
            else:
                said += f"; saturated code from {pairs}{more} ({UNSATURATE})"
        return said
