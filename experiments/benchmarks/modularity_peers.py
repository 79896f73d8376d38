"""The implementations that modularity is measured against, each behind one call.

CPU seconds. The time excludes building the graph, in the peers' favour, except where it says
otherwise. A peer that is not installed is left out.
"""

from __future__ import annotations

import importlib
import importlib.util
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Labels = np.ndarray


def available() -> dict[str, Callable[[np.ndarray], tuple[Labels, float]]]:
    """Peers for matrices of one layer: S -> labels, seconds."""
    found: dict[str, Callable[[np.ndarray], tuple[Labels, float]]] = {}
    if _has("igraph"):
        for times in (1, 20):
            found[f"igraph Leiden x{times}"] = lambda S, t=times: _best(S, _igraph_leiden, t)
            found[f"igraph Louvain x{times}"] = lambda S, t=times: _best(S, _igraph_louvain, t)
    if _has("leidenalg"):
        for times in (1, 100):
            found[f"leidenalg x{times}"] = lambda S, t=times: _best(S, _leidenalg, t)
    if _has("networkx"):
        found["networkx Louvain"] = _networkx
    if _has("bct"):
        found["bctpy community_louvain"] = _bctpy
    if _has("pycombo"):
        found["pycombo"] = _pycombo
    return found


def for_large(n: int) -> dict[str, Callable[[np.ndarray], tuple[Labels, float, float]]]:
    """Peers for many units: S -> labels, seconds to build the graph, seconds to run."""
    if not _has("igraph"):
        return {}
    found = {"igraph Leiden x1": lambda S: _built(S, _igraph_leiden, 1)}
    if n <= 1024:
        found["igraph Leiden x10"] = lambda S: _built(S, _igraph_leiden, 10)
    found["igraph Louvain x1"] = lambda S: _built(S, _igraph_louvain, 1)
    return found


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _graph(S: np.ndarray) -> Any:
    import igraph

    i, j = np.triu_indices(len(S), 1)
    kept = S[i, j] > 0
    graph = igraph.Graph(n=len(S), edges=np.stack([i[kept], j[kept]], axis=1))
    graph.es["weight"] = S[i, j][kept]
    return graph


def _igraph_leiden(graph: Any, seed: int) -> Labels:
    random.seed(seed)  # igraph draws from Python's generator
    found = graph.community_leiden(objective_function="modularity", weights="weight")
    return np.array(found.membership)


def _igraph_louvain(graph: Any, seed: int) -> Labels:
    random.seed(seed)
    return np.array(graph.community_multilevel(weights="weight").membership)


def _leidenalg(graph: Any, seed: int) -> Labels:
    leidenalg = importlib.import_module("leidenalg")

    kind = leidenalg.ModularityVertexPartition
    return np.array(leidenalg.find_partition(graph, kind, weights="weight", seed=seed).membership)


def _built(S: np.ndarray, run: Callable[[Any, int], Labels], times: int):
    start = time.process_time()
    graph = _graph(S)
    built = time.process_time()
    labels = [run(graph, seed) for seed in range(times)]
    seconds = time.process_time() - built
    weights = [graph.modularity(x.tolist(), weights="weight") for x in labels]
    return labels[int(np.argmax(weights))], built - start, seconds


def _best(S: np.ndarray, run: Callable[[Any, int], Labels], times: int) -> tuple[Labels, float]:
    labels, _, seconds = _built(S, run, times)
    return labels, seconds


def _networkx(S: np.ndarray) -> tuple[Labels, float]:
    import networkx as nx

    off = S.copy()
    np.fill_diagonal(off, 0)
    graph = nx.from_numpy_array(off)
    start = time.process_time()
    groups = nx.community.louvain_communities(graph, seed=0)
    return _from_groups(groups, len(S)), time.process_time() - start


def _from_groups(groups: Any, n: int) -> Labels:
    labels = np.empty(n, dtype=int)
    for label, group in enumerate(groups):
        labels[list(group)] = label
    return labels


def _bctpy(S: np.ndarray) -> tuple[Labels, float]:
    bct = importlib.import_module("bct")

    off = S.copy()
    np.fill_diagonal(off, 0)
    used = np.flatnonzero(off.any(axis=1))
    start = time.process_time()
    found = bct.community_louvain(off[np.ix_(used, used)], seed=0)[0]
    seconds = time.process_time() - start
    labels = np.zeros(len(S), dtype=int)
    labels[used] = found
    return labels, seconds


def _pycombo(S: np.ndarray) -> tuple[Labels, float]:
    import networkx as nx

    pycombo = importlib.import_module("pycombo")

    off = S.copy()
    np.fill_diagonal(off, 0)
    graph = nx.from_numpy_array(off)
    start = time.process_time()
    found = pycombo.execute(graph, random_seed=0)
    seconds = time.process_time() - start
    membership = found[0] if isinstance(found, tuple) else found
    return np.array([membership[i] for i in range(len(S))]), seconds
