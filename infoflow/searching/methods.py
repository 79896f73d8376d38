"""The searches: by one-unit moves, genetic, whose children inherit whole modules, and unguided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, islice

import numpy as np

from infoflow.partition import Partition
from infoflow.searching.log import EvaluationLog
from infoflow.searching.moves import distances, exchanges, injected, moved, mutated, neighbours
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


# Evaluations per unit that a founder should have; a single founder where there are fewer.
_STEPS_PER_UNIT = 15
_MOST_MEMBERS = 2
# Shares of the budget: of all founders together, and of each child; a tenth is for the last climb.
_FOUNDING = 0.6
_CHILD = 0.1
# Random partitions that a founder is the best of. They differ in how even they are: from balanced
# ones alone no annealing came to the one quiet unit that is the minimum under "pairs".
_DRAWN = 8


def genetic(
    log: EvaluationLog,
    space: Space,
    starts: Sequence[Partition],
    *,
    spread: float,
    restarts: int = 1,
) -> None:
    """Few members, each the end of an annealing; their children are annealed in turn.

    Children inherit whole modules (group injection, Falkenauer 1992), then units move and modules
    merge and split, then annealing at low temperature. The best members always survive; members
    one move apart do not both. A classical population, of members that are only mutated, lost to
    local search: with 5,000 evaluations on a digits network it ended nearly twice as far from the
    best known as label crossover did, and annealing at the best known.

    Args:
        log: Measures, and holds the budget, which the populations share equally.
        space: Partitions allowed.
        starts: The first founder begins at the best of these, the others at random partitions, of
            even and uneven sizes.
        spread: Standard deviation of the value over random partitions.
        restarts: Number of populations.
    """
    given = list(starts)
    for start in range(restarts):
        own = log.left // (restarts - start)
        _population(log, space, given, own, spread)
        given = []
    finish(log, space)


def _population(
    log: EvaluationLog, space: Space, given: Sequence[Partition], own: int, spread: float
) -> None:
    """Found a population and breed it until so many evaluations are spent."""
    rng, ends = log.rng, log.left - int(0.9 * own)
    enough = int(_FOUNDING * own / (_STEPS_PER_UNIT * len(space.units)))
    count = min(max(enough, 1), _MOST_MEMBERS)
    cold, fruitless = COLD * spread, 0
    log.many(given)
    members: list[Partition] = []
    for number in range(count):
        known = [p for p in given if p in log.known] if number == 0 else []
        choice = known or [space.random(rng, uneven=True) for _ in range(_DRAWN)]
        first = choice[int(np.argmin(log.many(choice)))]
        hot = (0.5 if known else 1.0) * HOT * spread  # a good start is not to be melted
        steps = int(_FOUNDING * own / count)
        members.append(anneal(log, space, first, steps=steps, hot=hot, cold=cold))
    while log.left > ends and fruitless < 10:
        before = log.left
        child = _child(members, space, rng)
        steps = min(int(_CHILD * own), log.left - ends)
        end = anneal(log, space, child, steps=steps, hot=0.1 * HOT * spread, cold=cold)
        members = _survivors(log, [*members, end], count)
        fruitless = fruitless + 1 if log.left == before else 0


def _child(members: Sequence[Partition], space: Space, rng: np.random.Generator) -> Partition:
    mother, father = (members[int(rng.integers(len(members), size=2).min())] for _ in range(2))
    most = mother.n_modules if space.least == space.most else space.most
    child = mutated(injected(mother, father, most, rng), space, rng)
    return child if space.least <= child.n_modules <= space.most else mother


def _survivors(log: EvaluationLog, members: Sequence[Partition], count: int) -> list[Partition]:
    """The best members, none a single move from a better one."""
    value = {m: log.known.get(m, np.inf) for m in members}
    order = sorted(value, key=value.__getitem__)
    near = distances(order) <= 1
    kept: list[int] = []
    for number in range(len(order)):
        if len(kept) < count and not near[number, kept].any():
            kept.append(number)
    return [order[number] for number in kept]


MOST_UNITS = 14
MOST_PARTITIONS = 120_000


def check_exhaustive(space: Space) -> None:
    """Refuse a space that is too large to enumerate.

    Raises:
        ValueError: More than 14 units, or more than 120,000 partitions.
    """
    n = len(space.units)
    if n > MOST_UNITS or space.count > MOST_PARTITIONS:
        raise ValueError(
            f"{n} units have {space.count:.3g} partitions into {space.least} to {space.most} "
            f"modules: method='exhaustive' takes at most {MOST_UNITS} units and "
            f"{MOST_PARTITIONS:,} partitions; use method='genetic', or fix n_modules"
        )


def exhaustive(log: EvaluationLog, space: Space, batch: int = 64) -> None:
    """Measure all partitions of the space."""
    everything = space.all()
    while log.left and (some := list(islice(everything, batch))):
        log.many(some)


def sampling(
    log: EvaluationLog, space: Space, starts: Sequence[Partition], batch: int = 16
) -> None:
    """Measure random partitions until the budget is spent, or no new ones turn up."""
    log.many(list(starts))
    fruitless = 0
    while log.left and fruitless < 50:
        before = log.left
        log.many([space.random(log.rng) for _ in range(min(batch, log.left))])
        fruitless = fruitless + 1 if log.left == before else 0
