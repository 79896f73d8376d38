"""Search for the partition whose modules exchange least, and its module score."""

from infoflow.searching.log import Step
from infoflow.searching.result import SearchResult
from infoflow.searching.run import search
from infoflow.searching.score import ModuleScore, module_score

__all__ = ["ModuleScore", "SearchResult", "Step", "module_score", "search"]
