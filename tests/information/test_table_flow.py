"""Flow from a table of donors and shared contexts."""

import numpy as np
import pytest

from infoflow.information.donors import table_flow, two_way_se
from tests import oracles_information as oracle


def random_world(rng, sources=6, inputs=30, codes=5):
    """code = world[source, input], half of it decided by the input alone."""
    own = rng.integers(codes, size=(sources, inputs))
    shared = np.broadcast_to(rng.integers(codes, size=inputs), own.shape)
    return np.where(rng.random(own.shape) < 0.5, shared, own)


def test_plug_in_values_are_those_of_the_table_taken_as_the_whole_world():
    rng = np.random.default_rng(0)
    codes = rng.integers(4, size=(7, 9, 3)) * rng.integers(2, size=(7, 1, 3))
    result = table_flow(codes, 4, estimator="none")
    for t in range(3):
        assert result.bits[t] == pytest.approx(oracle.plain_flow(codes[..., t]), abs=1e-12)
        assert result.given_context[t] == pytest.approx(
            oracle.context_flow(codes[..., t]), abs=1e-12
        )
    assert result.pointwise.mean() == pytest.approx(result.bits.sum(), abs=1e-12)
    assert result.pointwise_given_context.mean() == pytest.approx(
        result.given_context.sum(), abs=1e-12
    )


def test_xor_sends_nothing_plain_and_one_bit_given_the_context():
    xor = np.array([[[0], [1]], [[1], [0]]])
    result = table_flow(xor, 2, estimator="none")
    assert result.bits[0] == 0.0
    assert result.given_context[0] == 1.0


def test_copying_sends_the_entropy_of_the_source():
    codes = np.repeat(np.arange(4), 10)[:, None, None].repeat(40, axis=1)
    result = table_flow(codes, 4, estimator="none")
    assert result.bits[0] == pytest.approx(2.0)
    assert result.given_context[0] == pytest.approx(2.0)


def test_where_the_donor_changes_nothing_the_flow_is_exactly_zero():
    rng = np.random.default_rng(1)
    codes = np.broadcast_to(rng.integers(5, size=(1, 30, 4)), (20, 30, 4))
    for estimator in ("auto", "none"):
        result = table_flow(codes, 5, estimator=estimator)
        assert (result.bits == 0).all()
        assert (result.given_context == 0).all()
        assert two_way_se(result.pointwise) == 0.0


def test_the_shared_context_correction_removes_the_bias():
    rng = np.random.default_rng(2)
    for _ in range(5):
        world = random_world(rng)
        truth = oracle.plain_flow(world)
        tables = np.stack([oracle.draw_table(world, 40, 40, rng)[0] for _ in range(300)], 2)
        plug = table_flow(tables, 5, estimator="none").bits
        fixed = table_flow(tables, 5).bits
        assert abs(plug.mean() - truth) > 0.03
        assert abs(fixed.mean() - truth) < 0.25 * abs(plug.mean() - truth)


def test_the_flow_given_the_context_is_corrected_too():
    rng = np.random.default_rng(3)
    world = random_world(rng)
    truth = oracle.context_flow(world)
    tables = np.stack([oracle.draw_table(world, 30, 40, rng)[0] for _ in range(300)], 2)
    plug = table_flow(tables, 5, estimator="none").given_context.mean()
    fixed = table_flow(tables, 5).given_context.mean()
    assert plug < truth - 0.03
    assert abs(fixed - truth) < 0.25 * abs(plug - truth)


def test_two_way_se_is_the_spread_of_the_mean_over_new_rows_and_columns():
    rng = np.random.default_rng(4)
    means, claimed = [], []
    for _ in range(400):
        row, column = rng.normal(size=(20, 1)), 2 * rng.normal(size=(1, 15))
        values = row + column + rng.normal(size=(20, 15))
        means.append(values.mean())
        claimed.append(two_way_se(values))
    assert np.mean(claimed) == pytest.approx(np.std(means), rel=0.1)


