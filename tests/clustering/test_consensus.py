import numpy as np
import pytest

from infoflow.clustering import consensus, modularity
from infoflow.partition import Partition


def blocks(n, k, noise, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % k
    S = (labels[:, None] == labels) + noise * rng.random((n, n))
    return S + S.T, Partition(labels)


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
