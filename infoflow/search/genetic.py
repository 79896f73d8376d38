"""Genetic search over partitions: whole modules are inherited, single units are moved."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from infoflow.partition import Partition
from infoflow.search.annealing import climb
from infoflow.search.ledger import Ledger
from infoflow.search.moves import distance, injected, moved, mutated
from infoflow.search.space import Space


def genetic(
    ledger: Ledger,
    space: Space,
    starts: Sequence[Partition],
    *,
    population: int = 24,
    offspring: int = 8,
    patience: int = 400,
) -> None:
    """Populations one after the other until the budget is spent.

    Offspring inherit whole modules (group injection, Falkenauer 1992), then units move and modules
    merge and split. Plain genetic search loses to local search, so half of the offspring are the
    best members with one unit moved, and each population ends with hill climbing from its best.
    The best members always survive; members one move apart do not both.

    Args:
        ledger: Measures, and holds the budget.
        space: Partitions allowed.
        starts: Members of the first population, beside random ones.
        population: Members kept.
        offspring: Made and measured together.
        patience: A population ends after so many evaluations without a better member.
    """
    given, fruitless = list(starts), 0
    while ledger.left and fruitless < 3:
        before = ledger.left
        members = _populated(ledger, space, given, population)
        best = _evolved(ledger, space, members, population, offspring, patience)
        climb(ledger, space, best)
        given = []
        fruitless = fruitless + 1 if ledger.left == before else 0


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
) -> Partition:
    """The best member once none better has come for a while."""
    best, waited, idle = min(ledger.known[m] for m in members), 0, 0
    while ledger.left and waited < patience and idle < 10:
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
    kept: list[Partition] = []
    close: list[Partition] = []
    for member in order:
        if len(kept) == population:
            break
        crowd = any(distance(member, other) <= 1 for other in kept)
        (close if crowd else kept).append(member)
    return (kept + close)[:population] if len(kept) < population // 2 else kept


def _ranked(rng: np.random.Generator, count: int) -> int:
    """A rank, better ones more often (tournament of two)."""
    return int(rng.integers(count, size=2).min())
