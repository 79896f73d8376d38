"""Modularity: Q of a partition, and the partitions with the largest Q."""

from infoflow.modularity.bound import cheap_bound
from infoflow.modularity.certificate import certify
from infoflow.modularity.consensus import Consensus, consensus
from infoflow.modularity.find import find_modules
from infoflow.modularity.matrix import ModularityMatrix, modularity_matrix
from infoflow.modularity.modules import Modules, Trace
from infoflow.modularity.monte_carlo import monte_carlo
from infoflow.modularity.nested import ModuleTree, nested_modules
from infoflow.modularity.q import modularity
from infoflow.modularity.refine import refine
from infoflow.modularity.significance import Significance, significance
from infoflow.modularity.soft import SoftModules, soft_modules
from infoflow.modularity.spectral import greedy_spectral
from infoflow.modularity.transfer import Alignment, alignment, transfer

__all__ = [
    "Alignment",
    "Consensus",
    "ModularityMatrix",
    "ModuleTree",
    "Modules",
    "Significance",
    "SoftModules",
    "Trace",
    "alignment",
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
    "soft_modules",
    "transfer",
]
