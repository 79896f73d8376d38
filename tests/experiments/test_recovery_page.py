"""The page on recovery says what its saved rows say, by the rules that were written before."""

import numpy as np
import pandas as pd
import pytest

from experiments.recovery.page import HEADING, PAGE, page, read
from experiments.recovery.tables import (
    Difference,
    Scores,
    default_objective,
    recommendation,
    scores,
)

CALLS = {
    "n-cut slopes": 'normalised_cut(ifl.similarity(rec, "slopes"), k)',
    "Q slopes": 'ifl.find_modules(ifl.similarity(rec, "slopes"), n_modules=k)',
    "count": "ifl.how_many(rec).partition",
    "search gaussian": 'ifl.search(rec, n_modules=None, objective="gaussian")',
}


def rows_of(quality, refused=()):
    """Rows of two families with modules and one without, four networks each, on which a method's
    ARI is as given, give or take."""
    rng = np.random.default_rng(0)
    rows = []
    for family in ("tracks", "digits", "dense"):
        for number in range(8):
            for method, ari in quality.items():
                value = ari + 0.01 * rng.normal() if family != "dense" else 0.0
                given = np.nan if family == "dense" or method in refused else value
                rows.append(
                    {
                        "network": f"{family}-k2-{number}",
                        "method": method,
                        "family": family,
                        "number": number,
                        "units": 8,
                        "k": 1 if family == "dense" else 2,
                        "ari_given": given,
                        "ari_free": np.nan if method in refused else value,
                        "seconds_given": 1.0,
                    }
                )
    return pd.DataFrame(rows)


def test_the_page_s_tables_are_those_of_the_saved_rows():
    assert PAGE.read_text(encoding="utf-8").split(HEADING)[1] == page(read())


@pytest.mark.parametrize("question", ["given", "free"])
def test_readme_recommends_what_the_rule_says(question):
    readme = (PAGE.parents[1] / "README.md").read_text(encoding="utf-8")
    part = readme.split("## Which method")[1].split("\n## ")[0]
    line = next(line for line in part.splitlines() if f"k is {question}" in line)
    assert CALLS[recommendation(read(), question).method] in line


def test_families_weigh_alike_however_many_networks_they_have():
    found = Scores(np.array([[1.0], [0.0], [0.0]]), np.array(["a", "b", "b"]), ["one"])
    assert found.means()["one"] == 0.5
    assert found.drawn().std() == 0  # within families nothing differs


def test_a_refusal_counts_as_an_answer_of_one_module():
    rows = rows_of({"Q flows": 0.8, "Q weights": 0.9})
    rows.loc[rows["method"] == "Q weights", "ari_free"] = np.nan
    rows.loc[rows.index[1], "ari_free"] = 0.9
    found = scores(rows, "free", True)
    assert found.only("dense").means()["Q flows"] == 0.0
    with pytest.raises(ValueError, match="not in list"):
        found.of("Q weights")  # it never answered on this side
    tuning = scores(rows, "free", False)
    assert tuning.only("dense").of("Q weights").tolist() == [1.0] * 4
    assert tuning.only("tracks").of("Q weights").tolist() == [0.9, 0.0, 0.0, 0.0]


def test_only_networks_that_all_methods_have_seen_are_compared():
    rows = rows_of({"Q flows": 0.8, "Q weights": 0.9})
    assert len(scores(rows.iloc[:-1], "free", True).values) == 11
    assert len(scores(rows, "free", True).values) == 12


def test_ours_is_recommended_only_where_it_is_shown_to_lead():
    clear = recommendation(rows_of({"Q flows": 0.9, "Q weights": 0.5}), "given")
    assert clear.leads and clear.method == "Q flows"
    behind = recommendation(rows_of({"Q flows": 0.5, "Q weights": 0.9}), "given")
    assert not behind.leads and behind.method == "Q weights"


def test_the_default_objective_changes_only_if_no_family_loses():
    better = {
        "search codes": 0.5,
        "search gaussian": 0.8,
        "search kernel": 0.6,
        "search cells": 0.1,
    }
    rows = rows_of(better)
    assert default_objective(rows).changes
    assert default_objective(rows).candidate == "search gaussian"
    lost = (rows["family"] == "digits") & (rows["method"] == "search codes")
    worse = rows.assign(ari_given=rows["ari_given"].where(~lost, 0.9))
    assert [*default_objective(worse).worse] == ["digits"]
    assert not default_objective(worse).changes
    slow = rows["seconds_given"].where(rows["method"] != "search gaussian", 6.0)
    assert not default_objective(rows.assign(seconds_given=slow)).changes


def test_a_paired_difference_of_equal_methods_is_nothing():
    values = np.random.default_rng(0).random((6, 1))
    found = Scores(np.hstack([values, values]), np.array(list("aaabbb")), ["one", "other"])
    assert Difference.of(found, "one", "other") == Difference(0.0, 0.0, 0.0)
