"""infoflow: find modules in trained networks and measure what they send each other, in bits."""

from infoflow.agreement import agreement
from infoflow.compare import Comparison, compare
from infoflow.exchange import Exchange, exchange, module_flow
from infoflow.information import Flow, flow, unit_flow
from infoflow.intervene import counterfactual, do
from infoflow.modularity import Modules, find_modules, modularity
from infoflow.partition import Partition
from infoflow.record import Recording, record
from infoflow.report import report
from infoflow.search import ModuleScore, SearchResult, search
from infoflow.similarity import similarities, similarities_by_layer, similarity
from infoflow.units import Site, UnitSpace

__version__ = "0.1.0"

__all__ = [
    "Comparison",
    "Exchange",
    "Flow",
    "ModuleScore",
    "Modules",
    "Partition",
    "Recording",
    "SearchResult",
    "Site",
    "UnitSpace",
    "agreement",
    "compare",
    "counterfactual",
    "do",
    "exchange",
    "find_modules",
    "flow",
    "modularity",
    "module_flow",
    "record",
    "report",
    "search",
    "similarities",
    "similarities_by_layer",
    "similarity",
    "unit_flow",
]
