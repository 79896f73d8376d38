"""Exchanges whose modules are set in other ways, or whose relays are held."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

import infoflow as ifl
from infoflow.exchanges import ExchangeMeter
from infoflow.forcing import Forcing
from infoflow.measured import SCORE, SEARCH, Objective
from infoflow.searching import module_score
from infoflow.toys import load

LABELS = [0, 1, 0, 1, 2, 0, 1, 2, 0, 1, 2, 2]
FEW = {"donors": 12, "contexts": 9}


def halves(rec, units, count, rng):
    return rng.normal(size=(count, len(units)))


OTHERS = ["uniform", Forcing(within="targets"), Forcing(within="targets", only=1), halves]


@pytest.fixture(scope="module")
def rec():
    torch.manual_seed(1)
    net = torch.nn.Sequential(
        torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 4), torch.nn.Tanh(),
        torch.nn.Linear(4, 3),
    )  # fmt: skip
    return ifl.record(net, ["1", "3", "4"], torch.randn(90, 4), torch.arange(90) % 3)


@pytest.mark.parametrize("do", OTHERS)
def test_counted_flows_are_those_of_the_tables(rec, do):
    meter = ExchangeMeter(rec, replace(SCORE, do=do, **FEW), Objective("ncut"))
    counted = meter.flows([LABELS])[0]
    tables = meter(LABELS, "none")
    assert np.allclose(counted, [tables.flow, tables.flow_given_context], atol=1e-9)
    assert tables.se > 0 and tables.se_given_context > 0


@pytest.mark.parametrize("do", OTHERS)
def test_one_module_to_another_is_the_flow_with_the_same_draws(rec, do):
    ex = ifl.exchange(rec, LABELS, do=do, **FEW)
    source, target = (np.flatnonzero(np.array(LABELS) == a) for a in (0, 1))
    f = ifl.flow(rec, source, target, coding="units", correction="miller_madow", do=do, **FEW)
    assert ex.flow[0, 1] == pytest.approx(f.bits, abs=1e-9)
    assert ex.flow_se[0, 1] == pytest.approx(f.se, abs=1e-9)
    assert ex.flow_given_context[0, 1] == pytest.approx(f.bits_given_context, abs=1e-9)


def test_the_observed_marginal_in_counted_flows(rec):
    do = Forcing(marginal="observed")
    draws = replace(SCORE, do=do, correction="none", **FEW)
    meter = ExchangeMeter(rec, draws, Objective("none", given_context=False))
    assert np.allclose(meter.flows([LABELS])[0][0], meter(LABELS).flow, atol=1e-9)
    mixture = replace(draws, do="empirical")
    plain = ExchangeMeter(rec, mixture, Objective("none", given_context=False))
    assert meter(LABELS).bits > plain(LABELS).bits


def test_uniform_over_all_donors_weighs_them(rec):
    ex = ifl.exchange(rec, LABELS, donors="all", contexts=9, do="uniform", coding="joint")
    assert ex.bits_given_context > 0 and ex.se_given_context > 0


def test_a_search_may_set_modules_as_it_likes(rec):
    how = {"budget": 6, "samples": 4, "donors": 10, "contexts": 8}
    found = ifl.search(rec, n_modules=2, do=Forcing(within="targets", only=0), **how)
    plain = ifl.search(rec, n_modules=2, **how)
    assert found.exchange.bits_given_context != plain.exchange.bits_given_context


def test_with_two_modules_of_all_units_nothing_is_left_to_hold(rec):
    labels = np.minimum(LABELS, 1)
    total, direct = (ifl.exchange(rec, labels, direct=d, **FEW) for d in (False, True))
    assert np.allclose(total.flow_given_context, direct.flow_given_context, atol=1e-9)


def test_held_modules_relay_nothing(rec):
    by_layer = rec.units.layer_index  # layers in a chain: the first reaches the last by the second
    total, direct = (
        ifl.module_flow(rec, by_layer, given_context=True, coding="units", direct=d, **FEW)
        for d in (False, True)
    )
    assert total.loc[0, 2] > 0 and direct.loc[0, 2] == 0
    assert direct.loc[0, 1] == pytest.approx(total.loc[0, 1])


def test_unit_flows_in_a_chain_are_direct_between_neighbours_only(rec):
    how = {"given_context": True, "donors": 10, "contexts": 8}
    total, direct = (ifl.unit_flow(rec, direct=d, **how) for d in (False, True))
    layer = rec.units.layer_index
    neighbours = layer[:, None] + 1 == layer
    assert np.allclose(direct[neighbours], total[neighbours], atol=1e-9)
    assert (total[layer[:, None] + 2 == layer] > 0).any()
    assert not direct[~neighbours].any()


def test_direct_unit_flow_of_a_toy_with_a_skip_is_its_exact_number():
    rec = load("half_relayed").record()
    found = ifl.unit_flow(rec, given_context=True, direct=True, donors=2, contexts=2)
    assert found[0, 2] > 0 and ifl.flow(
        rec, [0], [2], direct=True, donors="all", contexts="all", bins="unique", correction="none"
    ).direct.bits == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"do": "capacity"}, "'capacity' is for flow"),
        ({"do": Forcing(marginal="observed")}, "given_context=False"),
        ({"do": "uniform", "objective": "kernel"}, "use objective='codes'"),
        ({"direct": True, "objective": "kernel"}, "use objective='codes'"),
    ],
)
def test_what_cannot_be_added_up_is_refused(rec, how, message):
    with pytest.raises(ValueError, match=message):
        ifl.exchange(rec, LABELS, **how)


def test_a_checkpoint_names_what_modules_are_set_to_and_refuses_a_sampler(rec, tmp_path):
    how = {"budget": 2, "samples": 2, "donors": 10, "contexts": 8}
    ifl.search(rec, checkpoint=tmp_path / "a.npz", do="uniform", **how)
    with pytest.raises(ValueError, match="do was"):
        ifl.search(rec, checkpoint=tmp_path / "a.npz", **how)
    with pytest.raises(ValueError, match="one sampler from another"):
        ifl.search(rec, checkpoint=tmp_path / "b.npz", do=halves, **how)


def test_the_module_score_and_the_comparison_take_other_distributions_too(rec):
    score = partial(module_score, rec, LABELS, samples=5)
    own = ExchangeMeter(rec, replace(SCORE, do="uniform"), Objective())
    assert score(do="uniform") == score(meter=own) == score(do="uniform", meter=own)
    assert score(do="uniform").raw_minimum != score().raw_minimum
    with pytest.raises(ValueError, match="would be ignored"):
        score(do=Forcing(within="targets"), meter=own)
    quick = {"methods": ("sampling",), "budget": 4, "samples": 2, "same_size": 2, "proxies": False}
    net = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2))
    rec = ifl.record(net, ["1", "2"], torch.randn(40, 3))
    found = ifl.compare(rec, partitions={"own": [0, 0, 1, 0, 1]}, do="uniform", **quick, **FEW)
    judge = ExchangeMeter(rec, replace(SEARCH, do="uniform", **FEW), Objective()).fresh()
    assert found.partitions.loc["own", "weighted"] == judge(found.labels["own"]).weighted
