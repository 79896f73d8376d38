"""infoflow: find modules in trained networks and measure what they send each other, in bits."""

from infoflow.partition import Partition
from infoflow.record import Recording, record
from infoflow.units import Site, UnitSpace

__version__ = "0.1.0"

__all__ = ["Partition", "Recording", "Site", "UnitSpace", "record"]
