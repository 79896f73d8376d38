"""The causal score beside Q*: partitions of one network side by side."""

from infoflow.compare.compare import CAUSAL, compare
from infoflow.compare.comparison import Comparison

__all__ = ["CAUSAL", "Comparison", "compare"]
