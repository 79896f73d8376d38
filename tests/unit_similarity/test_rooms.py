"""How many files a reader of one call has to open."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import infoflow as ifl
from tests.rooms import files_entered


@pytest.mark.parametrize(("measure", "most"), [("cov", 3), ("i_sens", 8), ("hess", 10)])
def test_a_measure_goes_through_few_files_of_its_folder(measure, most):
    torch.manual_seed(0)
    for act in (nn.ReLU, nn.Tanh):
        net = nn.Sequential(nn.Linear(4, 3), act(), nn.Linear(3, 2), act(), nn.Linear(2, 2))
        rec = ifl.record(net, "1", torch.randn(12, 4), torch.arange(12) % 2, loss=cross_entropy)
        entered = files_entered(lambda rec=rec: ifl.similarity(rec, measure))
        assert len([path for path in entered if path.startswith("unit_similarity")]) <= most
