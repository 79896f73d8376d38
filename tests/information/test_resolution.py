"""The same runs read through codes of several sizes."""

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow.information.resolution import resolution_sweep
from infoflow.measured import Binning


@pytest.fixture(scope="module")
def rec():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 10), nn.ReLU(), nn.Linear(10, 10))
    return ifl.record(net, ["1", "2"], torch.randn(400, 8))


@pytest.mark.parametrize("coding", ["joint", "units"])
def test_every_row_is_the_flow_at_that_resolution(rec, coding):
    source = {"1": [0, 1, 2, 3]}
    ask = {"coding": coding, "donors": 30, "contexts": 40, "seed": 5}
    sweep = resolution_sweep(rec, source, "2", counts=(3, 10), **ask)
    for count, bits, given in zip(
        sweep["count"], sweep["bits"], sweep["bits_given_context"], strict=True
    ):
        single = ifl.flow(rec, source, "2", bins=int(count), **ask)
        assert bits == pytest.approx(single.bits)
        assert given == pytest.approx(single.bits_given_context)


def test_finer_codes_show_more_and_never_more_than_their_entropy(rec):
    sweep = resolution_sweep(rec, {"1": list(range(8))}, "2", counts=(2, 8, 24), contexts=200)
    assert (np.diff(sweep["bits"]) > 0).all()
    assert (np.diff(sweep["entropy"]) > 0.5).all()
    assert (sweep["bits"] <= sweep["entropy"] + 3 * sweep["se"]).all()


def test_projection_codes_are_a_lower_bound_too(rec):
    binning = Binning(group="projection")
    sweep = resolution_sweep(rec, {"1": list(range(8))}, "2", counts=(4, 16), binning=binning)
    assert (sweep["bits"] > 0.05).all()
    assert (sweep["entropy"] <= np.log2(sweep["count"]) + 1e-3).all()


def test_edges_cannot_make_a_joint_code(rec):
    with pytest.raises(ValueError, match="edges cut single units"):
        ifl.flow(rec, {"1": [0, 1]}, "2", bins=Binning(edges=(0.0,)))
    cut = ifl.flow(
        rec, {"1": [0, 1]}, "2", bins=Binning(edges=(0.0,)), coding="units", correction="none"
    )
    assert cut.n_codes == 2
    assert cut.bits_given_context <= 10.0
