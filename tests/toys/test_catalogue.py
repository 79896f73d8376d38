"""Every toy says the same by every road."""

import pytest
import torch

import infoflow.toys as toys
from infoflow.toys.three_ways import by_engine, by_oracle
from tests.oracles_toys import three_numbers

NAMES = list(toys.TOYS)


@pytest.mark.parametrize("name", NAMES)
def test_engine_and_causal_network_agree_to_a_billionth(name):
    system = toys.load(name)
    assert by_engine(system).difference(by_oracle(system)) < 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_engine_agrees_with_cases_counted_by_hand(name):
    toy = toys.load(name)
    counted = toys.Numbers(*three_numbers(toy.model(), toy.inputs, toy.source, toy.target))
    assert by_engine(toy).difference(counted) < 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_network_agrees_with_paper_to_its_four_decimals(name):
    toy = toys.load(name)
    found = by_engine(toy)
    assert round(found.observational, 4) == toy.paper.observational
    assert round(found.interventional, 4) == toy.paper.interventional
    assert round(found.given_context, 4) == toy.paper.given_context


def test_table_holds_every_toy_once_and_all_agree():
    table = toys.table()
    assert list(table["name"]) == NAMES
    assert table["agree"].all()


def test_conditioning_on_the_input_explains_everything_away_whatever_flows():
    table = toys.table()
    assert table["conditional"].max() < 1e-12
    assert table["interventional_engine"].max() == 2


def test_a_toy_whose_paper_number_is_wrong_does_not_agree():
    from dataclasses import replace

    assert not toys.check(replace(toys.load("copy"), paper=toys.Numbers(1, 0.9999, 1))).agree


def test_a_toy_whose_causal_network_is_another_does_not_agree():
    from dataclasses import replace

    other = replace(toys.load("xor_one"), causal=toys.load("coin_toss").causal)
    assert not toys.check(other).agree


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_whole_numbers_exact_in_single_precision(name):
    for parameter in toys.load(name).model().parameters():
        assert torch.equal(parameter, parameter.round())


def test_misspelt_toy_is_named_with_its_near_miss():
    with pytest.raises(KeyError, match="did you mean 'xor_one'"):
        toys.load("xor_on")
    with pytest.raises(KeyError, match="did you mean 'nested_modules'"):
        toys.load_modules("nested_module")
