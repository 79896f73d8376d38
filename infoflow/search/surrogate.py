"""Search screened by a proxy: the proxy proposes, the true measure judges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np

from infoflow.exchange.traffic import Traffic
from infoflow.exchange.weighting import Weighting, weigh
from infoflow.partition import Partition
from infoflow.search.annealing import COLD, HOT, anneal, climbing, stepped
from infoflow.search.ledger import Ledger
from infoflow.search.moves import neighbours
from infoflow.search.space import Space

Proxy = Callable[[Partition], float]
"""Partition -> a number that is small where few bits should cross."""


def flow_proxy(traffic: Traffic, weighting: Weighting) -> Proxy:
    """The cut of the unit flows, weighted as the true exchange is.

    What a module sends is taken to be what its units send one by one; what they send together
    only, or twice over, is missed. The null of equal sizes needs true exchanges, so for "size_null"
    and "size_z" the cut is divided by the pairs of units apart instead.
    """
    plain: Weighting = "pairs" if weighting in ("size_null", "size_z") else weighting

    unit_flow = traffic.unit_flow

    def proxy(partition: Partition) -> float:
        member = (partition.labels[:, None] == np.arange(partition.n_modules)).astype(np.float64)
        flow = member.T @ (unit_flow @ member)
        np.fill_diagonal(flow, 0.0)
        return weigh(plain, flow, partition, lambda: traffic, lambda: (1.0, 1.0))

    return proxy


def screened(
    ledger: Ledger,
    space: Space,
    starts: Sequence[Partition],
    proxy: Proxy,
    *,
    spread: float,
    inner: int = 400,
    judged: int = 8,
    proposals: int = 4,
) -> None:
    """Let a proxy choose what is measured.

    The proxy is minimised from several starts by annealing, and the ends are measured. Then the
    best partition's neighbours are measured in the order of their proxy, a few at a time; the
    first batch with an improvement is moved to, until no neighbour is better. A proxy that is
    wrong in details has said what it can by then: what is left of the budget goes to annealing of
    the true value from there, at low temperature. The budget counts true evaluations only.

    Args:
        ledger: Measures truly, and holds the budget.
        space: Partitions allowed.
        starts: Measured first.
        proxy: What is cheap.
        spread: Standard deviation of the true value over random partitions.
        inner: Proxy evaluations of each minimisation.
        judged: Neighbours measured at a time.
        proposals: Minimisations.
    """
    rng = ledger.rng
    ledger.many(list(starts))
    ledger.many([_minimised(proxy, space, rng, inner) for _ in range(proposals)])
    while ledger.left and ledger.best is not None:
        best = _descend(ledger, space, ledger.best, proxy, judged)
        steps = int(0.9 * ledger.left)
        if not steps:
            return
        anneal(ledger, space, best, steps=steps, hot=0.3 * HOT * spread, cold=COLD * spread)
        if ledger.best == best:
            climbing(ledger, space, [best])
            return


def _descend(
    ledger: Ledger, space: Space, start: Partition, proxy: Proxy, judged: int
) -> Partition:
    """One-unit moves, likeliest first, until no neighbour is better."""
    current, improved = start, True
    while improved and ledger.left:
        improved = False
        ranked = iter(sorted(neighbours(current, space, ledger.rng), key=proxy))
        while ledger.left and (some := list(islice(ranked, judged))):
            values = ledger.many(some)
            best = int(np.argmin(values))
            if values[best] < ledger.known[current]:
                current, improved = some[best], True
                break
    return current


def _minimised(proxy: Proxy, space: Space, rng: np.random.Generator, inner: int) -> Partition:
    """The best partition met by annealing the proxy from a random one."""
    drawn = [space.random(rng) for _ in range(8)]
    values = [proxy(p) for p in drawn]
    finite = [v for v in values if np.isfinite(v)]
    spread = float(np.std(finite)) if len(finite) > 1 else 1.0
    value = min(values)
    best = current = drawn[values.index(value)]
    least = value
    for step in range(inner):
        candidate = stepped(current, space, rng)
        found = proxy(candidate)
        temperature = max(0.5 * spread * 1e-3 ** (step / inner), 1e-300)
        if rng.random() < np.exp(-max(found - value, 0.0) / temperature):
            current, value = candidate, found
        if value < least:
            best, least = current, value
    return best
