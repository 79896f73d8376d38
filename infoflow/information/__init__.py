"""Information in bits: codes, estimators, and the flow between groups of units."""

from infoflow.information.flows import Flow, flow
from infoflow.information.observational import conditional_information
from infoflow.information.resolution import resolution_sweep
from infoflow.information.slopes import strongest_flows
from infoflow.information.unit_flows import unit_flow
from infoflow.measured import Binning

__all__ = [
    "Binning",
    "Flow",
    "conditional_information",
    "flow",
    "resolution_sweep",
    "strongest_flows",
    "unit_flow",
]
