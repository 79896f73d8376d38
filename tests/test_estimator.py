"""ModuleFinder keeps scikit-learn's conventions and finds what find_modules finds."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator

import infoflow as ifl


def test_it_passes_scikit_learn_s_own_checks():
    results = check_estimator(ifl.ModuleFinder(), on_fail=None, on_skip=None)
    assert [r["check_name"] for r in results if r["status"] == "failed"] == []
    assert sum(r["status"] == "passed" for r in results) > 40


def test_it_finds_what_find_modules_finds():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    rec = ifl.record(net, ["0", "2"], torch.randn(50, 5))
    S = ifl.similarity(rec, "i_sens_norm")
    wanted = ifl.find_modules(S, n_modules=2, seed=3).partition.labels.tolist()
    finder = ifl.ModuleFinder("i_sens_norm", n_modules=2, random_state=3)
    assert clone(finder).fit(rec).labels_.tolist() == wanted
    same = clone(finder).set_params(measure="precomputed").fit(S)
    assert same.labels_.tolist() == wanted
    means = same.transform(rec.matrix())
    first = rec.matrix()[:, np.array(wanted) == 0].mean(1)
    np.testing.assert_allclose(means[:, 0], first)
    by_activity = ifl.ModuleFinder().fit(rec)
    truth = ifl.find_modules(np.abs(np.corrcoef(rec.matrix().T)))
    assert by_activity.q_ == pytest.approx(truth.q)


def test_what_does_not_fit_the_measure_is_refused():
    X = np.eye(4)[:3]
    with pytest.raises(ValueError, match="expected a square"):
        ifl.ModuleFinder("precomputed").fit(X)
    with pytest.raises(ValueError, match="expected a Recording for measure='hess'"):
        ifl.ModuleFinder("hess").fit(X)
