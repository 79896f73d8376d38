"""Information in bits: codes, estimators, and the flow between groups of units."""

from infoflow.information.flow import Flow, flow
from infoflow.information.unit_flow import unit_flow

__all__ = ["Flow", "flow", "unit_flow"]
