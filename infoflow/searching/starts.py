"""Partitions to begin a search with: cheap looks at the same network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from infoflow.clustering import find_modules
from infoflow.exchanges import ExchangeMeter
from infoflow.exchanges.weighting import Traffic
from infoflow.partition import Partition
from infoflow.recording import Recording
from infoflow.searching.space import Space
from infoflow.unit_similarity import allowed_measures, similarities


def unit_flow_modules(traffic: Traffic, space: Space, seed: int) -> list[Partition]:
    """Partitions of largest Q of the unit flows, both directions added, for each number of
    modules allowed (up to five of them)."""
    flow = symmetric(traffic.unit_flow, space)
    return _of_matrix(flow, space, seed)


def spectral_cut(traffic: Traffic, space: Space, seed: int) -> list[Partition]:
    """Normalised cuts of the unit flows (Shi and Malik 2000), for each number of modules."""
    flow = symmetric(traffic.unit_flow, space)
    return [p for k in _numbers(space) if (p := normalised_cut(flow, k, seed)) is not None]


def normalised_cut(matrix: np.ndarray, k: int, seed: int = 0) -> Partition | None:
    """k-means on the leading eigenvectors of D^-1/2 W D^-1/2, rows normalised; units without
    links get -1. None where fewer than k units have links.

    Args:
        matrix: `(n, n)` W, symmetric and at least 0, as of `similarity(rec, "slopes")`.
        k: Modules.
        seed: Of k-means.

    Source: J. Shi and J. Malik, Normalized cuts and image segmentation, 2000; rows normalised as
    in A. Ng, M. Jordan and Y. Weiss, On spectral clustering, 2001.

    Examples:
        >>> W = np.kron(np.eye(2), np.ones((3, 3))) + 0.01
        >>> normalised_cut(W, 2).labels.tolist()
        [0, 0, 0, 1, 1, 1]
    """
    from sklearn.cluster import KMeans

    degree = matrix.sum(0)
    linked = np.flatnonzero(degree > 0)
    if len(linked) < k:
        return None
    scale = 1 / np.sqrt(degree[linked])
    vectors = np.linalg.eigh(scale[:, None] * matrix[np.ix_(linked, linked)] * scale)[1][:, -k:]
    rows = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    if len(np.unique(rows.round(9), axis=0)) < k:
        return None
    means: Any = KMeans(k, n_init="auto", random_state=seed % 2**32)
    return Partition(means.fit_predict(rows)).embed(linked, len(matrix))


def q_modules(rec: Recording, space: Space, seed: int) -> list[Partition]:
    """Partitions of largest Q under every similarity measure that the recording allows."""
    found = []
    for matrix in similarities(rec, available(rec)).values():
        found += _of_matrix(symmetric(matrix, space), space, seed)
    return found


def available(rec: Recording) -> list[str]:
    """The measures that the recording allows, in the order in which searches start from them."""
    bases = ("cov", "o_sens", "i_sens", "hess")
    order = [name for base in bases for name in (base, f"{base}_norm")]
    return [name for name in order if name in allowed_measures(rec)]


def symmetric(matrix: np.ndarray, space: Space) -> np.ndarray:
    """Both directions added, the diagonal and units outside the space at zero."""
    both = np.maximum(matrix + matrix.T, 0.0) * np.outer(space.used, space.used)
    np.fill_diagonal(both, 0.0)
    return both


def _of_matrix(matrix: np.ndarray, space: Space, seed: int) -> list[Partition]:
    linked = int(matrix.any(0).sum())
    return [
        find_modules(matrix, seed=seed, n_modules=k, restarts=2, perturbations=30).partition
        for k in _numbers(space)
        if k <= linked
    ]


def _numbers(space: Space) -> range:
    return range(space.least, min(space.most, space.least + 4) + 1)


STARTS: Mapping[str, Callable[[ExchangeMeter, Space, int], list[Partition]]] = {
    "unit_flow": lambda meter, space, seed: unit_flow_modules(meter.traffic, space, seed),
    "spectral": lambda meter, space, seed: spectral_cut(meter.traffic, space, seed),
    "q": lambda meter, space, seed: q_modules(meter.rec, space, seed),
}
"""Partitions to begin with, by the names that `search(seeds=)` takes."""


def starts_by_name(
    names: tuple[str, ...], meter: ExchangeMeter, space: Space, seed: int
) -> list[Partition]:
    """Partitions of the space to begin with; units that one leaves out go to its largest module."""
    found = [p for name in names for p in STARTS[name](meter, space, seed)]
    fitted = [space.fitted(completed(p, space.used)) for p in found if p.n_modules]
    return list(dict.fromkeys(p for p in fitted if p is not None))


def completed(partition: Partition, used: np.ndarray) -> Partition:
    """Used units that are in no module put into the largest one, the others at -1.

    Examples:
        >>> completed(Partition([0, 0, -1, 1, -1]), np.array([1, 1, 1, 1, 0], bool)).labels.tolist()
        [0, 0, 0, 1, -1]
    """
    inside = partition.without(~used)
    if not inside.n_modules:
        return inside
    labels = np.where(inside.unused, int(inside.sizes.argmax()), inside.labels)
    return Partition(np.where(used, labels, -1))
