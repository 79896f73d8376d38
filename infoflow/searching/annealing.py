"""Local search by one-unit moves: hill climbing, and annealing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, islice

import numpy as np

from infoflow.partition import Partition
from infoflow.searching.log import EvaluationLog
from infoflow.searching.moves import exchanges, moved, mutated, neighbours
from infoflow.searching.space import Space

# Temperatures as shares of the standard deviation over random partitions. Measured on the cut of
# unit flows of digit networks, 5,000 evaluations: beginning at 0.5 or ending at 0.015 was worse.
HOT = 0.1
COLD = 5e-4


def annealing(
    log: EvaluationLog,
    space: Space,
    starts: Sequence[Partition],
    *,
    spread: float,
    restarts: int = 1,
) -> None:
    """Chains of Metropolis moves at falling temperature, then hill climbing from the best.

    Args:
        log: Measures, and holds the budget, which the chains share equally.
        space: Partitions allowed.
        starts: The first chain begins at the best of these, the others at random ones.
        spread: Standard deviation of the value over random partitions.
        restarts: Number of chains.
    """
    for number in range(restarts):
        first = min(starts, key=log) if starts and number == 0 else space.random(log.rng)
        steps = log.left // (restarts - number)
        anneal(log, space, first, steps=int(0.9 * steps), hot=HOT * spread, cold=COLD * spread)
    finish(log, space)


def anneal(
    log: EvaluationLog, space: Space, start: Partition, *, steps: int, hot: float, cold: float
) -> Partition:
    """One chain: a move that raises the value by Δ is taken with probability exp(-Δ/T), T falling
    geometrically from `hot` to `cold` while `steps` evaluations are spent.

    Moves to partitions that are known already cost nothing; the chain ends early when it finds no
    others. Returns the best partition of the chain.
    """
    rng = log.rng
    current, value, idle = start, log(start), 0
    best, least = current, value
    budget, ends = max(steps, 1), max(log.left - steps, 0)
    falls = cold / hot if hot else 1.0  # where all values seen are equal nothing raises them
    while log.left > ends and idle < 50 * len(space.units):
        before = log.left
        candidate = stepped(current, space, rng)
        found = log(candidate)
        temperature = max(hot * falls ** (1 - (before - ends) / budget), 1e-300)
        if rng.random() < np.exp(-max(found - value, 0.0) / temperature):
            current, value = candidate, found
        if value < least:
            best, least = current, value
        idle = idle + 1 if log.left == before else 0
    return best


def climbing(
    log: EvaluationLog, space: Space, starts: Sequence[Partition], patience: int = 20
) -> None:
    """Hill climbing from every start, best first, and then from random ones until the budget is
    spent."""
    log.many(starts)
    queue, seen = sorted(starts, key=lambda p: log.known.get(p, np.inf)), 0
    while log.left and seen < patience:
        before = log.left
        climb(log, space, queue.pop(0) if queue else space.random(log.rng))
        seen = seen + 1 if log.left == before else 0


def climb(
    log: EvaluationLog,
    space: Space,
    start: Partition,
    *,
    pairs: bool = False,
    batch: int = 8,
    cost: Callable[[Partition], np.ndarray] | None = None,
) -> Partition:
    """From `start`, take the best of each few moves that improves, until no move does.

    Args:
        log: Measures, and holds the budget.
        space: Partitions allowed.
        start: Where to begin.
        pairs: Where no unit moved improves, exchange pairs of units.
        batch: Moves tried together.
        cost: Of every move from a partition (see `neighbours`): cheapest first.

    Returns:
        Where no move improves, or the budget ended.
    """
    current, value = start, log(start)
    improved = True
    while improved and log.left:
        improved = False
        moves = neighbours(current, space, log.rng, cost(current) if cost else None)
        if pairs:
            moves = chain(moves, exchanges(current, space, log.rng))
        while log.left and (some := list(islice(moves, batch))):
            values = log.many(some)
            best = int(np.argmin(values))
            if values[best] < value:
                current, value, improved = some[best], values[best], True
                break
    return current


def finish(log: EvaluationLog, space: Space) -> None:
    """Climb from the best by units moved and exchanged; what is left goes to random starts."""
    if log.best is not None:
        climb(log, space, log.best, pairs=True)
        climbing(log, space, [])


def stepped(partition: Partition, space: Space, rng: np.random.Generator) -> Partition:
    """One random change: mostly a unit moved; where their number may change, modules too."""
    if space.least == space.most or rng.random() < 0.8:
        return moved(partition, rng)
    changed = mutated(partition, space, rng)
    return changed if changed != partition else moved(partition, rng)
