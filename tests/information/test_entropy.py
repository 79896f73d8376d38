"""Counts in, bits out."""

import numpy as np
import pytest

from infoflow.information.entropy import (
    entropy_bits,
    information_bits,
    joint_counts,
    miller_madow_bits,
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


def test_information_is_that_of_the_pairs_counted():
    rng = np.random.default_rng(2)
    a, b = rng.integers(4, size=60), rng.integers(3, size=60)
    table = joint_counts(a, b)
    assert table.sum() == 60
    expected = oracle.information(a.tolist(), b.tolist())
    assert information_bits(table, correct=False) == pytest.approx(expected, abs=1e-12)


def test_corrected_information_of_independent_codes_is_zero_on_average():
    rng = np.random.default_rng(3)
    values = [
        information_bits(joint_counts(rng.integers(4, size=200), rng.integers(4, size=200)))
        for _ in range(500)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(500)
