import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infoflow.clustering import modularity, modularity_matrix
from infoflow.partition import Partition
from tests import oracles_modularity as oracle


def similarities(n, seed=0):
    S = np.random.default_rng(seed).random((n, n))
    return S + S.T


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(0, 10**6), st.floats(0, 3))
def test_q_is_equation_6(n, seed, resolution):
    labels = np.random.default_rng(seed).integers(n, size=n)
    S = similarities(n, seed)
    got = modularity(S, labels, resolution=resolution)
    assert got == pytest.approx(oracle.q(S, labels, resolution), abs=1e-13)


def test_q_is_that_of_networkx():
    graph = nx.les_miserables_graph()
    groups = [list(group) for group in nx.community.greedy_modularity_communities(graph)]
    names = {name: i for i, name in enumerate(graph)}
    partition = Partition.from_modules([[names[v] for v in g] for g in groups], len(graph))
    S = nx.to_numpy_array(graph)
    assert modularity(S, partition) == pytest.approx(nx.community.modularity(graph, groups))


def test_one_module_has_q_zero_and_scale_and_diagonal_do_not_matter():
    S, labels = similarities(7), [0, 0, 1, 1, 2, 2, 2]
    assert modularity(S, [0] * 7) == pytest.approx(0, abs=1e-15)
    assert modularity(5 * S + np.diag(np.full(7, 1e9)), labels) == pytest.approx(
        modularity(S, labels)
    )


def test_units_left_unused_are_taken_out_of_the_matrix():
    S = similarities(6)
    kept = [0, 2, 3, 5]
    assert modularity(S, [0, -1, 0, 1, -1, 1]) == pytest.approx(
        modularity(S[np.ix_(kept, kept)], [0, 0, 1, 1])
    )


def test_a_hard_assignment_matrix_has_the_q_of_its_labels_and_a_soft_one_eq_6():
    S, labels = similarities(6), np.array([0, 1, 1, 0, 2, 2])
    assert modularity(S, np.eye(3)[labels]) == pytest.approx(modularity(S, labels))
    P = np.random.default_rng(1).dirichlet(np.ones(3), size=6)
    A = oracle.normalised(S)
    k = A.sum(axis=1)
    expected = np.trace(P.T @ A @ P) - np.trace(P.T @ np.outer(k, k) @ P)
    assert modularity(S, P) == pytest.approx(expected)


def test_the_degree_null_given_as_a_matrix_differs_only_by_its_diagonal():
    S = similarities(6)
    np.fill_diagonal(S, 0)
    k = S.sum(axis=1)
    labels = np.array([0, 0, 1, 1, 2, 2])
    diagonal = (k**2).sum() / S.sum() ** 2
    given_null = modularity(S, labels, null=np.outer(k, k) / S.sum())
    assert given_null == pytest.approx(modularity(S, labels) + diagonal)


def test_the_uniform_null_is_density_times_pairs():
    S = similarities(5)
    np.fill_diagonal(S, 0)
    labels = np.array([0, 0, 1, 1, 1])
    inside = (S[:2, :2].sum() + S[2:, 2:].sum()) / S.sum()
    assert modularity(S, labels, null="uniform") == pytest.approx(inside - (2 + 6) / 20)


def test_the_signed_null_of_positive_similarities_is_the_degree_null():
    S, labels = similarities(6), [0, 0, 1, 1, 0, 1]
    assert modularity(S, labels, null="signed") == pytest.approx(modularity(S, labels))


def test_signed_q_rises_when_negative_similarity_lies_between_modules():
    S = np.kron(np.array([[1.0, -1.0], [-1.0, 1.0]]), np.ones((3, 3)))
    assert modularity(S, [0, 0, 0, 1, 1, 1], null="signed") > 0.4
    assert modularity(S, [0, 1, 0, 1, 0, 1], null="signed") < 0


def test_extreme_magnitudes_do_not_overflow():
    S = np.kron(np.eye(2), np.ones((3, 3)))
    for scale in (1e-300, 1e300):
        assert modularity(scale * S, [0, 0, 0, 1, 1, 1]) == pytest.approx(0.5)
    mixed = np.where(S > 0, 1e300, 1e-300)
    assert modularity(mixed, [0, 0, 0, 1, 1, 1]) == pytest.approx(0.5)


BAD = {
    "square": (np.ones((2, 3)), "square"),
    "asymmetric": (np.array([[0, 1.0], [2, 0]]), "symmetric"),
    "nan": (np.array([[0, np.nan], [np.nan, 0]]), "finite"),
    "inf": (np.array([[0, np.inf], [np.inf, 0]]), "finite"),
    "negative": (np.array([[0, -1.0], [-1, 0]]), "at least 0"),
    "zero": (np.zeros((4, 4)), "at least 2 units"),
    "one unit": (np.ones((1, 1)), "at least 2 units"),
    "empty": (np.zeros((0, 0)), "at least 2 units"),
    "complex": (np.ones((2, 2), complex), "real numbers"),
    "words": (np.array([["a", "b"], ["b", "a"]]), "real numbers"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_matrix_is_refused_with_what_was_expected(case):
    S, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        modularity_matrix(S)


def test_bad_options_and_partitions_are_refused():
    S = similarities(4)
    with pytest.raises(ValueError, match="4 units"):
        modularity(S, [0, 1])
    with pytest.raises(ValueError, match="resolution"):
        modularity(S, [0, 0, 1, 1], resolution=-1)
    with pytest.raises(ValueError, match="null"):
        modularity(S, [0, 0, 1, 1], null="configuration")  # pyright: ignore
    with pytest.raises(ValueError, match="null"):
        modularity(S, [0, 0, 1, 1], null=np.ones((3, 3)))
    with pytest.raises(ValueError, match="rows that sum to 1"):
        modularity(S, np.full((4, 2), 0.7))


def test_nan_on_the_ignored_diagonal_is_no_error():
    S = similarities(4)
    plain = modularity(S, [0, 0, 1, 1])
    np.fill_diagonal(S, np.nan)
    assert modularity(S, [0, 0, 1, 1]) == plain
