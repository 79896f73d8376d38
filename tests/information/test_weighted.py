"""Donors with probabilities of their own, and those under which most is sent."""

import numpy as np
import pytest
from scipy.optimize import minimize

from infoflow.information.donors import table_flow, two_way_se
from infoflow.information.weighted import best_weights, capacity_flow, weighted_flow
from tests.oracles_information import entropy


def by_listing(codes, weights):
    """Plain flow and flow given the context of `(M, K)` codes, cell by cell."""
    m, k = codes.shape
    values = sorted(set(codes.ravel().tolist()))
    rows = np.array([[np.mean(codes[a] == c) for c in values] for a in range(m)])
    mixture = sum(w * row for w, row in zip(weights, rows, strict=True))
    plain = h(mixture) - sum(w * h(row) for w, row in zip(weights, rows, strict=True))
    columns = [[weights[codes[:, b] == c].sum() for c in values] for b in range(k)]
    return plain, np.mean([h(column) for column in columns])


def h(p):
    return -sum(x * np.log2(x) for x in p if x > 0)


def table(rng, m=6, k=8, n_codes=4):
    return rng.integers(n_codes, size=(m, k, 1))


def test_plug_in_values_are_those_of_a_listing():
    rng = np.random.default_rng(0)
    codes, weights = table(rng), rng.dirichlet(np.ones(6))
    found = weighted_flow(codes, 4, weights, estimator="none")
    plain, given = by_listing(codes[:, :, 0], weights)
    assert found.bits[0] == pytest.approx(plain, abs=1e-12)
    assert found.given_context[0] == pytest.approx(given, abs=1e-12)
    assert found.pointwise.mean() == pytest.approx(plain, abs=1e-12)
    assert found.pointwise_given_context.mean() == pytest.approx(given, abs=1e-12)


def test_equal_weights_give_what_equally_likely_donors_give():
    codes = table(np.random.default_rng(1))
    equal = weighted_flow(codes, 4, np.full(6, 1 / 6), estimator="none")
    plain = table_flow(codes, 4, estimator="none")
    assert np.allclose([equal.bits, equal.given_context], [plain.bits, plain.given_context])


def test_a_donor_of_weight_zero_might_as_well_be_left_out():
    codes, weights = table(np.random.default_rng(2)), np.array([0.5, 0.2, 0.3, 0, 0, 0])
    left = weighted_flow(codes[:3], 4, weights[:3])
    assert np.allclose(weighted_flow(codes, 4, weights).bits, left.bits)


@pytest.mark.parametrize("estimator", ["miller_madow", "auto"])
def test_no_effect_is_exactly_zero(estimator):
    codes = np.tile(np.random.default_rng(3).integers(3, size=(1, 20, 1)), (5, 1, 1))
    weights = np.array([0.4, 0.3, 0.1, 0.1, 0.1])
    found = weighted_flow(codes, 3, weights, estimator=estimator)
    assert found.bits.tolist() == found.given_context.tolist() == [0.0]


