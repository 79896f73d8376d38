"""The page on what B does says what its saved rows and the toys say."""

from pathlib import Path

import pandas as pd
import pytest

from experiments.bases.page import table
from experiments.bases.rotation import PATH, added_by_training
from experiments.forcing.page import tables
from infoflow.toys import load
from infoflow.toys.variations import VARIATIONS

PAGE = (Path(__file__).parents[2] / "docs/what_b_does.md").read_text(encoding="utf-8")


def test_the_page_s_tables_are_those_of_the_saved_rows():
    assert all(found in PAGE for found in (*tables(), table()))


def test_what_training_adds_to_learned_directions_is_on_the_page():
    found = str(added_by_training(pd.read_csv(PATH))).replace("0.", ".")
    assert found in PAGE


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("confounded_and", "capacity: log2(5/4), and half a bit"),
        ("bob_checks", "all answers alike"),
    ],
)
def test_toys_on_the_page_have_their_numbers(name, said):
    variation = next(v for v in VARIATIONS if (v.toy, v.said) == (name, said))
    for bits in (load(name).paper.interventional, variation.interventional):
        assert f"{bits:.4f}".lstrip("0") in PAGE


def test_the_post_s_sum_has_its_numbers_on_the_page():
    assert f"{load('floor_and_add').paper.interventional:.4f}" in PAGE
    assert f"{load('floor_and_add_all').paper.interventional:.4f}".lstrip("0") in PAGE
