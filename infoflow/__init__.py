"""infoflow: find modules in trained networks and measure what they send each other, in bits."""

from infoflow.partition import Partition
from infoflow.units import Site, UnitSpace

__version__ = "0.1.0"

__all__ = ["Partition", "Site", "UnitSpace"]
