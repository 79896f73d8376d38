"""The causal score beside Q*: partitions of one network side by side."""

from infoflow.compare.compare import compare
from infoflow.compare.comparison import CAUSAL, Comparison
from infoflow.compare.tracking import KINDS

__all__ = ["CAUSAL", "KINDS", "Comparison", "compare"]
