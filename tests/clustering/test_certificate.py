import sys

import networkx as nx
import numpy as np
import pytest

from infoflow.clustering import certify, cheap_bound, find_modules, modularity_matrix
from infoflow.partition import Partition
from tests import oracles_modularity as oracle


def similarities(n, seed=0):
    S = np.random.default_rng(seed).random((n, n)) ** 2
    return S + S.T


@pytest.mark.parametrize("seed", range(4))
def test_the_bound_of_seven_units_is_the_best_of_all_partitions(seed):
    S = similarities(7, seed)
    B = modularity_matrix(S)
    best = oracle.q_star(S)
    _, bound = certify(B.values, find_modules(S).partition.labels, seconds=10)
    assert best - 1e-12 <= bound <= best + 1e-7
    assert cheap_bound(B.values) >= best - 1e-12


@pytest.mark.parametrize("seed", range(3))
def test_a_bad_start_is_replaced_or_at_least_never_called_optimal(seed):
    S = similarities(7, seed)
    B = modularity_matrix(S)
    labels, bound = certify(B.values, np.zeros(7, np.int64), seconds=10)
    assert bound >= oracle.q_star(S) - 1e-12
    assert B.q(labels) == pytest.approx(oracle.q_star(S), abs=1e-7)


def test_karate_club_is_proven():
    modules = find_modules(nx.to_numpy_array(nx.karate_club_graph(), weight=None), proof_seconds=20)
    assert modules.proven_optimal and modules.upper_bound == pytest.approx(0.4198, abs=5e-5)
    assert "proven optimal" in repr(modules)


def test_stopped_early_the_bound_is_still_valid_and_between_the_answer_and_the_cheap_one():
    S = similarities(16)
    full, none = find_modules(S, proof_seconds=30), find_modules(S)
    brief = find_modules(S, proof_seconds=1e-3)
    assert full.q <= full.upper_bound <= brief.upper_bound + 1e-9
    assert brief.upper_bound <= none.upper_bound + 1e-12
    assert not none.proven_optimal


def test_a_proof_holds_for_other_resolutions_and_nulls():
    S = similarities(6, 3)
    for resolution in (0.5, 1.5):
        best = max(oracle.q(S, x, resolution) for x in oracle.partitions(6))
        modules = find_modules(S, resolution=resolution, proof_seconds=10)
        assert modules.proven_optimal and modules.q == pytest.approx(best, abs=1e-7)
    signed = np.where(np.kron(np.eye(2), np.ones((3, 3))) > 0, 1.0, -1.0)
    modules = find_modules(signed, null="signed", proof_seconds=10)
    assert modules.proven_optimal and modules.partition == Partition([0, 0, 0, 1, 1, 1])


def test_every_separated_cut_is_violated_by_the_point_and_by_no_partition():
    from infoflow.clustering import _kernel_cuts as cuts

    rng = np.random.default_rng(0)
    n = 12
    X = rng.choice([0.0, 0.5, 1.0], size=(n, n))
    X = np.triu(X, 1) + np.triu(X, 1).T
    triangles = cuts.triangles(X, 1e-3, 50, 3, 0)
    nodes, sizes = cuts.stars(X, 1e-3, 4, 50)
    together = [np.equal.outer(x, x) for x in rng.integers(4, size=(300, n))]
    assert len(triangles) and len(sizes)
    for i, j, k in triangles:
        assert X[i, j] + X[j, k] - X[i, k] > 1
        assert all(int(T[i, j]) + T[j, k] - T[i, k] <= 1 for T in together)
    for row, size in zip(nodes, sizes, strict=True):
        v, ends = row[0], row[1:size]
        inner = np.triu(np.ones((size - 1, size - 1), bool), 1)

        def left(Y, v=v, ends=ends, inner=inner):
            return Y[v, ends].sum() - Y[np.ix_(ends, ends)][inner].sum()

        assert left(X) > 1
        assert all(left(T.astype(int)) <= 1 for T in together)


def test_without_highspy_the_cheap_bound_is_given_with_a_warning(monkeypatch):
    monkeypatch.setitem(sys.modules, "highspy", None)
    S = similarities(10)
    with pytest.warns(UserWarning, match="infoflow\\[exact\\]"):
        modules = find_modules(S, proof_seconds=1)
    assert modules.upper_bound == find_modules(S).upper_bound
