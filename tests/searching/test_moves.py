"""What a search tries: partitions, changes of them, and the order in which they are measured."""

from collections import Counter

import numpy as np
import pytest

import infoflow as ifl
from infoflow.exchanges import Values
from infoflow.searching.log import EvaluationLog
from infoflow.searching.methods import annealing, climb, climbing, genetic, sampling
from infoflow.searching.moves import (
    distances,
    exchanges,
    injected,
    merged,
    moved,
    mutated,
    neighbours,
    split,
)
from infoflow.searching.space import Space, random_partition, random_partitions

METHODS = {
    "genetic": lambda log, space: genetic(log, space, [], spread=1.0, restarts=2),
    "annealing": lambda log, space: annealing(log, space, [], spread=1.0, restarts=2),
    "climbing": lambda log, space: climbing(log, space, []),
    "sampling": lambda log, space: sampling(log, space, []),
}


def distance(a, b):
    return distances([a, b])[0, 1]


def hamming(target):
    """Units to move from a partition to `target`."""

    def evaluate(partitions):
        values = np.array([distance(p, target) for p in partitions], dtype=float)
        return Values(values, values)

    return evaluate


def space_of(n, least=2, most=2, unused=()):
    used = np.ones(n, dtype=bool)
    used[list(unused)] = False
    return Space(used, least, most)


@pytest.mark.parametrize(
    ("n", "least", "most", "count"), [(4, 2, 2, 7), (5, 1, 5, 52), (6, 3, 4, 155), (3, 3, 3, 1)]
)
def test_enumeration_has_every_partition_once(n, least, most, count):
    space = space_of(n + 1, least, most, unused=[1])
    everything = list(space.all())
    assert len(set(everything)) == len(everything) == space.count == count
    assert {p.n_modules for p in everything} == set(range(least, most + 1))
    assert all(p.labels[1] == -1 for p in everything)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("most", [2, 4])
def test_a_method_stays_in_its_space_and_budget_and_measures_nothing_twice(name, most):
    space, seen = space_of(9, 2, most, unused=[3]), []

    def evaluate(partitions):
        seen.extend(partitions)
        return hamming(ifl.Partition([0, 0, 0, -1, 0, 1, 1, 1, 1]))(partitions)

    log = EvaluationLog(evaluate, budget=70, seed=0)
    METHODS[name](log, space)
    assert len(seen) == len(set(seen)) == 70
    assert all(2 <= p.n_modules <= most and p.labels[3] == -1 for p in seen)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_ends_when_there_is_nothing_new(name):
    log = EvaluationLog(hamming(ifl.Partition([0, 1, 1])), budget=1000, seed=0)
    METHODS[name](log, space_of(3))
    assert len(log.known) == 3
    assert log.value == 0.0


@pytest.mark.parametrize("name", ["genetic", "annealing", "climbing"])
def test_local_moves_find_the_one_partition_where_random_draws_do_not(name):
    target = ifl.Partition([0, 1] * 12)
    blind, log = (EvaluationLog(hamming(target), budget=800, seed=1) for _ in range(2))
    sampling(blind, space_of(24), [])
    METHODS[name](log, space_of(24))
    assert log.best == target
    assert blind.value > 0


def test_climbing_ends_where_no_neighbour_is_better():
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(10, 10))

    def evaluate(partitions):
        cut = [weights[p.labels[:, None] != p.labels].sum() for p in partitions]
        return Values(*np.array([cut, cut]))

    space = space_of(10, 2, 3)
    log = EvaluationLog(evaluate, budget=5000, seed=0)
    climb(log, space, space.random(rng))
    around = list(neighbours(log.best, space, rng))
    assert evaluate(around).weighted.min() >= log.value


def test_distance_is_the_fewest_units_to_move():
    space = space_of(5, 1, 5)
    everything = list(space.all())
    rng = np.random.default_rng(0)
    steps = {everything[0]: 0}
    edge = [everything[0]]
    while edge:  # by breadth-first search over one-unit moves
        edge = [
            (steps.setdefault(q, steps[p] + 1), q)[1]
            for p in edge
            for q in set(neighbours(p, space, rng))
            if q not in steps
        ]
    found = distances(everything)[0]
    assert len(steps) == len(everything)
    assert found.tolist() == [steps[p] for p in everything]


def test_neighbours_are_all_partitions_one_move_away():
    space = space_of(5, 2, 3)
    start = ifl.Partition([0, 0, 0, 1, 1])
    found = set(neighbours(start, space, np.random.default_rng(0)))
    expected = {p for p in space.all() if p != start and distance(p, start) == 1}
    assert found == {p for p in expected if abs(p.n_modules - 2) <= 1}


def test_neighbours_come_in_the_order_of_their_cost():
    space, rng = space_of(7, 2, 3, unused=[1]), np.random.default_rng(0)
    start, cost = ifl.Partition([0, -1, 0, 1, 1, 0, 1]), rng.random((7, 3))
    found = list(neighbours(start, space, rng, cost))
    assert set(found) == set(neighbours(start, space, rng))
    changes = [moved_unit(start, p) for p in found]
    assert changes == sorted(changes, key=lambda change: cost[change])


