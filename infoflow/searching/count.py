"""How many modules: divide as long as flows say more than who sends and who receives how much."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from infoflow._arguments import door, real, whole
from infoflow.exchanges import ExchangeMeter
from infoflow.exchanges.weighting import measure_traffic
from infoflow.measured import SEARCH, Null, Objective
from infoflow.partition import Partition
from infoflow.recording import Recording
from infoflow.saving import Saved
from infoflow.searching.flow_graph import FlowGraph, shares
from infoflow.searching.space import check_downstream, divided_units
from infoflow.searching.starts import completed, normalised_cut

if TYPE_CHECKING:
    import pandas as pd

ALPHA = 0.005  # up to eight modules are tested in the end: 4 % of networks with one too many
N_NULL = 399
_FIRST = 99  # shuffles; a p-value above _CLEAR then needs no more of them
_CLEAR = 0.05
_DIRECTIONS = 12
_STEPS = 30  # of annealing the cut, per unit
_HOT, _COLD = 0.01, 1e-4  # in units of the cut, which is between 0 and the number of modules
_SAME = 0.8  # units in both of those in either: a module and one that was divided
_FEWEST = 6  # units: fewer are not divided
_LEAST = 0.1  # strength: any division in two leaves nine tenths of what one at random crosses


@dataclass(frozen=True, eq=False)
class ModuleCount(Saved):
    """How many modules the flows between single units show, and the tests behind it.

    Attributes:
        partition: Into so many modules, by the normalised cut of the unit flows; units that are
            silent or change nothing are in none.
        test: The test that there are modules at all: structure of all units' flows against that
            of shuffled flows.
        inside: `(k,)` p-value of the same test within each module; nan for a module too small, or
            of units so much alike that no division could be one.
        alpha: A module was divided where that was at most this.
        isolated: Parts of the network with no flow between them at all, which are modules whatever
            the tests say.
    """

    partition: Partition
    test: Null
    inside: np.ndarray
    alpha: float
    isolated: int

    @property
    def n_modules(self) -> int:
        """Modules; 1 where none were found."""
        return self.partition.n_modules

    @property
    def p_value(self) -> float:
        """How often a network without any modules shows as much structure. No modules are looked
        for, in the network or in the shuffles, so no search makes it too small."""
        return self.test.p_value

    def to_frame(self) -> pd.DataFrame:
        """One row a module: `module`, `units`, `p_value` of modules inside it."""
        import pandas as pd

        return pd.DataFrame(
            {
                "module": np.arange(self.n_modules),
                "units": self.partition.sizes,
                "p_value": self.inside,
            }
        )

    def __repr__(self) -> str:
        what = f"{self.n_modules} modules" if self.n_modules > 1 else "no modules"
        apart = f", {self.isolated} isolated parts" if self.isolated > 1 else ""
        return f"ModuleCount({what}{apart}, p = {self.p_value:.3g} where there are none)"


@door(alpha=real(0, 1, above=True), n_null=whole(1, 10**7))
def how_many(
    rec: Recording,
    *,
    alpha: float = ALPHA,
    n_null: int = N_NULL,
    seed: int = 0,
    meter: ExchangeMeter | None = None,
) -> ModuleCount:
    """How many modules a network has, one (no modules) among the answers.

    The flows between single units, given the context, are compared with shuffled ones in which
    every unit sends and receives as much (`FlowGraph.shuffled`). If more of their structure lies
    in few directions than in all but `alpha` of the shuffles, the units are divided in two by
    their normalised cut; each part is tested and divided in turn as if it were all there is, and
    after each round all units may change modules. Parts with no flow between them at all are
    modules without a test.

    Args:
        rec: A recording.
        alpha: Level of significance of each division.
        n_null: Shuffles; a test whose p-value is clearly above 0.05 after 99 of them stops there.
        seed: Of draws and shuffles.
        meter: Whose traffic and units to take; by default a new one's.

    Raises:
        ValueError: alpha outside (0, 1), or below what n_null shuffles can tell; no recorded unit
            downstream of another.

    Examples:
        >>> from infoflow import toys
        >>> how_many(toys.load_modules("isolated_tracks").record()).n_modules
        2
    """
    check_level(alpha, n_null)
    if meter is None:
        meter = ExchangeMeter(rec, replace(SEARCH, seed=seed), Objective())
    check_downstream(meter)
    used = divided_units(meter, 2)
    traffic = meter.traffic
    if not meter.given_context:  # plain flows of single units lie mostly below their noise
        traffic = measure_traffic(rec, meter.draws, Objective())
    graph = FlowGraph.of(traffic.unit_flow, rec.units.layer_index, used)
    labels, test, inside = _divided(graph, alpha, n_null, np.random.default_rng(seed))
    whole = completed(Partition(labels).embed(graph.units, len(rec.units)), used)
    first = [int(labels[np.isin(graph.units, m) & (labels >= 0)][0]) for m in whole.modules]
    isolated = max(int(_components(graph.links).max(initial=-1)) + 1, 1)
    return ModuleCount(whole, test, inside[first], alpha, isolated)


def check_level(alpha: float, n_null: int) -> None:
    """Raises:
    ValueError: alpha outside (0, 1), or below what so many shuffles can tell.
    """
    if not 1 / (n_null + 1) <= alpha < 1:
        raise ValueError(
            f"expected alpha in [{1 / (n_null + 1):.3g}, 1): {n_null} shuffles tell no smaller "
            f"p-value; got {alpha}"
        )


def structure_test(graph: FlowGraph, n_null: int, rng: np.random.Generator) -> Null:
    """Does more of the flows' structure lie in few directions than chance gives?

    Of the shares of the first 1, 2, ... 12 directions (`flow_graph.shares`) the largest deviation
    from their mean, in standard deviations, both over the shuffles and the graph itself, so that
    all have the same distribution where there is nothing.

    Args:
        graph: Of the units asked about.
        n_null: Shuffles; 99 where the p-value is above 0.05 after them.
        rng: Source of randomness.
    """
    most = max(min(_DIRECTIONS, len(graph.units) // 2), 1)
    held = shares(graph.links, most)[None]
    deviation = np.zeros(1)
    for count in (min(_FIRST, n_null), n_null - _FIRST):
        if count > 0:
            held = np.concatenate([held, graph.shares_by_chance(count, most, rng)])
            deviation = ((held - held.mean(0)) / np.maximum(held.std(0), 1e-9)).max(1)
        null = Null(float(deviation[0]), deviation[1:], what="structure of unit flows, shuffled")
        if null.p_value > _CLEAR:
            break
    return null


def division_p_value(graph: FlowGraph, n_null: int, rng: np.random.Generator) -> float:
    """The p-value of `structure_test`; 0 where the graph has parts without any link between, 1
    where it has too few units, or such that are too much alike, for it to divide."""
    isolated = _components(graph.links).max(initial=-1) > 0
    if isolated or not _divisible(graph):
        return 0.0 if isolated else 1.0
    return structure_test(graph, n_null, rng).p_value


def _divisible(graph: FlowGraph) -> bool:
    return len(graph.units) >= _FEWEST and graph.strength >= _LEAST


def _divided(
    graph: FlowGraph, alpha: float, n_null: int, rng: np.random.Generator
) -> tuple[np.ndarray, Null, np.ndarray]:
    """Labels of the graph's units (-1 for those without links), the test of all of them together,
    and the p-value within each module."""
    test = structure_test(graph, n_null, rng)
    labels = _components(graph.links)
    if labels.max(initial=-1) < 0:  # no unit by itself reaches any other
        return np.zeros_like(labels), test, np.array([test.p_value])
    whole = test.p_value if _divisible(graph) else float("nan")
    known: dict[bytes, float] = {(labels >= 0).tobytes(): whole}

    def tested() -> Iterator[float]:
        for module in range(labels.max(initial=-1) + 1):
            own = labels == module
            if own.tobytes() not in known:
                part = graph.among(np.flatnonzero(own))
                tried = _divisible(part)
                p = structure_test(part, n_null, rng).p_value if tried else float("nan")
                known[own.tobytes()] = p
            yield known[own.tobytes()]

    divided: list[np.ndarray] = []
    while True:
        p_values = np.array(list(tested()))
        divisible = np.flatnonzero(p_values <= alpha)
        if not len(divisible):
            return labels, test, p_values
        for module in divisible:
            divided.append(labels == module)
            own = np.flatnonzero(labels == module)
            halves = divisions(graph.links[np.ix_(own, own)], 2, rng)[0]
            labels[own[halves == 1]] = labels.max() + 1
        linked = np.flatnonzero(labels >= 0)
        links, found = graph.links[np.ix_(linked, linked)], labels.copy()
        for moved in divisions(links, int(labels.max()) + 1, rng, labels[linked]):
            found[linked] = moved
            if not _undone(found, divided):
                labels = found
                break


def _undone(labels: np.ndarray, divided: list[np.ndarray]) -> bool:
    """Whether a module is again nearly what was divided before: the cheapest cut may be in another
    part, which would be cut in turn, and so on."""
    modules = [labels == m for m in range(labels.max() + 1)]
    return any((m & old).sum() > _SAME * (m | old).sum() for m in modules for old in divided)


def _components(links: np.ndarray) -> np.ndarray:
    """`(n,)` labels of parts without any link between them; -1 for single units."""
    from scipy.sparse.csgraph import connected_components

    labels = connected_components(links > 0, directed=False)[1]
    alone = np.bincount(labels)[labels] == 1
    return Partition(np.where(alone, -1, labels)).labels.copy()


def divisions(
    links: np.ndarray, k: int, rng: np.random.Generator, start: np.ndarray | None = None
) -> list[np.ndarray]:
    """`(n,)` labels of k modules of small normalised cut, the smallest first: from the leading
    eigenvectors and from `start`, by annealing at low temperature."""
    from infoflow.searching._kernel import EACH, annealed, summed, value_after

    begun = [np.arange(len(links)) % k] if start is None else [start]
    spectral = normalised_cut(links, k, int(rng.integers(2**31)))
    if spectral is not None and spectral.n_modules == k:
        begun.append(completed(spectral, np.ones(len(links), dtype=bool)).labels)
    graph = (EACH, links, np.zeros_like(links), links.sum(0))
    found: list[tuple[float, np.ndarray]] = []
    for labels in begun:
        state = rng.integers(2**63, size=1).astype(np.uint64)
        ends = annealed(graph, labels.copy(), k, _STEPS * len(links), _HOT, _COLD, state)
        found.append((value_after(graph, summed(graph, ends, k), ends, 0, ends[0]), ends))
    return [ends for _, ends in sorted(found, key=lambda pair: pair[0])]
