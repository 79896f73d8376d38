"""Exact answers on discrete causal networks, and coarse causal networks of trained ones (pgmpy)."""

from infoflow.oracle.coarse import CoarseNetwork, adjusted_flows, from_partition
from infoflow.oracle.cutting import Setting, query
from infoflow.oracle.exact import (
    causal_network,
    conditional_information,
    information_given_context,
    interventional_information,
    observational_information,
)

__all__ = [
    "CoarseNetwork",
    "Setting",
    "adjusted_flows",
    "causal_network",
    "conditional_information",
    "from_partition",
    "information_given_context",
    "interventional_information",
    "observational_information",
    "query",
]