def test_corrections_under_weights_take_the_bias_away():
    rng = np.random.default_rng(4)
    world = (np.arange(12)[:, None] * np.arange(40) // 17) % 5  # 12 donors, 40 contexts
    weights = rng.dirichlet(np.ones(12))
    truth = by_listing(world, weights)
    found = {"none": [], "miller_madow": []}
    given = []
    for _ in range(150):
        codes = world[:, rng.integers(40, size=20), None]
        for estimator, values in found.items():
            values.append(weighted_flow(codes, 5, weights, estimator=estimator).bits[0])
        given.append(weighted_flow(codes, 5, weights).given_context[0])
    bias = {name: np.mean(values) - truth[0] for name, values in found.items()}
    assert bias["none"] > 0.05
    assert abs(bias["miller_madow"]) < 0.25 * bias["none"]
    assert np.mean(given) == pytest.approx(truth[1], abs=0.01)


def test_standard_error_is_the_spread_over_draws_of_contexts():
    rng = np.random.default_rng(5)
    world = rng.integers(3, size=(8, 1)) * rng.integers(2, size=60)
    weights, found = rng.dirichlet(np.ones(8)), []
    for _ in range(200):
        flow = weighted_flow(world[:, rng.integers(60, size=40), None], 3, weights)
        found.append((flow.bits[0], two_way_se(flow.pointwise)))
    bits, se = np.array(found).T
    assert se.mean() == pytest.approx(bits.std(), rel=0.2)


@pytest.mark.parametrize("given_context", [False, True])
def test_capacity_is_what_a_general_optimiser_finds(given_context):
    codes = table(np.random.default_rng(6), m=5, k=7, n_codes=3)

    def lost(weights):
        return -by_listing(codes[:, :, 0], weights / weights.sum())[int(given_context)]

    best = min(
        minimize(lost, start, bounds=[(1e-9, 1)] * 5, method="L-BFGS-B").fun
        for start in np.random.default_rng(0).dirichlet(np.ones(5), 5)
    )
    weights = best_weights(codes, 3, given_context=given_context)
    assert by_listing(codes[:, :, 0], weights)[int(given_context)] == pytest.approx(-best, abs=1e-6)


def test_capacity_of_several_columns_has_one_distribution_for_all():
    copy, other = np.array([[0, 0], [1, 1], [1, 1]]), np.array([[0, 0], [0, 0], [1, 1]])
    both = np.stack([copy, other], 2)
    found = capacity_flow(both, 2, contexts=2, estimator="none")
    alone = [capacity_flow(both[:, :, [t]], 2, contexts=2, estimator="none") for t in (0, 1)]
    assert [flow.bits[0] for flow in alone] == pytest.approx([1, 1])
    assert found.bits.sum() == pytest.approx(max(
        h([p, 1 - p]) + h([q, 1 - q]) for p in np.linspace(0, 1, 401)
        for q in np.linspace(0, 1 - p, 401)
    ), abs=1e-4)  # fmt: skip


def test_sampled_capacity_does_not_exceed_the_true_one_by_its_noise():
    rng = np.random.default_rng(7)
    world = np.where(rng.random((10, 300)) < 0.5, rng.integers(3, size=(10, 300)), 0)
    world[5:] = world[0]
    truth = capacity_flow(world[:, :, None], 3, contexts=300, estimator="none").bits[0]
    drawn = [world[:, rng.integers(300, size=30), None] for _ in range(40)]
    fitted = np.mean([capacity_flow(d, 3, contexts=30, estimator="none").bits for d in drawn])
    honest = np.mean([capacity_flow(d, 3, contexts=30).bits for d in drawn])
    assert fitted > truth + 0.02
    assert honest < truth + 0.01


def test_what_is_not_derived_is_refused():
    codes, weights = table(np.random.default_rng(8)), np.full(6, 1 / 6)
    with pytest.raises(ValueError, match="not derived for weighted donors"):
        weighted_flow(codes, 4, weights, estimator="quadratic")
    with pytest.raises(ValueError, match="6 weights that add up to 1"):
        weighted_flow(codes, 4, weights[:5])
    with pytest.raises(ValueError, match="expected 4, got 3"):
        capacity_flow(codes[:, :3], 4, contexts=3)
    with pytest.raises(ValueError, match="not derived for the observed marginal"):
        table_flow(codes, 4, estimator="quadratic", observed=np.full((1, 4), 0.25))


def test_the_observed_marginal_adds_how_far_the_mixture_is_from_it():
    codes, p = table(np.random.default_rng(9)), np.array([[0.1, 0.2, 0.3, 0.4]])
    plain = table_flow(codes, 4, estimator="none").bits[0]
    mixture = np.bincount(codes.ravel(), minlength=4) / codes.size
    apart = mixture @ np.log2(mixture / p[0])
    found = table_flow(codes, 4, estimator="none", observed=p)
    assert found.bits[0] == pytest.approx(plain + apart)
    assert found.pointwise.mean() == pytest.approx(plain + apart)
    weighted = weighted_flow(codes, 4, np.full(6, 1 / 6), estimator="none", observed=p)
    assert weighted.bits[0] == pytest.approx(plain + apart)
    assert entropy(codes.ravel().tolist()) > 0


def test_correction_under_the_observed_marginal_takes_the_rows_bias_away():
    rng = np.random.default_rng(10)
    world = (np.arange(30)[:, None] * np.arange(40) // 17) % 5
    p = np.bincount(world[0], minlength=5)[None] / 40
    p = (p + 0.1) / (p + 0.1).sum()
    truth = table_flow(world[:, :, None], 5, estimator="none", observed=p).bits[0]
    draws = [world[:, rng.integers(40, size=20), None] for _ in range(150)]
    bias = {
        name: np.mean([table_flow(d, 5, estimator=name, observed=p).bits for d in draws]) - truth
        for name in ("none", "miller_madow")
    }
    assert bias["none"] > 0.05
    assert abs(bias["miller_madow"]) < 0.25 * bias["none"]
