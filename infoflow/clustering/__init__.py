"""Modularity: Q of a partition, and the partitions with the largest Q."""

from infoflow.clustering.certificate import certify, cheap_bound
from infoflow.clustering.co_membership import Consensus, consensus
from infoflow.clustering.find import find_modules
from infoflow.clustering.matrix import ModularityMatrix, modularity_matrix
from infoflow.clustering.metropolis import monte_carlo
from infoflow.clustering.modules import Modules, Trace
from infoflow.clustering.nested import nested_modules
from infoflow.clustering.q import modularity
from infoflow.clustering.refinement import refine
from infoflow.clustering.significances import significance
from infoflow.clustering.sparse import SparseSimilarity
from infoflow.clustering.spectral import greedy_spectral
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
