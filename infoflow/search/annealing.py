"""Local search by one-unit moves: hill climbing, and annealing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np

from infoflow.partition import Partition
from infoflow.search.ledger import Ledger
from infoflow.search.moves import moved, mutated, neighbours
from infoflow.search.space import Space


def annealing(
    ledger: Ledger,
    space: Space,
    starts: Sequence[Partition],
    *,
    spread: float,
    restarts: int = 1,
    coldest: float = 1e-3,
) -> None:
    """Metropolis moves of single units while a temperature falls, then hill climbing.

    A move that raises the value by Δ is taken with probability exp(-Δ/T); T falls geometrically
    from half the spread of random partitions to `coldest` times that.

    Args:
        ledger: Measures, and holds the budget, which the restarts share equally.
        space: Partitions allowed.
        starts: The first chain begins at the best of these, the others at random ones.
        spread: Standard deviation of the value over random partitions.
        restarts: Number of chains.
        coldest: Last temperature over the first.
    """
    rng = ledger.rng
    for chain in range(restarts):
        steps = ledger.left // (restarts - chain)
        ends = ledger.left - int(0.8 * steps)
        first = min(starts, key=ledger) if starts and chain == 0 else space.random(rng)
        current, value, idle = first, ledger(first), 0
        budget = max(ledger.left - ends, 1)
        while ledger.left > ends and idle < 50 * len(space.units):
            share = 1 - (ledger.left - ends) / budget
            temperature = 0.5 * spread * coldest**share
            before = ledger.left
            candidate = stepped(current, space, rng)
            found = ledger(candidate)
            if rng.random() < np.exp(-max(found - value, 0.0) / max(temperature, 1e-300)):
                current, value = candidate, found
            idle = idle + 1 if ledger.left == before else 0
        climb(ledger, space, current, at_most=int(0.2 * steps))
    if ledger.best is not None:  # what is left over
        climbing(ledger, space, [ledger.best])


def climbing(ledger: Ledger, space: Space, starts: Sequence[Partition], patience: int = 20) -> None:
    """Hill climbing from every start and then from random ones until the budget is spent."""
    queue, seen = list(starts), 0
    while ledger.left and seen < patience:
        before = ledger.left
        climb(ledger, space, queue.pop(0) if queue else space.random(ledger.rng))
        seen = seen + 1 if ledger.left == before else 0


def climb(
    ledger: Ledger,
    space: Space,
    start: Partition,
    *,
    at_most: int | None = None,
    batch: int = 8,
) -> bool:
    """From `start`, take the best of each few moves that improves, until no move does.

    Args:
        ledger: Measures, and holds the budget.
        space: Partitions allowed.
        start: Where to begin.
        at_most: Evaluations to spend.
        batch: Moves tried together.

    Returns:
        Whether it ended below where it began.
    """
    value = ledger(start)
    first, current = value, start
    ends = 0 if at_most is None else max(ledger.left - at_most, 0)
    improved = True
    while improved and ledger.left > ends:
        improved = False
        moves = neighbours(current, space, ledger.rng)
        while ledger.left > ends and (some := list(islice(moves, batch))):
            values = ledger.many(some)
            best = int(np.argmin(values))
            if values[best] < value:
                current, value, improved = some[best], values[best], True
                break
    return value < first


def stepped(partition: Partition, space: Space, rng: np.random.Generator) -> Partition:
    """One random change: mostly a unit moved; where their number may change, modules too."""
    if space.least == space.most or rng.random() < 0.8:
        return moved(partition, rng)
    changed = mutated(partition, space, rng)
    return changed if changed != partition else moved(partition, rng)
