"""infoflow: find modules in trained networks and measure what they send each other, in bits."""

from infoflow.exchange import Exchange, exchange, module_flow
from infoflow.information import Flow, flow, unit_flow
from infoflow.intervene import counterfactual, do
from infoflow.partition import Partition
from infoflow.record import Recording, record
from infoflow.search import ModuleScore, SearchResult, search
from infoflow.units import Site, UnitSpace

__version__ = "0.1.0"

__all__ = [
    "Exchange",
    "Flow",
    "ModuleScore",
    "Partition",
    "Recording",
    "SearchResult",
    "Site",
    "UnitSpace",
    "counterfactual",
    "do",
    "exchange",
    "flow",
    "module_flow",
    "record",
    "search",
    "unit_flow",
]
