"""The strongest similarities beside the whole matrix."""

from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow.unit_similarity import nearest, strongest_similarities
from tests.nets import normal
from tests.unit_similarity.networks import mlp


@pytest.mark.parametrize("measure", ["cov", "cov_norm", "i_sens", "o_sens_norm"])
def test_strengths_are_exact_and_the_strongest_pairs_are_kept(measure):
    rec = ifl.record(mlp(nn.Tanh), ["0", "1"], normal(12, 5).double())
    how = {} if measure.startswith("cov") else {"method": "probes", "probes": 2}
    whole = ifl.similarity(rec, measure, **how)
    np.fill_diagonal(whole, 0)
    with patch.object(nearest, "_BLOCK", 30):  # blocks of two rows
        found = strongest_similarities(rec, measure, neighbours=3, probes=2)
    np.testing.assert_allclose(found.strength, whole.sum(1), rtol=1e-6)
    cut = np.sort(whole, axis=1)[:, -3]
    kept = (whole >= cut[:, None]) | (whole >= cut)
    np.testing.assert_allclose(found.matrix.toarray(), np.where(kept, whole, 0), rtol=1e-6)


def test_modules_of_the_strongest_pairs_are_those_of_all():
    torch.manual_seed(0)
    shared = torch.randn(200, 3).repeat_interleave(20, 1)
    rec = ifl.record(nn.Sequential(nn.Identity()), "0", shared + 0.5 * torch.randn(200, 60))
    found = ifl.find_modules(strongest_similarities(rec, "cov_norm", neighbours=8))
    assert found.partition == ifl.find_modules(ifl.similarity(rec, "cov_norm")).partition
    assert found.partition.n_modules == 3


def test_what_is_no_product_is_refused():
    rec = ifl.record(mlp(), ["0"], normal(12, 5).double())
    with pytest.raises(ValueError, match="'cov', 'i_sens' or 'o_sens'"):
        strongest_similarities(rec, "hess")
    with pytest.raises(ValueError, match="at least one neighbour"):
        strongest_similarities(rec, "cov", neighbours=0)
