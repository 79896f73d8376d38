"""FlowCut: the weighted cut of the unit flows, a proxy whose one-unit moves cost nearly nothing;
and the search that it screens for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from infoflow.exchanges.weighting import Traffic, weigh
from infoflow.measured import Weighting
from infoflow.partition import Partition
from infoflow.searching.log import EvaluationLog
from infoflow.searching.methods import COLD, HOT, anneal, climb, finish
from infoflow.searching.space import Space, random_partition

Graph = tuple[int, np.ndarray, np.ndarray, np.ndarray]
"""Kind of cut, links, a second graph and masses, as `_kernel` has them."""


class FlowCut:
    """The cut of the unit flows, weighted as the true exchange is.

    What a module sends is taken to be what its units send one by one; what they send together
    only, or twice over, is missed. The null of equal sizes needs true exchanges, so for "size_null"
    and "size_z" the cut is divided by the pairs of units apart instead.

    Args:
        traffic: Unit flows, and what the weightings need.
        weighting: Of the exchange that this stands for.

    Examples:
        >>> flow = np.kron(np.eye(2), np.ones((2, 2))) + 0.1
        >>> cut = FlowCut(Traffic(flow, np.ones(4), flow > 0), "none")
        >>> round(cut(Partition([0, 0, 1, 1])), 6), round(cut(Partition([0, 1, 0, 1])), 6)
        (0.8, 4.8)
    """

    def __init__(self, traffic: Traffic, weighting: Weighting) -> None:
        self.traffic = replace(traffic, together=None)  # in the quantity of its own cut
        self.weighting: Weighting = "pairs" if weighting in ("size_null", "size_z") else weighting

    def __call__(self, partition: Partition) -> float:
        """The weighted cut of one partition."""
        member = (partition.labels[:, None] == np.arange(partition.n_modules)).astype(np.float64)
        flow = member.T @ (self.traffic.unit_flow @ member)
        np.fill_diagonal(flow, 0.0)
        return weigh(self.weighting, flow, partition, lambda: self.traffic, lambda: (1.0, 1.0))

    def around(self, partition: Partition) -> np.ndarray:
        """`(n, k + 1)` weighted cut with each unit in each module, a new one last; nan for unused
        units."""
        from infoflow.searching._kernel import values_around

        units = np.flatnonzero(~partition.unused)
        found = np.full((len(partition), partition.n_modules + 1), np.nan)
        graph, labels = self._among(units), partition.labels[units].copy()
        found[units] = values_around(graph, labels, partition.n_modules)
        return found

    def annealed(
        self, start: Partition, *, steps: int, hot: float, cold: float, rng: np.random.Generator
    ) -> Partition:
        """The best partition met by annealing from `start`, into as many modules.

        Args:
            start: Where to begin.
            steps: Units moved, or pairs exchanged.
            hot, cold: Temperatures, first and last.
            rng: Source of randomness.
        """
        from infoflow.searching._kernel import annealed

        units = np.flatnonzero(~start.unused)
        state = rng.integers(2**63, size=1).astype(np.uint64)
        graph, labels = self._among(units), start.labels[units].copy()
        best = annealed(graph, labels, start.n_modules, steps, hot, cold, state)
        return Partition(best).embed(units, len(start))

    def _among(self, units: np.ndarray) -> Graph:
        """The kernel's graph, of these units only."""
        kind, links, apart, mass = self._graph
        block = np.ix_(units, units)
        return kind, links[block], apart[block], mass[units]

    @cached_property
    def _graph(self) -> Graph:
        from infoflow.searching._kernel import APART, EACH, LEAST, PLAIN

        traffic, n = self.traffic, len(self.traffic.unit_flow)
        ones, none = np.ones(n), np.zeros((n, n))
        kind, apart, mass = {
            "none": (PLAIN, none, ones),
            "pairs": (APART, np.ones((n, n)), ones),
            "cut_connections": (APART, traffic.connected, ones),
            "min_size": (LEAST, none, ones),
            "min_entropy": (LEAST, none, traffic.entropy),
            "conductance": (LEAST, none, traffic.per_unit),
            "ncut": (EACH, none, traffic.per_unit),
        }[self.weighting]
        return kind, _both_ways(traffic.unit_flow), _both_ways(apart), mass.astype(np.float64)


def _both_ways(flow: np.ndarray) -> np.ndarray:
    links = flow.astype(np.float64) + flow.T
    np.fill_diagonal(links, 0.0)
    return links


Proxy = Callable[[Partition], float]
"""Partition -> a number that is small where few bits should cross."""

# Steps of a minimisation of the proxy, per unit.
_STEPS_PER_UNIT = 50
# Minimisations at least; one for each number of modules allowed.
_PROPOSALS = 4


def screened(
    log: EvaluationLog,
    space: Space,
    starts: Sequence[Partition],
    proxy: FlowCut,
    *,
    spread: float,
) -> None:
    """Let a proxy choose what is measured.

    The proxy is minimised from several starts by annealing, and the ends are measured. Then the
    best partition's neighbours are measured in the order of their proxy, a few at a time; the
    first batch with an improvement is moved to, until no neighbour is better. A proxy that is
    wrong in details has said what it can by then: what is left of the budget goes to annealing of
    the true value from there, at low temperature. The budget counts true evaluations only.

    Args:
        log: Measures truly, and holds the budget.
        space: Partitions allowed.
        starts: Measured first.
        proxy: What is cheap.
        spread: Standard deviation of the true value over random partitions.
    """
    numbers = range(space.least, space.most + 1)
    log.many(list(starts))
    log.many(
        [
            _minimised(proxy, space, numbers[i % len(numbers)], log.rng)
            for i in range(max(_PROPOSALS, len(numbers)))
        ]
    )
    while log.left and log.best is not None:
        best = climb(log, space, log.best, cost=proxy.around)
        steps = int(0.9 * log.left)
        if not steps:
            return
        anneal(log, space, best, steps=steps, hot=0.3 * HOT * spread, cold=COLD * spread)
        if log.best == best:
            finish(log, space)
            return


def _minimised(proxy: FlowCut, space: Space, k: int, rng: np.random.Generator) -> Partition:
    """The best partition into k modules met by annealing the proxy from a random one."""
    drawn = [random_partition(space.used, k, rng) for _ in range(8)]
    values = np.array([proxy(p) for p in drawn])
    finite = values[np.isfinite(values)]
    spread = float(finite.std()) if len(finite) > 1 and finite.std() > 0 else 1.0
    return proxy.annealed(
        drawn[int(values.argmin())],
        steps=_STEPS_PER_UNIT * len(space.units),
        hot=0.5 * spread,
        cold=5e-4 * spread,
        rng=rng,
    )
