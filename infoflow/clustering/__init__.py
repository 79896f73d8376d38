"""Modularity: Q of a partition, and the partitions with the largest Q."""

from infoflow.clustering.certificate import certify, cheap_bound
from infoflow.clustering.co_membership import Consensus, consensus
from infoflow.clustering.find import find_modules
from infoflow.clustering.methods import greedy_spectral, monte_carlo, refine
from infoflow.clustering.modules import Modules, Trace
from infoflow.clustering.q import ModularityMatrix, modularity, modularity_matrix
from infoflow.clustering.significances import nested_modules, significance
from infoflow.clustering.sparse import SparseSimilarity
from infoflow.module_tree import ModuleTree

__all__ = [
    "Consensus",
    "ModularityMatrix",
    "ModuleTree",
    "Modules",
    "SparseSimilarity",
    "Trace",
    "certify",
    "cheap_bound",
    "consensus",
    "find_modules",
    "greedy_spectral",
    "modularity",
    "modularity_matrix",
    "monte_carlo",
    "nested_modules",
    "refine",
    "significance",
]
