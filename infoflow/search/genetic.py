"""Genetic search over partitions: whole modules are inherited, single units are moved."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from infoflow.partition import Partition
from infoflow.search.annealing import COLD, HOT, anneal, climbing
from infoflow.search.ledger import Ledger
from infoflow.search.moves import distances, injected, moved, mutated
from infoflow.search.space import Space


def genetic(
    ledger: Ledger,
    space: Space,
    starts: Sequence[Partition],
    *,
    spread: float,
    restarts: int = 1,
    population: int = 24,
    offspring: int = 8,
    patience: int = 300,
) -> None:
    """Populations, each followed by annealing from its best member.

    Offspring inherit whole modules (group injection, Falkenauer 1992), then units move and modules
    merge and split; half are the best members with one unit moved. The best members always
    survive; members one move apart do not both. Plain genetic search loses to local search: with
    5,000 evaluations on a digits network a population with hill climbing ended nearly twice as
    far from the best known as label crossover did, and annealing at the best known. So it gets a
    sixth of the budget at most, to choose where annealing starts.

    Args:
        ledger: Measures, and holds the budget, which the populations share equally.
        space: Partitions allowed.
        starts: Members of the first population, beside random ones.
        spread: Standard deviation of the value over random partitions.
        restarts: Number of populations.
        population: Members kept.
        offspring: Made and measured together.
        patience: A population ends after so many evaluations without a better member.
    """
    given = list(starts)
    for start in range(restarts):
        if not ledger.left:
            return
        own = ledger.left // (restarts - start)
        ends = ledger.left - own // 6
        members = _populated(ledger, space, given, population)
        best = _evolved(ledger, space, members, population, offspring, patience, ends)
        steps = int(0.9 * (own - (own // 6)))
        anneal(ledger, space, best, steps=steps, hot=0.5 * HOT * spread, cold=COLD * spread)
        given = []
    if ledger.best is not None:
        climbing(ledger, space, [ledger.best])


def _populated(
    ledger: Ledger, space: Space, given: Sequence[Partition], population: int
) -> list[Partition]:
    members = list(dict.fromkeys(given))[:population]
    for _ in range(10 * population):  # small spaces have fewer partitions than members
        if len(members) >= population:
            break
        drawn = space.random(ledger.rng)
        if drawn not in members:
            members.append(drawn)
    ledger.many(members)
    return _survivors(ledger, members, population)


def _evolved(
    ledger: Ledger,
    space: Space,
    members: list[Partition],
    population: int,
    offspring: int,
    patience: int,
    ends: int,
) -> Partition:
    """The best member once none better has come for a while, or `ends` evaluations are left."""
    best, waited, idle = min(ledger.known.get(m, np.inf) for m in members), 0, 0
    while ledger.left > ends and waited < patience and idle < 10:
        before = ledger.left
        children = [_child(members, space, ledger.rng) for _ in range(offspring)]
        ledger.many(children)
        known = [c for c in dict.fromkeys(children) if c in ledger.known and c not in members]
        members = _survivors(ledger, members + known, population)
        spent = before - ledger.left
        value = ledger.known[members[0]]
        waited = 0 if value < best else waited + spent
        idle = idle + 1 if spent == 0 else 0
        best = min(best, value)
    return members[0]


def _child(members: Sequence[Partition], space: Space, rng: np.random.Generator) -> Partition:
    if rng.random() < 0.5 or len(members) < 2:
        return moved(members[_ranked(rng, max(len(members) // 4, 1))], rng)
    mother, father = members[_ranked(rng, len(members))], members[_ranked(rng, len(members))]
    most = mother.n_modules if space.least == space.most else space.most
    child = mutated(injected(mother, father, most, rng), space, rng)
    return child if space.least <= child.n_modules <= space.most else mother


def _survivors(ledger: Ledger, members: Sequence[Partition], population: int) -> list[Partition]:
    """The best members, none a single move from a better one while there are others."""
    order = sorted((m for m in members if m in ledger.known), key=ledger.known.__getitem__)
    if not order:
        return list(members)
    near = distances(order) <= 1
    kept: list[int] = []
    for number in range(len(order)):
        if len(kept) < population and not near[number, kept].any():
            kept.append(number)
    if len(kept) < population // 2:  # few are left: a small space, or the end
        kept = list(range(min(population, len(order))))
    return [order[number] for number in kept]


def _ranked(rng: np.random.Generator, count: int) -> int:
    """A rank, better ones more often (tournament of two)."""
    return int(rng.integers(count, size=2).min())
