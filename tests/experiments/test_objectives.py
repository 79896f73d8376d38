"""The page on which number to report says what the saved rows say; the study's own parts."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import infoflow as ifl
from experiments.objectives import table, truth
from experiments.objectives.networks import even_bipartitions, small_network

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", list(table.LINES))
def test_the_page_s_tables_are_those_of_the_saved_rows(name):
    page = (ROOT / "docs/which_number.md").read_text(encoding="utf-8").splitlines()
    lines = table.LINES[name]()
    assert lines
    assert [line for line in lines if line not in page] == []


def test_the_truth_is_the_flow_with_everything_enumerated():
    """Of one target unit, whose joint cell is its own bin."""
    rec = small_network("random", "6+6", "tanh", 0)
    source, target = np.array([0, 2, 3]), np.array([8])
    plain, given = truth.true_bits(rec, source, target)
    exact = ifl.flow(
        rec, source, target, donors="all", contexts="all", bins=3, coding="units", correction="none"
    )
    assert plain == pytest.approx(exact.bits, abs=1e-9)
    assert given == pytest.approx(exact.bits_given_context, abs=1e-9)


def test_candidates_see_the_cells_that_the_truth_counts():
    """With every donor in every context, counted cells without correction are the truth."""
    rec = small_network("tracks", "6+6", "relu", 1)
    few = rec.inputs[0][:40]
    rec = ifl.record(rec.model, rec.units.layers, few)
    everyone = np.arange(40)
    source, target = np.array([0, 1, 4]), np.array([6, 8, 11])
    values = truth.outcomes(rec, source, (everyone, everyone), target)
    cells = truth.joint_cells(rec, values, target)[..., None]
    assert truth.counted(cells, "none") == pytest.approx(truth.true_bits(rec, source, target))
    found = truth.candidates(rec, values, target)
    assert set(found) == set(truth.CANDIDATES)
    assert found["cells"]()[1] >= truth.counted(cells, "none")[1]  # corrected upwards


def test_a_decoder_that_can_see_the_donor_says_so_and_one_that_cannot_says_nothing():
    rng = np.random.default_rng(0)
    donors = np.repeat(rng.normal(size=(8, 1, 3)), 40, axis=1)
    noise = rng.normal(size=(8, 40, 3))
    assert truth.decoded(donors + 0.01 * noise) == pytest.approx(3, abs=0.1)
    assert truth.decoded(noise) == pytest.approx(0, abs=0.2)


def test_even_bipartitions_are_all_there_are():
    found = even_bipartitions(6)
    assert len({tuple(labels) for labels in found}) == 10
    assert all(labels.sum() == 3 and labels[0] == 0 for labels in found)


def test_regret_and_rank_correlation_are_of_the_right_partitions():
    true = np.arange(10.0)
    guess = true + 3
    guess[[0, 1]] = guess[[1, 0]]
    found = truth.judged(true, guess)
    assert found["regret"] == pytest.approx(1 / 4.5, abs=1e-4)  # the second one; 4.5 on average
    assert found["rho"] == pytest.approx(1 - 6 * 2 / 990, abs=1e-4)
    assert found["rho_best_fifth"] == -1
    assert found["bias"] == 3


def test_intervals_of_scores_hold_the_truth():
    rows = pd.read_csv(ROOT / "experiments/objectives/results/coverage_scores.csv")
    assert len(rows) == 6
    assert rows["held"].between(0.92, 0.98).all()


def test_intervals_of_flows_that_are_not_flagged_hold_the_truth():
    rows = pd.read_csv(ROOT / "experiments/objectives/results/coverage_flows.csv")
    sound = rows[~rows["flagged"] & ~rows["nothing"]]
    assert sound["donors"].tolist() == [30, 60, 100, 200]
    assert sound["held"].between(0.92, 0.98).all()
    assert sound["held_given"].between(0.92, 0.98).all()
    assert (sound["below"] < 0.005).all()
