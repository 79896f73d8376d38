"""The normalised cut of a network's weights into twelve clusters, and of shuffled weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from infoflow.partition import Partition
from infoflow.searching.proxy import ncut
from infoflow.searching.starts import normalised_cut

CLUSTERS = 12


def graph(weights: Sequence[np.ndarray]) -> np.ndarray:
    """`(n, n)` |W| between consecutive layers, inputs and outputs among them; units without any
    link are left out."""
    sizes = [len(weights[0]), *(matrix.shape[1] for matrix in weights)]
    ends = np.cumsum([0, *sizes])
    full = np.zeros((ends[-1], ends[-1]))
    for number, matrix in enumerate(weights):
        rows = slice(ends[number], ends[number + 1])
        columns = slice(ends[number + 1], ends[number + 2])
        full[rows, columns] = np.abs(matrix)
    full += full.T
    linked = full.any(0)
    return full[np.ix_(linked, linked)]


def cut_of(links: np.ndarray, seed: int, k: int = CLUSTERS) -> float:
    """As in the study: the spectral clustering of scikit-learn, k-means with 25 starts."""
    from sklearn.cluster import SpectralClustering

    spectral = SpectralClustering(
        k, affinity="precomputed", eigen_solver="arpack", n_init=25, random_state=seed
    )
    return ncut(links, Partition(spectral.fit_predict(links)))


def own_cut_of(links: np.ndarray, seed: int, k: int = CLUSTERS) -> float:
    """The package's spectral cut, whose rows have unit length (Ng, Jordan and Weiss)."""
    found = normalised_cut(links, k, seed)
    return float("nan") if found is None else ncut(links, found)


def shuffled(weights: Sequence[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """The weights of each layer in random places, between units that have any link."""
    sizes = [len(weights[0]), *(matrix.shape[1] for matrix in weights)]
    linked = [np.zeros(size, dtype=bool) for size in sizes]
    for number, matrix in enumerate(weights):
        linked[number] |= matrix.any(1)
        linked[number + 1] |= matrix.any(0)
    kept = [
        matrix[np.ix_(linked[n], linked[n + 1])] for n, matrix in enumerate(weights)
    ]  # fmt: skip
    return [rng.permutation(matrix.ravel()).reshape(matrix.shape) for matrix in kept]