def test_95_percent_intervals_cover_the_true_flow():
    rng = np.random.default_rng(5)
    hits, runs = 0, 0
    for _ in range(10):
        world = random_world(rng)
        truth = oracle.plain_flow(world)
        for _ in range(40):
            result = table_flow(oracle.draw_table(world, 60, 60, rng)[0][:, :, None], 5)
            hits += abs(result.bits[0] - truth) < 1.96 * two_way_se(result.pointwise)
            runs += 1
    assert 0.90 < hits / runs < 0.99


@pytest.mark.parametrize(("m", "k"), [(1, 5), (5, 1)])
def test_one_donor_or_one_context_is_an_error(m, k):
    with pytest.raises(ValueError, match=f"{m} donors, {k} contexts"):
        table_flow(np.zeros((m, k, 1), int), 2)


def test_codes_that_are_no_codes_are_an_error():
    with pytest.raises(ValueError, match="integer codes"):
        table_flow(np.full((3, 3, 1), np.nan), 2)
    with pytest.raises(ValueError, match=r"0 \.\.\. 1"):
        table_flow(np.full((3, 3, 1), 2), 2)
    with pytest.raises(ValueError, match=r"0 \.\.\. 1"):
        table_flow(np.full((3, 3, 1), -1), 2)


def test_the_standard_error_is_the_jackknife_over_donors_and_contexts():
    rng = np.random.default_rng(6)
    codes = oracle.draw_table(random_world(rng), 50, 60, rng)[0]
    result = table_flow(codes[:, :, None], 5, estimator="none")
    rows = [oracle.plain_flow(np.delete(codes, m, 0)) for m in range(50)]
    columns = [oracle.plain_flow(np.delete(codes, k, 1)) for k in range(60)]
    jackknife = 49 / 50 * np.var(rows) * 50 + 59 / 60 * np.var(columns) * 60
    cells = result.pointwise - result.pointwise.mean(0) - result.pointwise.mean(1)[:, None]
    inter = ((cells + result.pointwise.mean()) ** 2).sum() / (49 * 59) / (50 * 60)
    assert two_way_se(result.pointwise) == pytest.approx(np.sqrt(jackknife - inter), rel=0.05)


@pytest.mark.parametrize("estimator", ["panzeri_treves", "grassberger", "quadratic", "auto"])
def test_every_estimator_removes_most_of_the_bias(estimator):
    rng = np.random.default_rng(7)
    world = random_world(rng)
    truth = oracle.plain_flow(world)
    tables = np.stack([oracle.draw_table(world, 60, 60, rng)[0] for _ in range(200)], 2)
    plug = table_flow(tables, 5, estimator="none").bits.mean() - truth
    fixed = table_flow(tables, 5, estimator=estimator).bits.mean() - truth
    assert plug > 0.02
    assert abs(fixed) < 0.4 * plug


def test_auto_is_miller_madow_where_codes_are_few_and_panzeri_treves_where_many():
    rng = np.random.default_rng(8)
    few, many = rng.integers(2, size=(50, 60, 1)), rng.integers(9, size=(50, 60, 1))
    both = table_flow(np.concatenate([few, many], 2), 9)
    assert both.bits[0] == table_flow(few, 9, estimator="miller_madow").bits[0]
    assert both.bits[1] == table_flow(many, 9, estimator="panzeri_treves").bits[0]
    assert both.bits[1] != table_flow(many, 9, estimator="miller_madow").bits[0]


def test_an_unknown_estimator_or_too_little_to_extrapolate_is_an_error():
    with pytest.raises(ValueError, match="unknown correction 'best'"):
        table_flow(np.zeros((9, 9, 1), int), 2, estimator="best")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="8 donors and 8 contexts, got 5 and 9"):
        table_flow(np.zeros((5, 9, 1), int), 2, estimator="quadratic")
