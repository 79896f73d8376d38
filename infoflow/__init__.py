"""infoflow: find modules in trained networks and measure what they send each other, in bits."""

from typing import TYPE_CHECKING

from infoflow._storage import Store
from infoflow.agreements import agreement
from infoflow.checking import Check, check
from infoflow.clustering import Modules, find_modules, modularity
from infoflow.comparing import Comparison, compare
from infoflow.discovery import sites
from infoflow.exchanges import Exchange, exchange, module_flow
from infoflow.information import Flow, flow, unit_flow
from infoflow.interventions import counterfactual, do
from infoflow.lesioning import Lesions, lesions
from infoflow.partition import Partition
from infoflow.recording import Recording, record
from infoflow.recurrent import unrolled
from infoflow.reporting import report
from infoflow.saving import load
from infoflow.searching import (
    Confidence,
    ModuleCount,
    ModuleScore,
    SearchResult,
    how_many,
    search,
)
from infoflow.unit_similarity import similarities, similarities_by_layer, similarity
from infoflow.units import Site, UnitSpace

if TYPE_CHECKING:
    from infoflow.estimator import ModuleFinder

__version__ = "0.1.0"

__all__ = [
    "Check",
    "Comparison",
    "Confidence",
    "Exchange",
    "Flow",
    "Lesions",
    "ModuleCount",
    "ModuleFinder",
    "ModuleScore",
    "Modules",
    "Partition",
    "Recording",
    "SearchResult",
    "Site",
    "Store",
    "UnitSpace",
    "agreement",
    "check",
    "compare",
    "counterfactual",
    "do",
    "exchange",
    "find_modules",
    "flow",
    "how_many",
    "lesions",
    "load",
    "modularity",
    "module_flow",
    "record",
    "report",
    "search",
    "similarities",
    "similarities_by_layer",
    "similarity",
    "sites",
    "unit_flow",
    "unrolled",
]


def __getattr__(name: str) -> object:
    """`ModuleFinder`, which imports scikit-learn, when it is first asked for."""
    if name == "ModuleFinder":
        from infoflow.estimator import ModuleFinder

        return ModuleFinder
    raise AttributeError(f"module 'infoflow' has no attribute {name!r}")
