"""p-values, z and detection floor."""

import numpy as np
import pytest

from infoflow.information.null import Null, sign_flip_null


def xor_table(rng, m=60, k=40):
    return (rng.integers(5, size=(m, 1)) + rng.integers(5, size=(1, k)))[:, :, None] % 5


def noisy_table(rng, m=60, k=40):
    chances = rng.dirichlet(np.full(5, 0.5), size=k)
    columns = [rng.choice(5, p=p, size=m) for p in chances]
    return np.stack(columns, 1)[:, :, None]


def mostly_deaf_table(rng, m=60, k=40):
    """Donors matter in a third of the contexts, and not the same way twice."""
    hears = rng.random(k) < 0.3
    own, context = rng.integers(5, size=(m, k)), rng.integers(5, size=k)
    return np.where(hears, own, context)[:, :, None]


@pytest.mark.parametrize("world", [xor_table, noisy_table, mostly_deaf_table])
def test_where_nothing_flows_five_percent_are_significant_at_five_percent(world):
    rng = np.random.default_rng(1)
    p = [sign_flip_null(world(rng), n_null=99, correct=True, rng=rng).p_value for _ in range(500)]
    assert 0.01 < np.mean(np.array(p) <= 0.05) < 0.08
    assert 0.4 < np.mean(p) < 0.62


def test_positions_of_a_context_are_flipped_together():
    rng = np.random.default_rng(4)
    p = []
    for _ in range(300):
        codes = np.repeat(xor_table(rng), 6, axis=1)
        null = sign_flip_null(codes, n_null=99, correct=True, rng=rng, contexts=40)
        p.append(null.p_value)
    assert 0.01 < np.mean(np.array(p) <= 0.05) < 0.08


def test_a_weak_flow_is_found_in_spite_of_what_the_contexts_do():
    rng = np.random.default_rng(1)
    donor, context = rng.integers(2, size=(60, 1)), rng.integers(5, size=(1, 40))
    followed = rng.random((60, 40)) < 0.1
    codes = np.where(followed, donor, context)[:, :, None]
    null = sign_flip_null(codes, n_null=199, correct=True, rng=rng)
    assert null.p_value <= 0.01
    assert null.z > 3
    assert null.observed > null.floor


def test_the_null_of_the_corrected_flow_has_mean_zero():
    rng = np.random.default_rng(2)
    null = sign_flip_null(noisy_table(rng), n_null=4000, correct=True, rng=rng)
    assert abs(null.values.mean()) < 0.2 * null.values.std()
    plain = sign_flip_null(noisy_table(rng), n_null=100, correct=False, rng=rng)
    assert plain.values.mean() > 3 * abs(null.values.mean())


def test_a_table_without_any_effect_has_p_value_one_and_z_zero():
    rng = np.random.default_rng(3)
    codes = np.broadcast_to(rng.integers(4, size=(1, 20, 2)), (30, 20, 2))
    null = sign_flip_null(codes, n_null=50, correct=True, rng=rng)
    assert (null.p_value, null.z, null.floor) == (1.0, 0.0, 0.0)


def test_the_p_value_counts_the_observed_among_the_draws():
    assert Null(1.0, np.zeros(99)).p_value == 0.01
    assert Null(0.0, np.zeros(99)).p_value == 1.0
    assert Null(1.0, np.array([0.0, 1.0, 2.0])).p_value == 0.75
    assert Null(1.0, np.zeros(9)).z == np.inf
