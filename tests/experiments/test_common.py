"""Claims about what experiments share: rows say what the package says, figures what rows say."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn.functional import cross_entropy

import infoflow as ifl
from experiments.common.agreement_figures import agreement_by_strength, agreement_matrices
from experiments.common.causal_rows import measure_causal
from experiments.common.effects import bootstrap, rank_correlation, resampled, strong_minus_weak
from experiments.common.layer_rows import classifier_facts, measure_modularity
from experiments.common.matrix_text import decode_matrix
from experiments.common.network_figures import performance, q_against
from experiments.common.strength_figures import against_strength
from experiments.common.style import ORDER, Columns, Family, layout_of, save_figure
from infoflow import study
from infoflow.exchanges import ExchangeMeter
from infoflow.measured import SEARCH
from infoflow.partition import Partition
from infoflow.recording import Recording
from infoflow.unit_similarity import MEASURES

NUMBERS = ["q_star", "n_effective", "n_modules", "q_default", "q_spectral", "q_monte_carlo"]


@pytest.fixture(scope="module")
def rec() -> Recording:
    """A small convolutional network on made-up images."""
    torch.manual_seed(0)
    body = [nn.Conv2d(1, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(80, 9), nn.ReLU()]
    model = nn.Sequential(*body, nn.Linear(9, 3))
    x = torch.randn(120, 1, 6, 6)
    return ifl.record(model, ["0", "4"], x, torch.arange(120) % 3, loss=cross_entropy)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Two kinds of regularisation that raise Q* by 0.1 and 0.2 over four strengths, two seeds."""
    rng = np.random.default_rng(0)
    found = []
    for family, slope in (("a", 0.1), ("b", 0.2), ("none", 0.0)):
        for percent in (0, 40, 60, 100) if slope else (0,):
            for seed in range(2 if slope else 6):
                for measure in MEASURES:
                    labels = rng.integers(3, size=12)
                    q = 0.1 + slope * percent / 100 + 0.001 * rng.standard_normal()
                    about = {"family": family, "percent": percent, "seed": seed}
                    found.append(
                        {**about, "trained": slope > 0, "layer": "fc1", "measure": measure}
                        | {"q_star": q, "q_spectral": q - 0.01, "sparsity": q / 2}
                        | {"partition": study.encode(Partition(labels))}
                    )
    return pd.DataFrame(found)


def test_a_row_is_a_layer_and_measure_clustered_as_find_modules_does(rec: Recording) -> None:
    found = measure_modularity(rec, n_steps=200, seed=3)
    assert [(r["layer"], r["measure"]) for r in found] == [(a, m) for a in "04" for m in MEASURES]
    row = found[MEASURES.index("hess_norm") + 8]
    S = ifl.similarity(rec, "hess_norm", layers="4")
    paper = ifl.find_modules(S, method="lange2022", n_steps=200, seed=3)
    assert (row["q_star"], row["n_effective"]) == (paper.q, paper.n_effective)
    assert study.decode(row["partition"]) == paper.partition and row["matrix"] == ""
    assert all(r["q_spectral"] <= r["q_star"] + 1e-12 for r in found)


def test_a_matrix_is_kept_only_where_wanted(rec: Recording) -> None:
    found = measure_modularity(rec, measures=["cov"], n_steps=50, keep=[("4", "cov")])
    assert [bool(row["matrix"]) for row in found] == [False, True]
    S = ifl.similarity(rec, "cov", layers="4")
    np.fill_diagonal(S, 0)
    assert np.abs(decode_matrix(found[1]["matrix"]) - S / S.max()).max() <= 0.5 / 255 + 1e-9


def test_measures_are_those_that_the_recording_allows(rec: Recording) -> None:
    unlabelled = ifl.record(rec.model, ["4"], *rec.inputs)
    found = measure_modularity(unlabelled, n_steps=50)
    assert {row["measure"] for row in found} == {m for m in MEASURES if "hess" not in m}


def test_a_dead_layer_has_no_modules() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    nn.init.constant_(model[0].bias, -100.0)
    rec = ifl.record(model, ["1"], torch.randn(30, 3))
    (row,) = measure_modularity(rec, measures=["cov"], n_steps=50)
    assert all(row[name] is None for name in NUMBERS) and row["partition"] == ""


