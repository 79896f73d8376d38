import numpy as np
import pytest

from infoflow.clustering import find_modules, significance
from infoflow.clustering.significances import rewire, shuffle_weights


def noise(n, seed=0):
    S = np.random.default_rng(seed).random((n, n))
    S = S + S.T
    np.fill_diagonal(S, 0)
    return S


def test_weight_shuffles_keep_the_values_and_rewiring_keeps_the_row_sums():
    S, rng = noise(20), np.random.default_rng(0)
    shuffled, rewired = shuffle_weights(S, rng), rewire(S, rng)
    upper = np.triu_indices(20, 1)
    assert np.array_equal(np.sort(shuffled[upper]), np.sort(S[upper]))
    np.testing.assert_allclose(rewired.sum(axis=1), S.sum(axis=1))
    for made in (shuffled, rewired):
        assert np.array_equal(made, made.T) and np.all(np.diag(made) == 0)
        assert made.min() >= 0 and made.max() <= S.max() + 1e-12
        assert np.abs(made - S)[upper].mean() > 0.1  # and they do shuffle


@pytest.mark.parametrize("shuffle", ["weights", "rewired"])
def test_blocks_are_significant_and_noise_is_not(shuffle):
    labels = np.random.default_rng(0).integers(3, size=24)
    blocks = noise(24) + (labels[:, None] == labels)
    found = significance(blocks, shuffle=shuffle, n_null=39)
    assert found.p_value == pytest.approx(1 / 40) and found.z > 3
    assert found.observed == find_modules(blocks).q
    assert significance(noise(24), shuffle="weights", n_null=39).p_value > 0.025


def test_p_counts_the_matrix_itself():
    found = significance(noise(10), n_null=4)
    assert found.p_value in {k / 5 for k in range(1, 6)}


def test_units_without_similarity_are_not_shuffled_in():
    S = noise(12)
    S[3] = S[:, 3] = 0
    kept = np.delete(np.delete(S, 3, 0), 3, 1)
    np.testing.assert_allclose(
        significance(S, n_null=5).values, significance(kept, n_null=5).values
    )


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="unknown shuffle"):
        significance(noise(5), shuffle="edges")  # pyright: ignore
    with pytest.raises(ValueError, match="n_null"):
        significance(noise(5), n_null=0)
    with pytest.raises(ValueError, match="at least 0"):
        significance(-noise(5) + 1, shuffle="rewired", null="signed")
