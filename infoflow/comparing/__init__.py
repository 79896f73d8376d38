"""The causal score beside Q*: partitions of one network side by side."""

from infoflow.comparing.comparison import Comparison
from infoflow.comparing.references import with_references
from infoflow.comparing.run import compare
from infoflow.comparing.sources import CAUSAL, row_name
from infoflow.comparing.tracking import KINDS

__all__ = ["CAUSAL", "KINDS", "Comparison", "compare", "row_name", "with_references"]
