"""Search for the partition whose modules exchange least, and its module score."""

from infoflow.search.score import ModuleScore
from infoflow.search.search import SearchResult, search

__all__ = ["ModuleScore", "SearchResult", "search"]
