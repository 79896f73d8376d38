"""Training for modularity: what is measured, and the study's rules."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.nn.functional import cross_entropy

import infoflow as ifl
from experiments.training import goals, measure, page, sweep
from infoflow.models import mlp
from infoflow.penalties import ModularPenalty
from infoflow.study import Estimate
from infoflow.toys.trained import retina_pictures
from tests.nets import normal


def small() -> ifl.Recording:
    x = normal(80, 6)
    net = mlp(6, (6, 6), 3, seed=0)
    return ifl.record(net.eval(), ["fc1", "fc2"], x, x[:, :3].argmax(1), loss=cross_entropy)


def test_a_network_is_measured_by_what_the_package_gives():
    rec = small()
    given = ifl.Partition([0, 0, 0, 1, 1, 1] * 2)
    row = measure.measured(rec, seed=0, given=given)
    found = ifl.search(rec, method="screened", budget=100, samples=20, seed=0)
    hurt = ifl.lesions(rec, found.partition, seed=1000)
    S = ifl.similarity(rec, "o_sens")
    assert row["score"] == pytest.approx(found.score.log_ratio, abs=1e-5)
    assert row["specialisation"] == pytest.approx(hurt.specialisation().bits, abs=1e-5)
    assert row["q_o_sens"] == pytest.approx(ifl.find_modules(S, seed=0).q, abs=1e-5)
    assert row["agreement"] == pytest.approx(ifl.agreement(found, given), abs=1e-5)


def test_every_network_of_the_sweep_comes_once_and_its_penalty_is_known():
    cells = sweep.cells()
    assert len(set(cells)) == len(cells) == 5 * (1 + 3 * 4 + 1 + 5 * 4)
    assert {penalty for _, penalty, _, _ in cells} == {"none", *sweep.PENALTIES}


@pytest.mark.parametrize(("learnt", "heads"), [(False, False), (True, False), (False, True)])
def test_a_loop_of_one_s_own_takes_modules_given_learnt_or_known_by_head(learnt, heads):
    modular = ModularPenalty(0.3, goal="q" if learnt else "cut")
    rec, accuracy, given = sweep.two_digits(modular, 0, learnt=learnt, heads=heads, steps=3)
    assert len(rec) == 1797 and len(given) == len(rec.units) and 0 < accuracy < 1


def test_side_is_one_where_every_unit_sees_one_side_alone():
    model = mlp(8, (4, 4), 2, seed=0)
    with torch.no_grad():
        weight = model.get_parameter("fc1.linear.weight")
        weight.fill_(1.0)
        assert goals.side(model) == 0.0
        weight[:2, :4] = 0.0
        weight[2:, 4:] = 0.0
    assert goals.side(model) == 1.0


def test_heads_for_the_sides_read_what_the_second_layer_tells():
    pixels, left, right = retina_pictures()
    rec = ifl.record(mlp(8, (16, 16), 2, seed=0).eval(), ["fc1", "fc2"], pixels)
    judged = goals.with_side_heads(rec.model, rec, torch.stack([left, right], 1).long())
    assert torch.equal(judged["fc2"], rec["fc2"])
    answers = judged.outputs[:].reshape(256, 2, 2).argmax(2)
    assert judged.targets is not None
    assert (
        float((answers == judged.targets).double().mean()) > 0.65
    )  # half of the answers by chance
    assert left.sum() == right.sum() == 8 * 16  # half of each side's 16 pictures, as in the paper


def test_the_rules_are_those_of_the_readme():
    up, flat = Estimate(0.5, 0.1, 0.9), Estimate(0.0, -0.1, 0.1)
    slight = replace(up, mean=0.05, low=0.01)
    assert page.verdict(up, Estimate(-0.005, -0.02, 0.01), up) == "modular, free, specialised"
    assert page.verdict(up, flat, slight) == "modular, free, slightly specialised"
    assert page.verdict(flat, Estimate(-0.02, -0.03, -0.01), flat) == (
        "no more modular, costs accuracy"
    )


def test_a_penalty_is_compared_with_the_same_seed_of_the_same_task():
    rows = [
        {"task": "a", "penalty": "none", "seed": 0, "score": 1.0},
        {"task": "a", "penalty": "none", "seed": 1, "score": 2.0},
        {"task": "b", "penalty": "none", "seed": 1, "score": 9.0},
        {"task": "a", "penalty": "cut", "seed": 1, "score": 5.0},
        {"task": "a", "penalty": "cut", "seed": 0, "score": 3.0},
    ]
    table = pd.DataFrame(rows)
    found = page.less_baseline(table, table[table["penalty"] == "cut"], "score")
    assert found.tolist() == [3.0, 2.0]


def test_the_page_s_tables_are_those_of_the_saved_rows():
    text = (Path(__file__).parents[2] / "docs/training.md").read_text(encoding="utf-8")
    assert all(found in text for found in page.tables())
