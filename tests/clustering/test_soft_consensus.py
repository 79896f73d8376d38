import numpy as np
import pytest

from infoflow.clustering import consensus, find_modules, modularity, soft_modules
from infoflow.partition import Partition


def blocks(n, k, noise, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % k
    S = (labels[:, None] == labels) + noise * rng.random((n, n))
    return S + S.T, Partition(labels)


def test_gradient_ascent_raises_soft_q_to_the_blocks():
    S, planted = blocks(24, 3, 0.5)
    found = soft_modules(S, 3)
    assert found.partition == planted
    assert found.q == pytest.approx(modularity(S, found.assignment))
    assert found.q_hard == pytest.approx(modularity(S, found.partition))
    assert np.all(np.diff(found.trace) > -1e-6) and found.trace[-1] > found.trace[0] + 0.1
    np.testing.assert_allclose(found.assignment.sum(axis=1), 1)


def test_a_soft_assignment_can_beat_every_hard_one_as_footnote_4_says():
    S = np.ones((3, 3))  # one module is the best hard choice, with Q = 0
    assert find_modules(S).q == pytest.approx(0, abs=1e-12)
    pentagon = np.roll(np.eye(5), 1, axis=1)
    pentagon = pentagon + pentagon.T
    hard = find_modules(pentagon, n_modules=2).q
    soft = max(soft_modules(pentagon, 2, seed=s, n_steps=2000).q for s in range(5))
    assert soft > hard + 1e-6


def test_unused_units_have_no_soft_assignment():
    S, _ = blocks(12, 2, 0.1)
    S[4] = S[:, 4] = 0
    found = soft_modules(S, 2)
    assert np.isnan(found.assignment[4]).all() and found.partition.unused[4]


def test_seeds_that_all_agree_need_one_round():
    S, planted = blocks(24, 3, 0.2)
    agreed = consensus(S, n_seeds=5)
    assert agreed.partition == planted and agreed.rounds == 1 and agreed.similarity == 1
    assert agreed.together[0, 3] == 1 and agreed.together[0, 1] == 0


def test_disagreeing_seeds_reach_one_partition_no_better_than_the_best():
    S, _ = blocks(40, 4, 3.0)
    agreed = consensus(S, n_seeds=8, method="lange2022", n_steps=60)
    assert agreed.similarity < 1 and agreed.rounds > 1
    assert agreed.q <= agreed.best_q + 1e-12
    assert agreed.q == pytest.approx(modularity(S, agreed.partition))


def test_unused_units_stay_out_of_the_consensus():
    S, _ = blocks(14, 2, 0.1)
    S[5] = S[:, 5] = 0
    agreed = consensus(S, n_seeds=3)
    assert np.flatnonzero(agreed.partition.unused).tolist() == [5]
    assert np.isnan(agreed.together[5]).all()


def test_bad_options_are_refused():
    S, _ = blocks(8, 2, 0.1)
    with pytest.raises(ValueError, match="n_seeds"):
        consensus(S, n_seeds=1)
    with pytest.raises(ValueError, match="at least 1 module"):
        soft_modules(S, 0)
