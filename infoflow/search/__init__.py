"""Search for the partition whose modules exchange least, and its module score."""

from infoflow.search.ledger import Step
from infoflow.search.result import SearchResult
from infoflow.search.score import ModuleScore, module_score
from infoflow.search.search import search

__all__ = ["ModuleScore", "SearchResult", "Step", "module_score", "search"]
