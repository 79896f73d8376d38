"""Search screened by a proxy: the proxy proposes, the true measure judges."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from infoflow.partition import Partition
from infoflow.searching.annealing import COLD, HOT, anneal, climb, finish
from infoflow.searching.flow_cut import FlowCut
from infoflow.searching.log import EvaluationLog
from infoflow.searching.sampling import random_partition
from infoflow.searching.space import Space

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
