"""infoflow: find modules in trained networks and measure what they send each other, in bits."""

from infoflow.information import Flow, flow, unit_flow
from infoflow.intervene import counterfactual, do
from infoflow.partition import Partition
from infoflow.record import Recording, record
from infoflow.units import Site, UnitSpace

__version__ = "0.1.0"

__all__ = [
    "Flow",
    "Partition",
    "Recording",
    "Site",
    "UnitSpace",
    "counterfactual",
    "do",
    "flow",
    "record",
    "unit_flow",
]
