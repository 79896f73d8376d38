import numpy as np
import pytest

from infoflow.clustering import alignment, find_modules, modularity, transfer


def blocks(labels, seed, noise=0.2):
    rng = np.random.default_rng(seed)
    S = (labels[:, None] == labels) + noise * rng.random((len(labels), len(labels)))
    return S + S.T


def test_transfer_is_q_under_the_other_measure_s_partition():
    a, b = np.repeat([0, 1, 2], 4), np.tile([0, 1, 2], 4)
    S, other = blocks(a, 0), find_modules(blocks(b, 1))
    assert transfer(S, other) == modularity(S, other.partition) < 0
    assert transfer(S, find_modules(S)) == pytest.approx(find_modules(S).q)


def test_alignment_is_high_for_shared_modules_and_at_its_null_for_unrelated_ones():
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=40)
    S, same, other = blocks(labels, 0), blocks(labels, 1), blocks(rng.permutation(labels), 2)
    shared = alignment(S, find_modules(S), same, find_modules(same))
    unrelated = alignment(S, find_modules(S), other, find_modules(other))
    assert shared.score > 0.95 and shared.p_value == pytest.approx(1 / 201)
    assert abs(unrelated.score - unrelated.null_mean) < 4 * unrelated.null_sd
    assert unrelated.p_value > 0.01


def test_units_unused_in_one_measure_are_left_out_of_the_alignment():
    labels = np.repeat([0, 1], 6)
    S, T = blocks(labels, 0), blocks(labels, 1)
    T[3] = T[:, 3] = 0
    result = alignment(S, find_modules(S), T, find_modules(T))
    assert result.score == pytest.approx(1, abs=0.05)