def test_facts_are_those_of_the_network(rec: Recording) -> None:
    facts = classifier_facts(rec)
    weights = [p.detach().numpy().ravel() for p in rec.model.parameters() if p.ndim > 1]
    flat = np.concatenate(weights).astype(float)
    assert len(flat) == 45 + 720 + 27  # the convolution's kernels are weights, too
    assert facts["l1_norm"] == pytest.approx(np.abs(flat).sum())
    assert facts["l2_norm"] == pytest.approx(np.linalg.norm(flat))
    assert facts["sparsity"] == pytest.approx((np.abs(flat) <= 1e-3).mean())
    assert rec.targets is not None
    right = rec.outputs.argmax(1) == rec.targets
    assert facts["test_accuracy"] == pytest.approx(right.double().mean().item())
    assert facts["test_loss"] == pytest.approx(cross_entropy(rec.outputs, rec.targets).item())


def test_facts_need_classes(rec: Recording) -> None:
    with pytest.raises(ValueError, match="expected logits"):
        classifier_facts(ifl.record(rec.model, ["4"], *rec.inputs))


def test_strong_minus_weak_is_what_was_planted(rows: Any) -> None:
    some = rows[rows["family"] == "b"]
    by_seed = strong_minus_weak(some, "q_star", ends=2)
    assert list(by_seed.index) == [0, 1]
    assert by_seed.to_numpy() == pytest.approx(0.2 * (0.8 - 0.2), abs=0.002)


def test_a_bootstrap_interval_is_that_of_the_mean() -> None:
    values = np.random.default_rng(1).normal(2.0, 1.0, size=200)
    found = bootstrap(lambda x: x.mean(-1), values, n=2000, seed=2)
    half = 1.96 * stats.sem(values)
    assert found.low == pytest.approx(values.mean() - half, abs=0.03)
    assert found.high == pytest.approx(values.mean() + half, abs=0.03)
    with pytest.raises(ValueError, match="at least two networks"):
        bootstrap(lambda x: x.mean(-1), values[:1])


def test_networks_are_drawn_whole_and_with_replacement() -> None:
    x, y = resampled(np.arange(5), 10 * np.arange(5), n=200)
    assert (y == 10 * x).all() and set(np.ravel(x)) == set(range(5))
    assert any(len(set(row)) < 5 for row in x)


def test_rank_correlation_is_spearman_s_and_partial_by_residuals_of_ranks() -> None:
    x, y, z = np.random.default_rng(0).integers(6, size=(3, 40)).astype(float)
    x, y = x + z, y + z
    assert rank_correlation(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    ranks = [stats.rankdata(v) for v in (x, y, z)]
    left = [r - np.polyval(np.polyfit(ranks[2], r, 1), ranks[2]) for r in ranks[:2]]
    assert rank_correlation(x, y, z) == pytest.approx(np.corrcoef(*left)[0, 1])
    rows = rank_correlation([x, x], [y, -y])
    assert rows[0] == -rows[1] == rank_correlation(x, y)
    assert np.isnan(rank_correlation(x, 0 * x))


def _two_halves() -> Recording:
    """Two networks side by side that share nothing, and a dead unit in the first layer."""
    rng = np.random.default_rng(0)
    first, second = np.zeros((7, 6)), np.zeros((6, 7))
    for half in range(2):
        units, inputs = slice(3 * half, 3 * half + 3), slice(3 * half, 3 * half + 3)
        first[units, inputs] = rng.normal(size=(3, 3))
        second[units, units] = rng.normal(size=(3, 3))
    model = nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor(first))
        model[2].weight.copy_(torch.tensor(second))
        model[0].weight[6], model[0].bias[6] = 0.0, 0.0
        model[2].weight[:, 6] = 0.0
    x = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    return ifl.record(model, ["1", "3"], x, torch.arange(200) % 2, loss=cross_entropy)


def test_the_causal_search_finds_two_networks_side_by_side() -> None:
    rec = _two_halves()
    found = {row["source"]: row for row in measure_causal(rec, budget=150, samples=20)}
    assert set(found) == {"causal", *MEASURES}
    halves = Partition([0, 0, 0, 1, 1, 1, -1, 0, 0, 0, 1, 1, 1])
    causal = found["causal"]
    assert study.decode(causal["partition"]) == halves and causal["isolated"]
    assert (causal["n_units"], causal["smallest"], causal["agreement"]) == (12, 6, 1.0)
    assert causal["bits_given_context"] == causal["bits"] == 0.0
    assert all(row["log_score"] <= causal["log_score"] for row in found.values())
    assert found["cov"]["agreement"] == pytest.approx(1.0)  # the inputs are independent


