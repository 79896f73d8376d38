"""Genetic search over partitions: whole modules are inherited, annealing finishes each child."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from infoflow.partition import Partition
from infoflow.searching.annealing import COLD, HOT, anneal, finish
from infoflow.searching.log import EvaluationLog
from infoflow.searching.moves import distances, injected, mutated
from infoflow.searching.space import Space

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
