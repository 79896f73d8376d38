"""The sentences of a report follow from its tables."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow.comparing import CAUSAL
from infoflow.plot.ink import shortened
from infoflow.reporting import finding, report_tables, score_verdict, verdict
from infoflow.reporting.sentences import three_sentences, verdicts


def with_tables(comparison, best, score, rho, bits=10.0):
    """The comparison with these module scores and correlations (numbers, or one a measure)."""
    table = comparison.partitions.copy()
    table.loc[CAUSAL, ["score", "isolated", "bits_given_context"]] = best, False, bits
    tracked = comparison.correlations.copy()
    names = list(comparison.similarities)
    for name, own, r in zip(names, np.broadcast_to(score, 8), np.broadcast_to(rho, 8), strict=True):
        table.loc[(table["origin"] == "Q*") & (table["measure"] == name), "score"] = own
        tracked.loc[tracked["predictor"] == name, "spearman"] = r
    others = ~table["measure"].isin(names) & table["origin"].isin(["Q*", "n-cut", "given"])
    table.loc[others, "score"] = 1.0
    return replace(comparison, partitions=table, correlations=tracked)


def test_three_sentences_say_which_modules_what_they_send_and_whether_q_told(comparison):
    which, sent, told = three_sentences(comparison, {})
    partition, row = comparison.search.partition, comparison.partitions.loc[CAUSAL]
    assert which.startswith(f"The search divides {partition.sizes.sum()} units into 2 modules")
    assert "They send each other" in sent
    if not row["isolated"]:
        assert f"{row['bits_given_context']:.1f} bits" in sent
        assert f"module score {row['score']:.2f}" in sent
    assert "Q" in told and finding(comparison) == " ".join([which, sent, told])


def test_the_finding_names_the_most_and_least_telling_measure(comparison):
    told = finding(with_tables(comparison, 1.5, 1.3, np.linspace(0.9, 0.4, 8)))
    assert "the best is cov (Spearman 0.90, score 1.30)" in told
    assert "the worst is hess_norm (Spearman 0.40, score 1.30)" in told


def test_the_headline_says_that_q_misleads_where_its_partitions_exchange_twice_what_random_do(
    comparison,
):
    told = finding(with_tables(comparison, best=1.17, score=0.5, rho=0.5))
    assert "Q misleads" in told and "partly" not in told
    assert "Q misleads" in finding(with_tables(comparison, best=1.5, score=1.4, rho=-0.5))
    assert "Q largely tells" in finding(with_tables(comparison, best=1.5, score=1.45, rho=0.8))


def test_one_measure_that_tells_does_not_make_the_headline(comparison):
    """Which of eight measures tells is known only afterwards."""
    some = with_tables(comparison, 1.5, [1.45, *[0.5] * 7], 0.8)
    assert "Q misleads, by the middle one of 8 similarity measures" in finding(some)
    assert "under 1 it largely tells and under 7 it misleads" in finding(some)
    assert list(verdicts(some).values()).count("misleads") == 7


def test_a_division_that_undercuts_the_search_is_said_in_the_second_sentence(comparison):
    told = three_sentences(with_tables(comparison, 1.2, [1.6, *[1.1] * 7], 0.5), {})[1]
    assert "“Q* cov" in told and "exchanges still less (score 1.60)" in told
    assert "still less" not in finding(with_tables(comparison, 1.7, 1.6, 0.5))


def test_where_no_division_beats_random_ones_there_is_nothing_to_tell(comparison):
    told = finding(with_tables(comparison, best=0.9, score=0.8, rho=0.9))
    assert "11 % more than random divisions" in told
    assert "nothing for Q to tell" in told


def test_a_verdict_needs_both_the_ranking_and_the_outcome():
    assert verdict(0.9, 1.05, 2.0) == "hardly tells"
    assert verdict(0.2, 2.0, 2.0) == "hardly tells"
    assert verdict(0.9, float("inf"), float("inf")) == "largely tells"
    assert verdict(0.5, float("nan"), 2.0) == "partly tells"


@pytest.mark.parametrize(
    ("score", "se", "isolated", "said"),
    [
        (1.15, 0.01, False, "exchanges less than random"),
        (1.15, 0.1, False, "like random"),
        (1.03, 0.001, False, "like random"),
        (0.5, 0.01, False, "exchanges more than random"),
        (float("inf"), float("nan"), True, "isolated"),
        (float("nan"), 0.0, False, "one module"),
    ],
)
def test_a_score_has_a_verdict_beside_it(score, se, isolated, said):
    assert score_verdict({"score": score, "score_se": se, "isolated": isolated}) == said


def test_a_score_is_judged_against_networks_without_learnt_modules(comparison):
    row = {"score": 1.15, "isolated": False}
    known = {"untrained networks": [1.1, 1.05], "shuffled networks": [1.3, 1.2]}
    said = score_verdict(row, known)
    assert "more modular than all 2 untrained networks (1.05 to 1.10)" in said
    assert "less modular than shuffled networks (1.20 to 1.30)" in said
    table = report_tables(comparison, {"untrained networks": [99.0]})["partitions"]
    assert "untrained" in table["verdict"][CAUSAL]
    assert "untrained" not in table["verdict"]["random 1"]


def test_a_search_by_itself_has_two_sentences(comparison):
    which, sent = three_sentences(comparison.search, {})
    assert "2 modules" in which and "They send each other" in sent


def test_no_modules_are_no_finding_of_modules():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 2))  # too few units to divide
    rec = ifl.record(net, ["1", "2"], torch.randn(40, 3))
    none = ifl.search(rec, n_modules=None, donors=8, contexts=8, budget=4, samples=2)
    assert none.partition.n_modules == 1
    assert three_sentences(none, {})[0].startswith("No modules were found")


def test_short_names_of_layers_stay_different():
    assert shortened(["a.b.x", "a.b.y"]) == ["x", "y"]
    assert shortened(["fc1"]) == ["fc1"]
    assert shortened(["a.0", "a.1"]) == ["a.0", "a.1"]
    long = [f"encoder.{'block' * 9}.{i}.out" for i in range(3)]
    assert len(set(shortened(long))) == 3 and max(map(len, shortened(long))) < 30
    assert shortened(["x" * 50 + "a" + "y" * 50, "x" * 50 + "b" + "y" * 50])[0].count("a") == 1


def test_tables_of_the_report_carry_the_comparison_s_numbers(comparison):
    tables = report_tables(comparison)
    cov = tables["by_measure"].loc["cov"]
    assert cov["Q* all"] == pytest.approx(comparison.modules["cov"].q)
    first = tables["partitions"]
    assert list(first.index[:1]) == [CAUSAL] and len(first) == len(comparison.partitions)