def test_all_partitions_are_judged_on_the_same_fresh_draws(rec: Recording) -> None:
    options: dict[str, Any] = {"donors": 30, "contexts": 20, "seed": 4}
    (causal, cov) = measure_causal(rec, measures=["cov"], budget=30, samples=12, **options)
    judge = ExchangeMeter(rec, replace(SEARCH, **options)).fresh()
    for row in (causal, cov):
        measured = judge(study.decode(row["partition"]), "ncut")
        assert row["weighted"] == measured.weighted
        assert row["bits_given_context"] == measured.bits_given_context
        assert row["bits"] == pytest.approx(measured.bits)
    assert causal["score"] * causal["weighted"] == pytest.approx(cov["score"] * cov["weighted"])
    assert causal["score_se"] > 0


def test_lines_are_means_and_bands_three_deviations(rows: Any) -> None:
    figure = against_strength(rows, "q_star", label="Q*")
    assert [ax.get_title() for ax in figure.axes[:2]] == [
        "$\\mathrm{S}$ cov",
        "$\\mathrm{S}$ i-sens",
    ]
    ax = figure.axes[list(np.ravel(layout_of(MEASURES))).index("hess")]
    some = rows[rows["measure"] == "hess"]
    line = ax.containers[1].lines[0]
    expected = some[some["family"] == "b"].groupby("percent")["q_star"].mean()
    assert line.get_xdata().tolist() == [0, 40, 60, 100]
    assert line.get_ydata() == pytest.approx(expected.to_numpy())
    untrained = some.loc[~some["trained"], "q_star"]
    widest = max(patch.get_height() for patch in ax.patches)
    assert len(ax.patches) == 3 and widest == pytest.approx(6 * untrained.std())


def test_other_panels_and_columns_can_be_named(rows: Any) -> None:
    renamed = rows.rename(columns={"percent": "decay", "family": "kind", "trained": "fitted"})
    columns = Columns(strength="decay", family="kind", trained="fitted")
    family = Family("b", "red", "the second")
    figure = against_strength(
        renamed,
        "q_star",
        label="Q",
        panel="layer",
        families=[family],
        columns=columns,
        axis="decay",
    )
    (ax,) = figure.axes
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == ("fc1", "decay", "Q")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["the second"]


def test_agreement_figures_show_means_and_differences(rows: Any) -> None:
    by = ["family", "percent", "seed", "trained", "layer"]
    table = study.agreement_table(rows, by=by)
    trained = table[table["trained"]]
    figure = agreement_matrices(table)
    left, right = (ax.images[0].get_array() for ax in figure.axes[:2])
    i, j = ORDER.index("cov"), ORDER.index("hess")
    mean = trained["cov|hess"].mean()
    assert left[i, j] == left[j, i] == pytest.approx(mean)
    change = mean - table.loc[~table["trained"], "cov|hess"].mean()
    assert right[i, j] == pytest.approx(change)
    by_strength = agreement_by_strength(table)
    shown = [ax for ax in by_strength.axes if ax.images]
    assert len(shown) == 2 * 2 * 4
    some = trained[(trained["family"] == "b") & (trained["percent"] == 100)]
    last = by_strength.axes[2 * 4 + 3].images[0].get_array()
    assert last[i, j] == pytest.approx(some["cov|hess"].mean())


def test_performance_and_clusterings_are_drawn_as_they_are(rows: Any) -> None:
    networks = rows[rows["measure"] == "cov"]
    figure = performance(networks, facts={"sparsity": "sparsity"})
    assert [ax.get_title() for ax in figure.axes] == ["a", "b"]
    gray = figure.axes[0].lines[-1].get_ydata()
    untrained = networks.loc[~networks["trained"], "sparsity"].mean()
    assert gray == pytest.approx([untrained, untrained])
    points = q_against(rows, {"q_spectral": "spectral"}).axes[0].lines[0]
    assert points.get_ydata() - points.get_xdata() == pytest.approx(0.01)


def test_the_same_figure_gives_the_same_files(rows: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_figure(against_strength(rows, "q_star", label="Q*"), tmp_path / name, "f")
    for end in ("svg", "png"):
        assert (tmp_path / "a" / f"f.{end}").read_bytes() == (
            tmp_path / "b" / f"f.{end}"
        ).read_bytes()


def test_without_matplotlib_it_is_said_what_to_install(
    rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'infoflow\[plot\]'"):
        against_strength(rows, "q_star", label="Q*")
