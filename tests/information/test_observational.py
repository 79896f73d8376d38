"""Observed and conditional information, and why they are not the flow."""

import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow.information.observational import conditional_information

UNIQUE = {"bins": "unique", "correction": "none"}


@pytest.fixture(scope="module")
def chain():
    """Input -> two copies of it -> a copy of the first copy."""
    net = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        net[0].weight.fill_(1.0)
        net[1].weight.copy_(torch.tensor([[1.0, 0.0]]))
    return ifl.record(net, ["0", "1"], torch.arange(8.0)[:, None])


def test_given_the_input_nothing_is_shared_even_where_everything_flows(chain):
    exact = ifl.flow(chain, {"0": [0]}, "1", donors="all", contexts="all", **UNIQUE)
    assert exact.bits == pytest.approx(3.0)
    assert conditional_information(chain, {"0": [0]}, "1", **UNIQUE) == 0.0


def test_without_the_common_cause_given_correlation_looks_like_flow(chain):
    bystander = ifl.flow(chain, {"0": [1]}, "1", donors="all", contexts="all", **UNIQUE)
    assert (bystander.bits, bystander.observational_bits) == (0.0, pytest.approx(3.0))


def test_given_units_that_hold_half_of_the_cause_half_of_it_is_left():
    bits = torch.tensor([[a, b] for a in (0.0, 1.0) for b in (0.0, 1.0)])
    net = nn.Sequential(nn.Identity(), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[1.0, 2.0], [1.0, 2.0]]))
    rec = ifl.record(net, ["0", "1"], bits)
    left = conditional_information(rec, {"1": [0]}, {"1": [1]}, {"0": [0]}, **UNIQUE)
    assert left == pytest.approx(1.0)
    whole = conditional_information(rec, {"1": [0]}, {"1": [1]}, "0", **UNIQUE)
    assert whole == pytest.approx(0.0)


def test_bad_groups_and_options_are_errors(chain):
    with pytest.raises(ValueError, match="at least one unit"):
        conditional_information(chain, [], "1")
    with pytest.raises(ValueError, match="unknown correction"):
        conditional_information(chain, "0", "1", correction="magic")  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="recorded layer"):
        conditional_information(chain, "0", "1", "2")
