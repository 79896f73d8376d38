"""The lesion study: partitions of equal sizes, and one row end to end."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import cross_entropy

import infoflow as ifl
from experiments.lesions import page, study
from experiments.lesions.networks import wrong
from experiments.lesions.partitions import (
    best_of,
    climbed,
    dealt,
    exchanged,
    heaviest_within,
    q_matrix,
)
from infoflow.measured import SCORE
from infoflow.study import Estimate, decode, estimate
from tests.nets import mlp, normal

PAGE = (Path(__file__).parents[2] / "docs/lesions.md").read_text(encoding="utf-8")
LAYERS = np.repeat([0, 1], 6)
USED = np.arange(12) != 3


def sizes_by_layer(partition: ifl.Partition) -> list[list[int]]:
    return [np.bincount(LAYERS[m], minlength=2).tolist() for m in partition.modules]


def test_partitions_have_equal_sizes_in_every_layer_whatever_made_them():
    rng = np.random.default_rng(0)
    start = dealt(LAYERS, USED, 2, rng)
    assert sorted(sizes_by_layer(start)) == [[2, 3], [3, 3]] and start.unused.tolist() == [
        not used for used in USED
    ]
    matrix = rng.random((12, 12))
    moved = [
        exchanged(start, LAYERS, 0.5, rng),
        best_of(matrix, LAYERS, USED, 2, rng, starts=3),
        climbed(lambda some: rng.random(len(some)), start, LAYERS, rng, budget=40),
    ]
    for partition in moved:
        assert sorted(sizes_by_layer(partition)) == [[2, 3], [3, 3]]


def test_exchanging_pairs_ends_where_no_exchange_helps_and_finds_the_best_there_is():
    rng = np.random.default_rng(1)
    matrix = rng.random((12, 12))
    symmetric = matrix + matrix.T
    np.fill_diagonal(symmetric, 0)

    def inside(labels: np.ndarray) -> float:
        return float((symmetric * (labels[:, None] == labels)).sum() / 2)

    everyone = np.ones(12, bool)
    value, found = heaviest_within(matrix, LAYERS, dealt(LAYERS, everyone, 2, rng))
    assert value == pytest.approx(inside(found.labels))
    for i, j in product(range(12), repeat=2):
        if LAYERS[i] == LAYERS[j] and found.labels[i] != found.labels[j]:
            other = found.labels.copy()
            other[[i, j]] = other[[j, i]]
            assert inside(other) <= value + 1e-9
    best = max(
        inside(np.array(labels))
        for labels in product([0, 1], repeat=12)
        if sum(labels[:6]) == 3 and sum(labels[6:]) == 3
    )
    assert inside(best_of(matrix, LAYERS, everyone, 2, rng).labels) == pytest.approx(best)


def test_the_sum_within_modules_of_the_q_matrix_is_q():
    rng = np.random.default_rng(2)
    similarity = rng.random((12, 12))
    similarity = similarity + similarity.T
    similarity[3] = similarity[:, 3] = 0
    partition = dealt(LAYERS, USED, 3, rng)
    q = ifl.modularity(similarity, partition)
    assert study.within(q_matrix(similarity), partition) == pytest.approx(q)


def test_a_network_s_rows_hold_what_the_measures_give(monkeypatch):
    x = normal(60, 6)
    small = ifl.record(mlp(), ["1", "4"], x, x[:, :3].argmax(1), loss=cross_entropy)
    draws = replace(SCORE, donors=10, contexts=10)
    changed = {"RANDOM": 2, "network": lambda *_: (small, None), "CLASS_MODULES": 2, "JUDGE": draws}
    for name, value in changed.items():
        monkeypatch.setattr(study, name, value)
    rows = study.study("digits", "plain", 7, budget=16)
    assert [row["method"] for row in rows].count("random") == 2
    assert len(rows) == 2 + 3 * len(study.METHODS)
    row = next(row for row in rows if row["method"] == "Q o_sens" and row["blur"] == 0)
    assert row["q_o_sens"] == max(one["q_o_sens"] for one in rows)
    hurt = ifl.lesions(small, decode(row["partition"]), seed=1000)
    assert row["specialisation"] == pytest.approx(hurt.specialisation().bits, abs=1e-6)
    assert row["by_loss"] == pytest.approx(hurt.specialisation("loss").bits, abs=1e-6)
    assert row["cut"] < 1 and row["bits"] > 0


def test_a_head_s_error_is_whether_its_own_answer_is_wrong():
    outputs = torch.tensor([[0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]])
    targets = torch.tensor([[1, 0], [0, 0]])
    assert wrong(outputs, targets, head=0).tolist() == [0.0, 1.0]
    assert wrong(outputs, targets, head=1).tolist() == [0.0, 1.0]


def test_the_page_s_tables_and_answer_are_those_of_the_saved_rows():
    table = page.rows()
    assert len(table) == 46 * 58
    assert all(found in PAGE for found in page.tables())
    assert f"By the rule: {page.answer()}." in PAGE
    with_damage = estimate(-page.correlations(table, quantity="damage")).mean
    assert f"(rank correlation {with_damage:.2f})".replace("0.", ".") in PAGE


def test_the_rule_asks_for_both_intervals_and_a_size():
    sure, small, none = Estimate(0.5, 0.4, 0.6), Estimate(0.1, 0.05, 0.15), Estimate(0.1, -0.1, 0.3)
    assert page.verdict(sure, sure) == "yes"
    assert page.verdict(sure, small) == "weakly"
    assert page.verdict(sure, none) == "only for optimised partitions"
    assert page.verdict(none, sure) == "no"


def test_correlations_are_taken_network_by_network():
    keys = {"family": "f", "setting": "s", "method": "random"}
    rows = [{**keys, "seed": 0, "x": i, "specialisation": i} for i in range(4)]
    rows += [{**keys, "seed": 1, "x": i, "specialisation": 10 - i} for i in range(4)]
    found = page.correlations(pd.DataFrame(rows), "x")
    assert found.tolist() == [1.0, -1.0]