def moved_unit(start, partition):
    """Which unit moved where, in the labels that the start has; 2: to a module of its own."""
    for unit in np.flatnonzero(~start.unused):
        for target in range(3):
            labels = start.labels.copy()
            labels[unit] = target
            if target != start.labels[unit] and ifl.Partition(labels) == partition:
                return unit, target
    raise AssertionError("not one move away")


def test_exchanges_are_all_partitions_with_two_units_swapped():
    space, start = space_of(6, unused=[1]), ifl.Partition([0, -1, 0, 0, 1, 1])
    found = list(exchanges(start, space, np.random.default_rng(0)))
    pairs = {p: set(p.modules[int(p.sizes.argmin())].tolist()) for p in space.all()}
    expected = {p for p, pair in pairs.items() if len(pair) == 2 and len(pair & {4, 5}) == 1}
    assert set(found) == expected
    assert len(found) == len(expected) == 6


def test_exchanged_pairs_are_found_where_single_moves_are_stuck():
    target = ifl.Partition([0, 1] * 5)

    def even_only(partitions):
        values = [distance(p, target) + 10 * abs(p.sizes[0] - p.sizes[1]) for p in partitions]
        return Values(*np.array([values, values], dtype=float))

    start = ifl.Partition([0] * 5 + [1] * 5)
    stuck, log = (EvaluationLog(even_only, budget=500, seed=0) for _ in range(2))
    climb(stuck, space_of(10), start)
    climb(log, space_of(10), start, pairs=True)
    assert stuck.best == start
    assert log.best == target


@pytest.mark.parametrize("search", [annealing, genetic])
def test_where_all_sampled_values_are_equal_the_search_goes_on(search):
    target = ifl.Partition([0, 1] * 5)
    log = EvaluationLog(hamming(target), budget=500, seed=0)
    search(log, space_of(10), [], spread=0.0)
    assert log.best == target


def test_of_equal_values_the_finer_partition_is_best():
    log = EvaluationLog(lambda some: Values(*np.zeros((2, len(some)))), budget=10, seed=0)
    log.many([ifl.Partition([0, 1, 1]), ifl.Partition([0, 1, 2]), ifl.Partition([0, 0, 1])])
    assert log.best == ifl.Partition([0, 1, 2])


def test_offspring_keep_the_number_of_modules():
    rng = np.random.default_rng(0)
    used = np.ones(10, dtype=bool)
    for _ in range(300):
        a, b = random_partition(used, 3, rng), random_partition(used, 3, rng)
        assert injected(a, b, 3, rng).n_modules == 3
        assert moved(a, rng).n_modules == 3
        assert merged(a, rng).n_modules == 2
        assert split(a, rng).n_modules == 4
        assert mutated(a, space_of(10, 3, 3), rng).n_modules == 3
        assert 2 <= mutated(a, space_of(10, 2, 4), rng).n_modules <= 4


def test_an_offspring_inherits_a_whole_module_of_its_father():
    rng = np.random.default_rng(1)
    a, b = ifl.Partition([0, 0, 0, 1, 1, 1]), ifl.Partition([0, 1, 2, 0, 1, 2])
    for _ in range(50):
        child = injected(a, b, 3, rng)
        kept = [set(m.tolist()) for m in child.modules]
        assert any(set(m.tolist()) <= k for m in b.modules for k in kept)


def test_a_partition_with_too_many_modules_is_fitted_by_merging_its_smallest():
    space = space_of(6, 2, 2)
    assert space.fitted(ifl.Partition([0, 0, 0, 1, 1, 2])) == ifl.Partition([0, 0, 0, 1, 1, 1])
    assert space.fitted(ifl.Partition([0] * 6)) is None
    assert space.fitted(ifl.Partition([0, 0, 0, 1, 1, -1])) is None


def test_random_partitions_leave_no_module_empty():
    used = np.array([True] * 5 + [False] * 2)
    rng = np.random.default_rng(0)
    drawn = [random_partition(used, 4, rng) for _ in range(200)]
    assert {p.n_modules for p in drawn} == {4}
    assert all((p.labels[5:] == -1).all() for p in drawn)


def test_random_bipartitions_put_every_unit_on_each_side_half_the_time():
    stream = random_partitions(np.ones(12, dtype=bool), 2, seed=0)
    together = np.mean([p.labels[0] == p.labels[7] for p, _ in zip(stream, range(4000))])  # noqa: B905
    exact = (2**10 - 1) / (2**11 - 1)  # of the divisions in two, those with the pair in one
    assert together == pytest.approx(exact, abs=0.03)


def test_all_partitions_into_so_many_modules_are_equally_probable():
    rng, times = np.random.default_rng(0), 12_000
    drawn = Counter(random_partition(np.ones(5, dtype=bool), 3, rng) for _ in range(times))
    everything = list(Space(np.ones(5, dtype=bool), 3, 3).all())
    counts = np.array([drawn[p] for p in everything])
    assert counts.sum() == times
    expected = times / len(everything)
    assert ((counts - expected) ** 2 / expected).sum() < 52.6  # chi squared, 24 degrees, p = .0006
