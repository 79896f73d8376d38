"""Modularity: Q of a partition, and the partitions with the largest Q."""

from infoflow.modularity.find import find_modules
from infoflow.modularity.matrix import ModularityMatrix, modularity_matrix
from infoflow.modularity.modules import Modules, Trace
from infoflow.modularity.monte_carlo import monte_carlo
from infoflow.modularity.q import modularity
from infoflow.modularity.spectral import greedy_spectral
from infoflow.modularity.transfer import Alignment, alignment, transfer

__all__ = [
    "Alignment",
    "ModularityMatrix",
    "Modules",
    "Trace",
    "alignment",
    "find_modules",
    "greedy_spectral",
    "modularity",
    "modularity_matrix",
    "monte_carlo",
    "transfer",
]
