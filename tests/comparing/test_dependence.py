"""Dependence of modules in the normal run."""

import numpy as np
import pytest
import torch

import infoflow as ifl
from infoflow.comparing.columns import _hsic, module_cka


def recording(values):
    return ifl.record(torch.nn.Sequential(torch.nn.Identity()), "0", torch.tensor(values))


def test_the_estimator_without_bias_is_a_sum_over_samples_that_differ():
    rng = np.random.default_rng(0)
    k, m = (a + a.T for a in rng.random((2, 7, 7)))
    np.fill_diagonal(k, 0.0)
    np.fill_diagonal(m, 0.0)
    rows = [
        (i, j, q, r)
        for i in range(7) for j in range(7) for q in range(7) for r in range(7)
        if len({i, j, q, r}) == 4
    ]  # fmt: skip
    by_listing = np.mean([k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]) for i, j, q, r in rows])
    assert _hsic(k, m) == pytest.approx(by_listing)


def test_independent_modules_have_none_on_average_and_nonlinear_dependence_is_seen():
    rng = np.random.default_rng(1)
    alone, bent = [], []
    for _ in range(20):
        x, y = rng.normal(size=(2, 60, 2))
        alone.append(module_cka(recording(np.hstack([x, y])), [0, 0, 1, 1]))
        bent.append(module_cka(recording(np.hstack([x, np.abs(x)])), [0, 0, 1, 1]))
    assert abs(np.mean(alone)) < 3 * np.std(alone) / np.sqrt(20) + 0.01
    assert np.min(bent) > 0.1


def test_units_of_another_scale_and_constant_ones_change_nothing():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(50, 4)) @ rng.normal(size=(4, 4))
    wide = np.hstack([100 * x + 3, np.ones((50, 1))])
    plain = module_cka(recording(x), [0, 0, 1, 1])
    assert module_cka(recording(wide), [0, 0, 1, 1, 1]) == pytest.approx(plain)


def test_one_module_is_refused():
    with pytest.raises(ValueError, match="at least two modules"):
        module_cka(recording(np.eye(4)), [0, 0, 0, 0])
