"""Other rules for the number of modules, on the same unit flows of tuning networks.

    python -m experiments.how_many.candidates

| rule | number of modules |
|---|---|
| structure | `how_many`: divide while the flows have more structure than shuffled ones |
| cut | divide while the best cut in two is smaller than that of all 99 shuffles |
| gap | first k whose best cut, below that of shuffles, is not beaten by k + 1 (Tibshirani 2001) |
| eigengap | largest drop between neighbouring eigenvalues of the normalised flows |
| blocks | degree-corrected block model of bits as counts, penalised (Karrer and Newman 2011) |
| stability | largest k whose best cuts on five draws agree (adjusted Rand index at least .9) |
| ratio | least best cut ÷ mean cut of random partitions into as many (2 to 8), the rule before |

One row a network and rule; k is 1 to 10 where a rule can say so.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import torch
import tyro
from sklearn.metrics import adjusted_rand_score

import infoflow as ifl
from experiments.common.cells import Row, measure_cells
from experiments.how_many.networks import LINKS, planted
from experiments.how_many.rows import RESULTS
from infoflow.exchanges import ExchangeMeter
from infoflow.measured import SEARCH, Objective
from infoflow.searching.count import divisions
from infoflow.searching.flow_graph import FlowGraph, spectrum
from infoflow.searching.proxy import ncut
from infoflow.searching.space import divided_units, random_partition

NUMBERS = range(2, 11)
FIELDS = ("seed", "k", "cross", "rule", "found", "right")


def best_cut(links: np.ndarray, k: int, rng: np.random.Generator) -> tuple[float, np.ndarray]:
    """The least normalised cut found into k modules, and its labels."""
    if k == 1:
        return 0.0, np.zeros(len(links), int)
    labels = divisions(links, k, rng)[0]
    return ncut(links, ifl.Partition(labels)), labels


def by_cut(graph: FlowGraph, rng: np.random.Generator, n_null: int = 99) -> int:
    """Modules, divided while the best cut in two is below that of every shuffle."""
    if len(graph.units) < 6:
        return 1
    value, halves = best_cut(graph.links, 2, rng)
    for links in graph.shuffled(n_null, rng):
        if best_cut(links, 2, rng)[0] <= value:
            return 1
    return sum(by_cut(graph.among(np.flatnonzero(halves == half)), rng) for half in (0, 1))


def by_gap(graph: FlowGraph, rng: np.random.Generator, n_null: int = 10) -> int:
    """Modules, by the gap statistic of best cuts."""
    nulls = graph.shuffled(n_null, rng)
    gaps, errors = [0.0], [0.0]
    for k in NUMBERS:
        drawn = np.array([best_cut(links, k, rng)[0] for links in nulls])
        gaps.append(float(drawn.mean() - best_cut(graph.links, k, rng)[0]))
        errors.append(float(drawn.std() * (1 + 1 / n_null) ** 0.5))
    for k in range(1, len(gaps)):
        if gaps[k - 1] >= gaps[k] - errors[k]:
            return k
    return len(gaps)


def by_eigengap(graph: FlowGraph) -> int:
    """Modules, by the largest drop of eigenvalues."""
    values = np.concatenate([[1.0], spectrum(graph.links)[: NUMBERS[-1]]])
    return int(np.argmax(values[:-1] - values[1:])) + 1


def by_blocks(graph: FlowGraph, rng: np.random.Generator) -> int:
    """Modules, by the penalised likelihood of a degree-corrected block model."""
    n, found = len(graph.units), []
    for k in (1, *NUMBERS):
        member = np.eye(k)[best_cut(graph.links, k, rng)[1]]
        between = member.T @ graph.links @ member
        degree = between.sum(0)
        expected = np.outer(degree, degree)
        seen = between > 0
        likelihood = 0.5 * (between[seen] * np.log(between[seen] / expected[seen])).sum()
        pairs = n * (n + 1) / 2
        found.append(likelihood - n * np.log(k) - k * (k + 1) / 4 * np.log(pairs))
    return int(np.argmax(found)) + 1


def by_stability(graphs: list[FlowGraph], rng: np.random.Generator) -> int:
    """Modules: the most whose best cuts agree on all draws."""
    common = sorted(set.intersection(*(set(graph.units.tolist()) for graph in graphs)))
    graphs = [graph.among(np.flatnonzero(np.isin(graph.units, common))) for graph in graphs]
    stable = 1
    for k in NUMBERS:
        labels = [best_cut(graph.links, k, rng)[1] for graph in graphs]
        if np.mean([adjusted_rand_score(a, b) for a, b in combinations(labels, 2)]) >= 0.9:
            stable = k
    return stable


def by_ratio(graph: FlowGraph, rng: np.random.Generator) -> int:
    """Modules: the least best cut ÷ mean cut of random partitions."""
    everything, found = np.ones(len(graph.units), bool), []
    for k in range(2, 9):
        drawn = [ncut(graph.links, random_partition(everything, k, rng)) for _ in range(50)]
        found.append(best_cut(graph.links, k, rng)[0] / np.mean(drawn))
    return int(np.argmin(found)) + 2


def study(seed: int, k: int, cross: float) -> list[Row]:
    """One row a rule."""
    rec, _ = planted(seed, k, cross).build()
    meters = [ExchangeMeter(rec, replace(SEARCH, seed=s), Objective()) for s in range(5)]
    layer = rec.units.layer_index
    graphs = [FlowGraph.of(m.traffic.unit_flow, layer, divided_units(m, 2)) for m in meters]
    graph, rng = graphs[0], np.random.default_rng(seed)
    found = {
        "structure": ifl.how_many(rec, meter=meters[0], seed=seed).n_modules,
        "cut": by_cut(graph, rng),
        "gap": by_gap(graph, rng),
        "eigengap": by_eigengap(graph),
        "blocks": by_blocks(graph, rng),
        "stability": by_stability(graphs, rng),
        "ratio": by_ratio(graph, rng),
    }
    named: Row = {"seed": seed, "k": k, "cross": cross}
    return [named | {"rule": r, "found": n, "right": int(n == k)} for r, n in found.items()]


def main(
    first: int = 0,
    networks: int = 2,
    cross: tuple[float, ...] = LINKS,
    name: str = "candidates.csv",
) -> None:
    """Ask every rule about so many networks for each number of tracks and strength of links.

    Args:
        first: Seed of the first network.
        networks: How many.
        cross: Strengths of links; one track has none.
        name: File in results/.
    """
    torch.set_num_threads(1)
    cells = [
        (seed, k, links)
        for seed in range(first, first + networks)
        for k in range(1, 9)
        for links in (cross if k > 1 else (0.0,))
    ]
    measure_cells(RESULTS / name, FIELDS, FIELDS[:3], cells, study, rows_each=7)


if __name__ == "__main__":
    tyro.cli(main)
