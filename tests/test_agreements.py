import clusim.sim
import numpy as np
import pytest
from clusim.clustering import Clustering
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from infoflow.agreements import (
    MEASURES,
    agreement,
    agreement_matrix,
    element_null,
    element_similarity,
)
from infoflow.clustering import find_modules, modularity
from infoflow.partition import Partition

pairs = st.integers(1, 40).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, n), min_size=n, max_size=n)] * 2)
)


def by_clusim(a, b):
    return clusim.sim.element_sim(
        Clustering().from_membership_list(a), Clustering().from_membership_list(b)
    )


@settings(max_examples=60, deadline=None)
@given(pairs)
def test_element_similarity_from_the_contingency_table_is_clusim_s(pair):
    assert element_similarity(*pair) == pytest.approx(by_clusim(*pair), abs=1e-12)


def test_element_similarity_of_many_small_modules_is_clusim_s():
    rng = np.random.default_rng(0)
    a, b = rng.integers(300, size=400), rng.integers(300, size=400)
    assert element_similarity(a, b) == pytest.approx(by_clusim(a.tolist(), b.tolist()), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(pairs)
def test_information_measures_are_scikit_learn_s(pair):
    a, b = (Partition(x).labels for x in pair)
    assert agreement(a, b, measure="nmi") == pytest.approx(
        metrics.normalized_mutual_info_score(a, b), abs=1e-9
    )
    assert agreement(a, b, measure="ari") == pytest.approx(
        metrics.adjusted_rand_score(a, b), abs=1e-9
    )
    homogeneous = metrics.mutual_info_score(a, b) / np.log(2)
    entropies = sum(metrics.mutual_info_score(x, x) / np.log(2) for x in (a, b))
    assert agreement(a, b, measure="vi") == pytest.approx(entropies - 2 * homogeneous, abs=1e-9)


def test_adjusted_information_is_clusim_s():
    from clusim.clustering import Clustering
    from clusim.sim import adj_mi

    rng = np.random.default_rng(0)
    for first, second in [(2, 3), (4, 4), (6, 2)]:
        a, b = rng.integers(first, size=30), rng.integers(second, size=30)
        theirs = adj_mi(*(Clustering().from_membership_list(x.tolist()) for x in (a, b)))
        assert agreement(a, b, measure="ami") == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("measure", ["element", "nmi", "ami", "ari", "rmi"])
@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2], [0, 0, 0, 0, 0], [0, 1, 2, 3, 4]])
def test_a_partition_agrees_with_itself_wholly(measure, labels):
    assert agreement(labels, labels, measure=measure) == pytest.approx(1)


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_gives_a_finite_number(measure):
    rng = np.random.default_rng(0)
    assert np.isfinite(
        agreement(rng.integers(4, size=30), rng.integers(3, size=30), measure=measure)
    )


def test_units_unused_in_either_partition_do_not_count():
    rng = np.random.default_rng(1)
    a, b = rng.integers(4, size=60), rng.integers(4, size=60)
    kept = np.r_[0:40]
    a_dead, b_dead = a.copy(), b.copy()
    a_dead[40:] = -1
    b_dead[50:] = -1
    for measure in ("element", "nmi", "ari"):
        assert agreement(a_dead, b_dead, measure=measure) == pytest.approx(
            agreement(a[kept], b[kept], measure=measure)
        )


def test_unused_units_can_be_a_cluster_of_their_own():
    a, b = [0, 0, 1, 1, -1], [0, 1, 1, 1, 1]  # {0,1} {2,3} unused {4}, beside {0} {1,2,3,4}
    # shared units squared over the larger cluster, cell by cell, over 5 units
    by_hand = (1 / 2 + 1 / 4 + 4 / 4 + 1 / 4) / 5
    assert agreement(a, b, unused="cluster") == pytest.approx(by_hand)
    # without unit 4: {0,1} {2,3} beside {0} {1,2,3}
    assert agreement(a, b) == pytest.approx((1 / 2 + 1 / 3 + 4 / 3) / 4)
    # units unused in both agree wholly: {0,1} beside {0} {1}, and {2,3} beside {2,3}
    shared = agreement([0, 0, -1, -1], [0, 1, -1, -1], unused="cluster")
    assert shared == pytest.approx((1 / 2 + 1 / 2 + 4 / 2) / 4)
    assert agreement([-1, -1], [-1, -1], unused="cluster") == 1.0
    for measure in MEASURES:
        assert agreement(a, b, measure=measure, unused="cluster") == pytest.approx(
            agreement([0, 0, 1, 1, 2], b, measure=measure)
        )
    matrix = agreement_matrix({"a": a, "b": b}, unused="cluster")
    assert matrix.loc["a", "b"] == pytest.approx(by_hand)


def test_results_that_hold_a_partition_are_taken_as_one():
    S = np.kron(np.eye(2), np.ones((3, 3)))
    found = find_modules(S)
    labels = [0, 0, 0, 1, 1, 1]
    assert agreement(found, labels) == 1.0
    assert modularity(S, found) == modularity(S, labels)
    assert find_modules(S, initial=found).partition == found.partition


def test_shuffles_have_the_mean_that_independent_labels_have():
    rng = np.random.default_rng(2)
    a, b = rng.integers(4, size=50), rng.integers(3, size=50)
    null = element_null(a, b, n_shuffles=4000).values
    direct = [element_similarity(a, rng.permutation(b)) for _ in range(4000)]
    spread = np.hypot(null.std(), np.std(direct)) / np.sqrt(4000)
    assert abs(null.mean() - np.mean(direct)) < 5 * spread
    assert null.std() == pytest.approx(np.std(direct), rel=0.1)


def test_the_null_tells_agreement_from_chance():
    rng = np.random.default_rng(3)
    a = rng.integers(4, size=64)
    near = np.where(rng.random(64) < 0.1, rng.integers(4, size=64), a)
    found = element_null(a, near, n_shuffles=999)
    assert found.p_value == pytest.approx(0.001) and found.z > 10
    assert element_null(a, rng.integers(4, size=64), n_shuffles=999).p_value > 0.01


def test_the_agreement_matrix_is_symmetric_with_ones():
    rng = np.random.default_rng(4)
    named = {name: rng.integers(3, size=20) for name in "abc"}
    table = agreement_matrix(named).to_numpy()
    assert np.allclose(table, table.T) and np.allclose(np.diag(table), 1)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="same units"):
        agreement([0, 1], [0, 1, 2])
    with pytest.raises(ValueError, match="no unit"):
        agreement([0, -1], [-1, 0])
    with pytest.raises(ValueError, match="Known: 'drop', 'cluster'"):
        agreement([0, 1], [0, 1], unused="keep")  # pyright: ignore
    with pytest.raises(KeyError, match="did you mean 'nmi'"):
        agreement([0, 1], [0, 1], measure="nmii")
    with pytest.raises(ValueError, match="n_shuffles"):
        element_null([0, 1], [0, 1], n_shuffles=0)
