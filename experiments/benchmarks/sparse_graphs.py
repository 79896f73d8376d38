"""Modules of sparse graphs beside leidenalg and igraph, on the same graphs.

    python -m experiments.benchmarks.sparse_graphs

The peers are GPL and no dependency: where they are not installed, only ours is timed. Rows go to
results/sparse_graphs.csv; what came out stands in docs/scale.md.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import tyro

import infoflow as ifl

RESULTS = Path(__file__).parent / "results" / "sparse_graphs.csv"


def main(seeds: int = 3, results: Path = RESULTS) -> None:
    """Write a row for each graph, method and seed.

    Args:
        seeds: Runs of each method, best of Q and time by itself in each row.
        results: The table.
    """
    ours(planted(600, 6, 9_000, 0.6)[0], 0)  # compiles
    rows = []
    for name, (S, truth) in GRAPHS.items():
        for method, find in methods().items():
            for seed in range(seeds):
                start = time.process_time()
                labels = find(S, seed)
                took = time.process_time() - start
                row = {"graph": name, "method": method, "seed": seed, "seconds": round(took, 3)}
                row |= {"units": len(truth), "edges": S.nnz // 2, "q": ifl.modularity(S, labels)}
                row["modules"] = int(labels.max()) + 1
                row["as planted"] = bool(ifl.Partition(labels) == ifl.Partition(truth))
                rows.append(row)
                print(row, flush=True)
                results.parent.mkdir(exist_ok=True)
                pd.DataFrame(rows).round(6).to_csv(results, index=False)


def planted(
    n: int, blocks: int, pairs: int, inside: float, seed: int = 0
) -> tuple[sp.csr_array, np.ndarray]:
    """A random graph of so many drawn pairs, of which a share lies inside equal blocks."""
    rng = np.random.default_rng(seed)
    size = n // blocks
    one = rng.integers(n, size=pairs)
    near = one // size * size + rng.integers(size, size=pairs)
    other = np.where(rng.random(pairs) < inside, near, rng.integers(n, size=pairs))
    half = sp.coo_array((rng.random(pairs) + 0.5, (one, other)), (n, n)).tocsr()
    whole = sp.csr_array(half + half.T)
    return sp.csr_array(whole - sp.diags_array(whole.diagonal())), np.arange(n) // size


GRAPHS = {
    "10,000 units, 50 blocks": planted(10_000, 50, 300_000, 0.6),
    "10,000 units, 50 faint blocks": planted(10_000, 50, 300_000, 0.25),
    "40,000 units, 100 blocks": planted(40_000, 100, 1_200_000, 0.6),
}


def ours(S: sp.csr_array, seed: int, rounds: int | None = None) -> np.ndarray:
    return ifl.find_modules(S, seed=seed, restarts=0, perturbations=rounds).partition.labels


def methods() -> dict[str, Callable[[sp.csr_array, int], np.ndarray]]:
    found: dict[str, Callable[[sp.csr_array, int], np.ndarray]] = {
        "find_modules, no rounds": lambda S, seed: ours(S, seed, 0),
        "find_modules": lambda S, seed: ifl.find_modules(S, seed=seed).partition.labels,
    }
    if find_spec("leidenalg"):
        found["leidenalg"] = leidenalg
        found["leidenalg, until nothing changes"] = lambda S, seed: leidenalg(S, seed, -1)
    if find_spec("igraph"):
        found["igraph Louvain"] = louvain
    return found


def _graph(S: sp.csr_array) -> Any:
    igraph: Any = importlib.import_module("igraph")
    upper = sp.coo_array(sp.triu(S, 1))
    graph = igraph.Graph(n=len(S.indptr) - 1, edges=np.stack([upper.row, upper.col], 1))
    graph.es["weight"] = upper.data
    return graph


def leidenalg(S: sp.csr_array, seed: int, iterations: int = 2) -> np.ndarray:
    peer: Any = importlib.import_module("leidenalg")
    kind = peer.ModularityVertexPartition
    found = peer.find_partition(
        _graph(S), kind, weights="weight", seed=seed, n_iterations=iterations
    )
    return np.array(found.membership)


def louvain(S: sp.csr_array, _seed: int) -> np.ndarray:
    return np.array(_graph(S).community_multilevel(weights="weight").membership)


if __name__ == "__main__":
    tyro.cli(main)
