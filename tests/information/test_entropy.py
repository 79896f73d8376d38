"""Counts in, bits out."""

import numpy as np
import pytest

from infoflow.information.entropy import (
    ENTROPIES,
    chao_shen_bits,
    conditional_information_bits,
    entropy_bits,
    grassberger_bits,
    information_bits,
    joint_counts,
    miller_madow_bits,
    panzeri_treves_bits,
    quadratic_limit,
)
from tests import oracles_information as oracle


def test_entropy_is_that_of_the_symbols_counted():
    rng = np.random.default_rng(0)
    for _ in range(20):
        symbols = rng.integers(6, size=rng.integers(1, 50))
        expected = oracle.entropy(symbols.tolist())
        assert entropy_bits(np.bincount(symbols)) == pytest.approx(expected, abs=1e-12)


def test_entropy_of_k_equal_cells_is_log2_k_and_of_one_cell_zero():
    assert entropy_bits(np.full(8, 3)) == pytest.approx(3.0)
    assert entropy_bits(np.array([0, 7, 0])) == 0.0


def test_miller_madow_removes_most_of_the_bias_of_the_entropy():
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(10))
    truth = -(p * np.log2(p)).sum()
    counts = rng.multinomial(100, p, size=4000)
    plain, corrected = entropy_bits(counts).mean(), miller_madow_bits(counts).mean()
    assert plain < truth - 0.04
    assert abs(corrected - truth) < 0.25 * abs(plain - truth)


@pytest.mark.parametrize(
    ("name", "left"),
    [("miller_madow", 0.4), ("panzeri_treves", 0.4), ("grassberger", 0.4), ("chao_shen", 0.9)],
)
@pytest.mark.parametrize("samples", [50, 200])
def test_every_correction_leaves_less_of_the_plug_in_bias(name, left, samples):
    rng = np.random.default_rng(7)
    p = rng.dirichlet(np.full(10, 2.0))
    truth = -(p * np.log2(p)).sum()
    counts = rng.multinomial(samples, p, size=3000)
    plain = abs(entropy_bits(counts).mean() - truth)
    assert abs(ENTROPIES[name](counts).mean() - truth) < left * plain


@pytest.mark.parametrize("name", list(ENTROPIES))
def test_many_histograms_at_once_are_as_one_by_one(name):
    counts = np.random.default_rng(8).poisson(2.0, size=(3, 4, 6)) + np.eye(6, dtype=int)[0]
    together = ENTROPIES[name](counts)
    for i in range(3):
        for j in range(4):
            assert together[i, j] == pytest.approx(float(ENTROPIES[name](counts[i, j])))
    assert ENTROPIES[name](np.moveaxis(counts, 2, 0), axis=0) == pytest.approx(together)


def test_panzeri_treves_counts_as_many_cells_as_explain_those_seen():
    counts = np.array([4, 3, 2, 1, 1, 0, 0, 0, 0, 0])
    seen, total = 5, 11
    off = [abs(seen - oracle.expected_cells_seen(counts[:seen], extra)) for extra in range(6)]
    extra = next(i for i in range(5) if off[i + 1] >= off[i])
    expected = entropy_bits(counts) + (seen + extra - 1) / (2 * total * np.log(2))
    assert panzeri_treves_bits(counts) == pytest.approx(float(expected))
    assert extra > 0


def test_grassbergers_terms_follow_his_recursion():
    g = [0.0, -np.euler_gamma - np.log(2), 2 - np.euler_gamma - np.log(2)]
    for n in range(3, 9):
        g.append(g[-1] if n % 2 else g[-1] + 2 / (n - 1))
    counts = np.array([1, 2, 3, 4, 5, 6, 7, 8])
    expected = np.log(36) - (counts * np.array(g[1:])).sum() / 36
    assert grassberger_bits(counts) == pytest.approx(expected / np.log(2))


def test_chao_shen_weighs_every_share_by_its_chance_to_be_seen():
    p = (1 - 3 / 7) * np.array([4, 1, 1, 1]) / 7
    expected = -(p * np.log2(p) / (1 - (1 - p) ** 7)).sum()
    assert chao_shen_bits(np.array([4, 1, 1, 0, 1])) == pytest.approx(expected)
    assert np.isfinite(chao_shen_bits(np.array([1, 1, 1])))


def test_information_is_that_of_the_pairs_counted():
    rng = np.random.default_rng(2)
    a, b = rng.integers(4, size=60), rng.integers(3, size=60)
    table = joint_counts(a, b)
    assert table.sum() == 60
    expected = oracle.information(a.tolist(), b.tolist())
    assert information_bits(table, "none") == pytest.approx(expected, abs=1e-12)


def test_corrected_information_of_independent_codes_is_zero_on_average():
    rng = np.random.default_rng(3)
    values = [
        information_bits(joint_counts(rng.integers(4, size=200), rng.integers(4, size=200)))
        for _ in range(500)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(500)


@pytest.mark.parametrize(
    "correction", ["auto", "miller_madow", "panzeri_treves", "grassberger", "quadratic"]
)
def test_every_correction_finds_the_information_of_a_noisy_channel(correction):
    rng = np.random.default_rng(9)
    channel = rng.dirichlet(np.full(4, 0.5), size=5)
    joint = channel / 5
    outer = np.outer(joint.sum(1), joint.sum(0))
    truth = float((joint * np.log2(joint / outer)).sum())
    values = [
        information_bits(rng.multinomial(400, joint.ravel()).reshape(5, 4), correction, seed=i)
        for i in range(400)
    ]
    plain = [
        information_bits(rng.multinomial(400, joint.ravel()).reshape(5, 4), "none")
        for _ in range(400)
    ]
    assert np.mean(plain) - truth > 0.01
    assert abs(np.mean(values) - truth) < 0.4 * (np.mean(plain) - truth)


def test_auto_is_miller_madow_where_cells_are_few():
    rng = np.random.default_rng(10)
    few = joint_counts(rng.integers(3, size=2000), rng.integers(3, size=2000))
    assert information_bits(few) == information_bits(few, "miller_madow")


def test_an_unknown_correction_is_an_error():
    with pytest.raises(ValueError, match="unknown correction 'jackknife'"):
        information_bits(np.eye(2, dtype=int), "jackknife")  # type: ignore[arg-type]


def test_extrapolation_is_exact_for_a_quadratic_bias():
    assert quadratic_limit(*(1.5 - 2 / n + 7 / n**2 for n in (40, 20, 10))) == pytest.approx(1.5)


def test_conditional_information_is_that_of_each_stratum():
    rng = np.random.default_rng(11)
    x, a = rng.integers(3, size=200), rng.integers(2, size=200)
    b = np.where(x == 0, a, rng.integers(2, size=200))
    expected = sum(
        (x == v).mean() * oracle.information(a[x == v].tolist(), b[x == v].tolist())
        for v in range(3)
    )
    assert conditional_information_bits(a, b, x) == pytest.approx(expected, abs=1e-12)
