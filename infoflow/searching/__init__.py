"""Search for the partition whose modules exchange least, and its module score."""

from infoflow.searching.confidence import Confidence
from infoflow.searching.count import ModuleCount, how_many
from infoflow.searching.log import Step
from infoflow.searching.result import SearchResult
from infoflow.searching.run import search
from infoflow.searching.score import ModuleScore, module_score
from infoflow.searching.starts import normalised_cut

__all__ = [
    "Confidence",
    "ModuleCount",
    "ModuleScore",
    "SearchResult",
    "Step",
    "how_many",
    "module_score",
    "normalised_cut",
    "search",
]
