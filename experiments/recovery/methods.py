"""Methods of finding modules: from a look at a recording, and k or None, to a label for each unit.

To add one, write a function of a `Look` and k and give it a line in `METHODS`; `look.rec` is the
recording.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np

import infoflow as ifl
from infoflow.exchanges import ExchangeMeter
from infoflow.measured import SEARCH, Estimate, Objective
from infoflow.searching.count import ModuleCount
from infoflow.searching.starts import normalised_cut
from infoflow.unit_similarity import MEASURES

BUDGET, SAMPLES = 150, 10
RESOLUTIONS = (0.5, 1.0, 2.0)
_ITERATIONS = 100  # until nothing changes, igraph went on for ever on slopes of 1e-18 to 69
MOST = 8  # modules that an eigengap may show, and that chance may say
Owner = Literal["others", "ours", "chance"]
Labels = np.ndarray
T = TypeVar("T")


class Look:
    """One recording, and what several methods need of it, computed once.

    Attributes:
        rec: The recording.
        seconds: What each shared part took, processor time.
        used: Shared parts that were asked for since `timed` began.
    """

    def __init__(self, rec: ifl.Recording) -> None:
        self.rec = rec
        self.seconds: dict[str, float] = {}
        self.used: set[str] = set()
        self._kept: dict[str, Any] = {}

    def keep(self, name: str, make: Callable[[], T]) -> T:
        """The shared part of that name, made when it is first asked for."""
        if name not in self._kept:
            start = time.process_time()
            self._kept[name] = make()
            self.seconds[name] = time.process_time() - start
        self.used.add(name)
        return self._kept[name]

    def timed(self, method: Callable[[], T]) -> tuple[T, float]:
        """What a method gives, and its processor time, as if it had made all parts itself."""
        before, self.used = sum(self.seconds.values()), set()
        start = time.process_time()
        found = method()
        own = time.process_time() - start - (sum(self.seconds.values()) - before)
        return found, max(own, 0.0) + sum(self.seconds[name] for name in self.used)

    def graph(self, name: str) -> np.ndarray:
        """`(n, n)` symmetric weights of at least 0, the diagonal 0; unused units without links."""
        return self.keep(name, lambda: _graph(self.rec, name))

    def count(self) -> ModuleCount:
        """What `how_many` says."""
        return self.keep("count", lambda: ifl.how_many(self.rec))

    def searched(self, objective: Estimate, k: int | None) -> Labels:
        """Labels of the least exchange; k None: as many modules as are counted."""
        options: Any = {"objective": objective, "budget": BUDGET, "samples": SAMPLES}
        if k is None:
            counted = self.count().n_modules
            if counted == 1:
                return np.zeros(len(self.rec.units), dtype=int)
            if f"{objective} {counted}" in self._kept:
                return self.keep(f"{objective} {counted}", lambda: np.zeros(0))
        name = f"{objective} {'free' if k is None else k}"
        return self.keep(
            name, lambda: ifl.search(self.rec, n_modules=k, **options).partition.labels
        )


def _graph(rec: ifl.Recording, name: str) -> np.ndarray:
    if name == "flows":
        draws = replace(SEARCH, seed=0)
        found = np.maximum(ExchangeMeter(rec, draws, Objective()).traffic.unit_flow, 0.0)
    else:
        found = np.abs(np.asarray(ifl.similarity(rec, name))) / 2
    used = ~rec.units.unused
    found = (found + found.T) * np.outer(used, used)
    np.fill_diagonal(found, 0.0)
    return found


def largest_q(look: Look, k: int | None, graph: str) -> Labels:
    """The partition of largest Q."""
    return ifl.find_modules(look.graph(graph), n_modules=k).partition.labels


def cut(look: Look, k: int | None, graph: str) -> Labels:
    """Normalised cut by k-means on eigenvectors; k None: the largest gap of the eigenvalues."""
    matrix = look.graph(graph)
    k = _eigengap(matrix) if k is None else k
    found = normalised_cut(matrix, k) if k > 1 else None
    return np.zeros(len(matrix), dtype=int) if found is None else found.labels


def _eigengap(matrix: np.ndarray) -> int:
    degree = matrix.sum(0)
    linked = degree > 0
    scale = degree[linked] ** -0.5
    values = np.linalg.eigvalsh(scale[:, None] * matrix[np.ix_(linked, linked)] * scale)[::-1]
    return int(np.argmax(-np.diff(values[: MOST + 1]))) + 1


def leiden(look: Look, k: int | None, graph: str, resolution: float) -> Labels:
    """Leiden on modularity at a resolution; k given: at the first that gives k modules, or nearly.

    Raises:
        ImportError: Without igraph, which is GPL and no part of this package.
    """
    try:
        import igraph
    except ImportError as error:
        raise ImportError("the Leiden methods need igraph: pip install '.[bench]'") from error
    import random

    matrix = look.graph(graph)
    network = igraph.Graph.Weighted_Adjacency(matrix, mode="undirected", loops="ignore")

    def at(value: float) -> Labels:
        igraph.set_random_number_generator(random.Random(0))
        found = network.community_leiden(
            "modularity", weights="weight", resolution=value, n_iterations=_ITERATIONS
        )
        return ifl.Partition(np.where(matrix.any(0), found.membership, -1)).labels

    if k is None:
        return at(resolution)
    tried = []
    for value in np.geomspace(0.05, 20, 40):
        tried.append(at(float(value)))
        if tried[-1].max() + 1 >= k:
            break
    return min(tried, key=lambda labels: abs(labels.max() + 1 - k))


def counted(look: Look, k: int | None) -> Labels:
    """The count's own partition; there is none for a k that is given."""
    if k is not None:
        raise ValueError("how_many counts; it takes no number")
    return look.count().partition.labels


def searched(look: Look, k: int | None, objective: Estimate) -> Labels:
    """`search`: the partition that exchanges least."""
    return look.searched(objective, k)


def chance(look: Look, k: int | None) -> Labels:
    """Random labels of k modules, or of 1 to 8."""
    rng = np.random.default_rng(len(look.rec.units))
    return rng.integers(
        int(rng.integers(1, MOST + 1)) if k is None else k, size=len(look.rec.units)
    )


@dataclass(frozen=True)
class Method:
    """A method and whose it is."""

    find: Callable[[Look, int | None], Labels]
    owner: Owner


def _methods() -> dict[str, Method]:
    found: dict[str, Method] = {}
    graphs = (*MEASURES, "weights", "spearman", "slopes", "flows")
    for graph in graphs:
        owner: Owner = "ours" if graph == "flows" else "others"
        found[f"Q {graph}"] = Method(partial(largest_q, graph=graph), owner)
    for graph in graphs[len(MEASURES) :]:
        owner = "ours" if graph == "flows" else "others"
        found[f"n-cut {graph}"] = Method(partial(cut, graph=graph), owner)
        for resolution in RESOLUTIONS:
            find = partial(leiden, graph=graph, resolution=resolution)
            found[f"Leiden {resolution:g} {graph}"] = Method(find, owner)
    found["count"] = Method(counted, "ours")
    for objective in ("codes", "gaussian", "kernel", "cells"):
        find = partial(searched, objective=objective)
        found[f"search {objective}"] = Method(find, "ours")
    return {**found, "random": Method(chance, "chance")}


METHODS = _methods()
