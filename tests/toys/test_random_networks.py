"""The engine and the causal network agree on systems that nobody chose."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infoflow.toys import Numbers
from infoflow.toys.three_ways import by_engine, by_oracle
from tests.oracles_toys import three_numbers
from tests.random_networks import random_network


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_engine_equals_causal_network_on_hundreds_of_random_systems(seed):
    system = random_network(seed)
    assert by_engine(system).difference(by_oracle(system)) < 1e-9


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_engine_equals_cases_counted_by_hand_on_random_systems(seed):
    system = random_network(seed)
    counted = three_numbers(system.model(), system.inputs, system.source, system.target)
    assert by_engine(system).difference(Numbers(*counted)) < 1e-9


def test_same_seed_gives_the_same_system():
    one, other = random_network(7), random_network(7)
    assert torch.equal(one.inputs, other.inputs)
    assert (one.source, one.target) == (other.source, other.target)
    pairs = zip(one.model().parameters(), other.model().parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_random_systems_cover_the_cases_that_matter():
    systems = [random_network(seed) for seed in range(60)]
    numbers = [by_engine(system) for system in systems]
    assert sum(n.interventional > 0.01 for n in numbers) > 15
    assert sum(n.observational > n.interventional + 0.01 for n in numbers) > 15
    assert sum(n.given_context > n.interventional + 0.01 for n in numbers) > 5
    assert sum(len(system.source) > 1 for system in systems) > 5  # B in several layers


def test_groups_are_disjoint_and_not_empty():
    for seed in range(60):
        system = random_network(seed)
        source = {(a, u) for a, inside in system.source.items() for u in inside}
        target = {(a, u) for a, inside in system.target.items() for u in inside}
        assert source and target and not source & target
