"""B set in other ways, and its relays held: the same numbers by every road."""

from dataclasses import replace

import numpy as np
import pytest

import infoflow.toys as toys
from infoflow.toys.variations import VARIATIONS, table
from tests.oracles_toys import forced_numbers


def test_engine_oracle_and_paper_agree_on_every_variation():
    found = table()
    assert len(found) == len(VARIATIONS)
    assert found["agree"].all(), found[~found["agree"]]


def test_every_variation_but_those_of_the_class_differs_from_the_plain_do():
    plain = [toys.load(v.toy).paper for v in VARIATIONS]
    same = [
        v.said
        for v, p in zip(VARIATIONS, plain, strict=True)
        if v.paper == (p.interventional, p.given_context)
    ]
    assert same == []


BY_HAND = {
    ("rare_signal", "both values of B alike"): {"values": [(0,), (1,)]},
    ("bob_checks", "all answers alike"): {"values": [(2,), (3,), (5,), (7,)]},
    ("integer_division", "B = 0 or 7"): {"values": [(0,), (7,)]},
    ("class_gate", "donors of class 0"): {"values": [(0,), (1,)]},
    ("confounded_and", "capacity: log2(5/4), and half a bit"): {
        "values": [(0,), (1,)],
        "prior": [0.6, 0.4],
    },
    ("half_relayed", "M held"): {"held": ["layer2"]},
    ("cancelled", "M held"): {"held": ["layer2"]},
}


@pytest.mark.parametrize(("name", "said"), BY_HAND)
def test_engine_agrees_with_cases_counted_by_hand(name, said):
    toy = toys.load(name)
    variation = next(v for v in VARIATIONS if (v.toy, v.said) == (name, said))
    plain, given = forced_numbers(
        toy.model(), toy.inputs, toy.source, toy.target, **BY_HAND[name, said]
    )
    found = variation.by_engine()
    assert found[0] == pytest.approx(plain, abs=1e-9)
    if variation.do != "capacity":  # given the context it has a p(b) of its own
        assert found[1] == pytest.approx(given, abs=1e-9)


def test_donors_of_the_context_s_class_are_counted_class_by_class():
    toy = toys.load("class_gate")
    variation = next(v for v in VARIATIONS if v.said == "donors of the context's class")
    each = [
        forced_numbers(toy.model(), toy.inputs[own], toy.source, toy.target)
        for own in (slice(0, 2), slice(2, 4))
    ]
    assert np.allclose(variation.by_engine(), np.mean(each, axis=0), atol=1e-9)


def test_a_variation_whose_paper_number_is_wrong_does_not_agree():
    assert not table([replace(VARIATIONS[0], interventional=0.9999)])["agree"].any()
