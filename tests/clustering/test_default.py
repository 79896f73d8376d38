import subprocess
import sys

import networkx as nx
import numpy as np
import pytest

from infoflow.clustering import find_modules, modularity
from infoflow.partition import Partition
from tests import oracles_modularity as oracle


def similarities(n, seed=0):
    S = np.random.default_rng(seed).random((n, n)) ** 3
    return S + S.T


@pytest.mark.parametrize(
    ("graph", "weight", "published"),
    [
        (nx.karate_club_graph, None, 0.4198),
        (nx.karate_club_graph, "weight", 0.4449),
        (nx.les_miserables_graph, None, 0.5600),
        (nx.les_miserables_graph, "weight", 0.5667),
    ],
)
def test_public_graphs_reach_their_published_optima(graph, weight, published):
    S = nx.to_numpy_array(graph(), weight=weight)
    modules = find_modules(S)
    assert modules.q == pytest.approx(published, abs=5e-5)
    assert modules.q == pytest.approx(modularity(S, modules.partition), abs=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_seven_units_get_the_best_of_all_877_partitions(seed):
    S = similarities(7, seed)
    assert find_modules(S, seed=seed).q == pytest.approx(oracle.q_star(S), abs=1e-12)


@pytest.mark.parametrize("resolution", [0.0, 0.5, 2.0])
def test_the_resolution_sets_how_fine_the_best_partition_is(resolution):
    S = similarities(6, 1)
    best = max(oracle.q(S, labels, resolution) for labels in oracle.partitions(6))
    found = find_modules(S, resolution=resolution)
    assert found.q == pytest.approx(best, abs=1e-12)
    if resolution == 0:
        assert found.n_modules == 1


@pytest.mark.parametrize("k", [1, 2, 3, 5, 7])
def test_a_fixed_number_of_modules_is_kept_and_is_the_best_of_that_number(k):
    S = similarities(7, 2)
    found = find_modules(S, n_modules=k)
    best = max(oracle.q(S, x) for x in oracle.partitions(7) if len(np.unique(x)) == k)
    assert found.n_modules == k
    assert found.q == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("n", [5, 40, 300])
def test_the_default_is_never_worse_than_the_paper_s_algorithm(n):
    for seed in range(3):
        S = similarities(n, seed)
        paper = find_modules(S, method="lange2022", seed=seed, n_steps=1000)
        assert find_modules(S, seed=seed, n_steps=1000).q >= paper.q - 1e-12


def test_the_default_is_never_worse_than_the_partition_it_is_given():
    S = similarities(30)
    good = find_modules(S).partition
    found = find_modules(S, initial=good, restarts=0, perturbations=0, n_steps=0, seed=5)
    assert found.q >= modularity(S, good) - 1e-12


def test_more_units_than_restarts_from_single_units_still_find_their_blocks():
    labels = np.random.default_rng(0).integers(5, size=1100)
    S = (labels[:, None] == labels) + similarities(1100)
    assert find_modules(S).partition == Partition(labels)


def test_a_signed_matrix_is_divided_where_its_negative_entries_are():
    labels = np.repeat([0, 1, 2], 5)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(15, 15)) * 0.2
    S = np.where(labels[:, None] == labels, 1.0, -0.3) + noise + noise.T
    assert find_modules(S, null="signed").partition == Partition(labels)


def test_a_given_null_takes_the_place_of_the_degree_null():
    S = np.ones((8, 8))
    S[:4, :4] += 1
    S[4:, 4:] += 1
    assert find_modules(S).n_modules == 2
    assert find_modules(S, null=S - 0.01).n_modules == 1  # everything is above its expectation


def test_the_same_seed_gives_the_same_partition():
    S = similarities(50)
    first, second = (find_modules(S, seed=7, restarts=1, perturbations=5) for _ in range(2))
    assert first.partition == second.partition and first.q == second.q


def test_two_units_and_single_pairs_are_handled():
    assert find_modules(np.ones((2, 2))).n_modules == 1
    pairs = np.kron(np.eye(3), np.ones((2, 2)))
    assert find_modules(pairs).partition == Partition([0, 0, 1, 1, 2, 2])


def test_bad_options_are_refused():
    S = similarities(6)
    with pytest.raises(ValueError, match="1 to 6"):
        find_modules(S, n_modules=7)
    with pytest.raises(ValueError, match="only method='default'"):
        find_modules(S, n_modules=2, method="lange2022")
    with pytest.raises(ValueError, match="restarts"):
        find_modules(S, restarts=-1)
    with pytest.raises(ValueError, match="at least 2 units"):
        find_modules(np.zeros((5, 5)))


def test_importing_modularity_neither_loads_numba_nor_compiles():
    code = "import sys, infoflow.clustering, infoflow.agreements; print('numba' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
