"""The planted modules are what the exchange of every partition says they are."""

import itertools
from collections import Counter
from functools import cache

import numpy as np
import pytest

from infoflow import Partition, flow
from infoflow.toys import MODULE_TOYS, load_modules
from tests.oracles_toys import mutual_information

N = 8


@cache
def recording(name):
    return load_modules(name).record()


@cache
def exact_flow(name, source, target):
    return flow(
        recording(name), source, target,
        donors="all", contexts="all", bins="unique", correction="none",
    ).bits  # fmt: skip


def exchange(name, partition):
    modules = [tuple(module.tolist()) for module in partition.modules]
    return sum(exact_flow(name, a, b) for a, b in itertools.permutations(modules, 2))


def bipartitions():
    for mask in range(1, 2 ** (N - 1)):
        yield Partition([mask >> unit & 1 for unit in range(N)])


@pytest.mark.parametrize("name", list(MODULE_TOYS))
def test_toy_has_eight_living_units_in_two_layers(name):
    rec = recording(name)
    assert rec.units.sizes == (4, 4) and not rec.units.unused.any()
    assert all(len(p) == N for p in load_modules(name).planted)


def test_isolated_tracks_exchange_nothing_and_every_other_division_exchanges_something():
    planted = load_modules("isolated_tracks").planted[0]
    assert exchange("isolated_tracks", planted) == 0
    others = [exchange("isolated_tracks", p) for p in bipartitions() if p != planted]
    assert len(others) == 126 and min(others) > 0.1


def test_isolated_tracks_share_all_their_input():
    rec = recording("isolated_tracks")
    a, b = load_modules("isolated_tracks").planted[0].modules
    assert flow(rec, a, b, bins="unique", correction="none").observational_bits == 2


def test_no_division_of_the_fully_mixed_layers_is_better_than_another_of_its_size():
    by_size = {}
    for partition in bipartitions():
        labels = partition.labels
        sizes = frozenset(
            (int((labels[:4] == m).sum()), int((labels[4:] == m).sum())) for m in (0, 1)
        )
        by_size.setdefault(sizes, []).append(exchange("fully_mixed_layers", partition))
    assert len(by_size) == 12
    for values in by_size.values():
        assert max(values) - min(values) < 1e-9
        assert min(values) > 0.1


def test_nested_modules_are_the_best_division_in_two():
    outer = load_modules("nested_modules").planted[0]
    values = {p: exchange("nested_modules", p) for p in bipartitions()}
    assert min(values, key=values.__getitem__) == outer
    assert sorted(values.values())[1] > 1.9 * values[outer]


def test_nested_pairs_are_the_best_division_in_four_pairs():
    inner = load_modules("nested_modules").planted[1]
    values = {p: exchange("nested_modules", p) for p in pairings()}
    assert len(values) == 105
    assert min(values, key=values.__getitem__) == inner


def pairings(units=tuple(range(N))):
    """Every division of the units into pairs."""

    def rest(left):
        if not left:
            yield []
            return
        for other in left[1:]:
            for more in rest(tuple(u for u in left[1:] if u != other)):
                yield [(left[0], other), *more]

    return [Partition.from_modules(pairs, N) for pairs in rest(units)]


def test_nested_pairs_lie_within_the_outer_modules():
    outer, inner = load_modules("nested_modules").planted
    for pair in inner.modules:
        assert len(np.unique(outer.labels[pair])) == 1


def test_nested_coins_reach_their_pair_the_neighbour_and_the_other_module():
    for receiver, near, far in [(0, 1, None), (1, 0, None), (2, 3, 0), (3, 2, 1)]:
        pairs = Counter()
        for *coins, g in itertools.product(*[[0, 1]] * 4, range(4)):
            arriving = 0 if far is None else coins[far] * (g == 3)
            above = (coins[receiver], coins[near] * (g >= 2), arriving)
            pairs[coins[0], above] += 1
        # the coins are independent of all else: setting one is as good as seeing it
        found = exact_flow("nested_modules", (0,), (N // 2 + receiver,))
        assert found == pytest.approx(mutual_information(pairs), abs=1e-9)


def test_redundant_tracks_exchange_nothing_and_one_by_one_copies_send_nothing():
    planted = load_modules("redundant_tracks").planted[0]
    assert exchange("redundant_tracks", planted) == 0
    assert [exact_flow("redundant_tracks", (i,), (4,)) for i in (0, 1, 2)] == [0, 0, 0]
    assert exact_flow("redundant_tracks", (0, 1), (4,)) == 1
