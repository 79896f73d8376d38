"""The study of Q beside exchange: from a task to answers and figures, and its arithmetic."""

import numpy as np
import pandas as pd
import pytest

from experiments.causal_vs_q import analysis, measure, study
from experiments.causal_vs_q.draw import draw
from experiments.causal_vs_q.networks import MODULUS, OneBlock, networks
from experiments.causal_vs_q.page import page
from infoflow.sweep import load_sweep


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A study of one family, two seeds and two toys, one of them, with separate tracks, of both."""
    out = tmp_path_factory.mktemp("study")
    every = measure.networks

    def two_toys(family, seed, **options):
        wanted = ("ducks, two tracks", "retina")[: 2 if seed == 1 else 1]
        return (n for n in every(family, seed, **options) if n.setting in wanted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "networks", two_toys)
        asked = study.Study(
            out=out, families=("toys",), seeds=2, budget=20, workers=1, progress=False
        )
        found = study.run(asked)
        assert not found.failures
        patch.setattr(measure, "networks", None)  # a second run measures nothing
        assert study.run(asked).done == 2
    study.save_tables(out)
    return out


def test_every_network_has_rows_in_every_table_it_should(folder):
    rows = analysis.load_rows(folder)
    for name in ("partitions", "correlations", "layers", "layer_to_layer", "common_cause"):
        assert set(rows[name]["setting"]) == {"ducks, two tracks", "retina"}, name
        assert set(rows[name]["seed"]) == {1, 2}, name
    raw = load_sweep(folder / "sweep")
    assert {"git_commit", "versions", "config_hash"} <= raw[0].keys()


def test_separate_tracks_share_information_and_send_none(folder):
    rows = analysis.load_rows(folder)
    found = analysis.tracks(rows)
    assert found["networks"] == 2
    assert found["largest exchange"] == 0
    assert found["shared"].mean > 0.2
    share = analysis.common_cause(rows).loc["toys", "planted"]
    assert share.mean == pytest.approx(1.0)


def test_answers_and_figures_come_from_the_tables_alone(folder, tmp_path):
    paths = draw(folder, tmp_path)
    assert {"answers.md", "tracking.svg", "scores.png", "cause.svg"} <= {p.name for p in paths}
    text = (tmp_path / "answers.md").read_text(encoding="utf-8")
    assert text == page(analysis.load_rows(folder))
    assert "exchange at most 0 bits" in text
    first = (tmp_path / "figures" / "tracking.svg").stat().st_size
    assert first > 10_000


def test_missing_tables_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"partitions\.csv\.gz"):
        analysis.load_rows(tmp_path)


def test_a_study_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="families and seeds"):
        study.run(study.Study(out=tmp_path, seeds=0))


def test_seed_0_is_not_part_of_the_study_and_large_families_stop_at_5_seeds():
    listed = study.tasks(("digits", "mnist"), 10)
    assert {t["seed"] for t in listed if t["family"] == "digits"} == set(range(1, 11))
    assert {t["seed"] for t in listed if t["family"] == "mnist"} == set(range(1, 6))


def _correlations(values):
    rows = [
        {"family": "digits", "setting": s, "seed": seed, "trained": True, "kind": "all",
         "scope": "together", "predictor": name, "spearman": rho}
        for (s, seed, name), rho in values.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_best_predictor_is_named_with_those_that_cannot_be_told_from_it():
    rng = np.random.default_rng(0)
    values = {}
    for seed in range(10):
        common = rng.normal(0, 0.2)  # of the network; pairs cancel it
        for name, level in (("cov", 0.6), ("i_sens", 0.59), ("hess", 0.4)):
            values["plain", seed, name] = level + common + rng.normal(0, 0.03)
    partitions = pd.DataFrame({"family": ["digits"]})
    rows = analysis.Rows({"correlations": _correlations(values), "partitions": partitions}, (0, 1))
    best, ties = analysis.best_predictors(rows, ["cov", "i_sens", "hess"])["digits"]
    assert {best, *ties} == {"cov", "i_sens"}
    summary = analysis.tracking_summary(rows)
    assert summary.loc["hess", "digits"].positive


def _partitions(scores):
    rows = [
        {
            "family": "digits",
            "setting": s,
            "seed": seed,
            "trained": True,
            "source": name,
            "score": x,
        }
        for (s, seed, name), x in scores.items()
    ]
    return pd.DataFrame(rows)


def test_share_reached_is_that_of_the_reduction():
    table = _partitions({
        ("plain", 1, "causal search"): 2.0, ("plain", 1, "Q* cov, 2 modules"): 4 / 3,
        ("plain", 2, "causal search"): float("inf"), ("plain", 2, "Q* cov, 2 modules"): 4.0,
    })  # fmt: skip
    rows = analysis.Rows({"partitions": table}, (0, 2))
    share = analysis.share_reached(rows, "Q* cov, 2 modules")
    assert share.tolist() == pytest.approx([0.5, 0.75])


def test_effects_are_paired_by_seed():
    scores = {("plain", seed, "causal search"): 1.0 + seed for seed in range(5)}
    scores |= {("L2", seed, "causal search"): 1.3 + seed for seed in range(5)}
    rows = analysis.Rows({"partitions": _partitions(scores)}, (0, 10))
    found = analysis.paired(rows, "digits", "L2", lambda r: analysis.score_of(r, "causal search"))
    assert (found.mean, found.low, found.high) == pytest.approx((0.3, 0.3, 0.3))
    assert found.positive
    absent = analysis.paired(rows, "digits", "L1", lambda r: analysis.score_of(r, "causal search"))
    assert not analysis.known(absent)


def test_intervals_are_student_s_over_what_is_finite():
    from scipy.stats import ttest_1samp

    values = np.random.default_rng(3).normal(1, 2, 9)
    low, high = ttest_1samp(values, 0).confidence_interval()
    found = analysis.mean_of(pd.Series([*values, float("inf"), float("nan")]))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_the_transformer_reads_its_numbers_with_heads_and_neurons_in_between():
    import torch

    torch.manual_seed(0)
    model = OneBlock(MODULUS)
    x = torch.eye(2 * MODULUS).reshape(MODULUS * 2, -1)[:5] + torch.eye(2 * MODULUS)[MODULUS:][:5]
    seen = {}
    for name in ("mix", "mlp"):
        model.get_submodule(name).register_forward_hook(lambda m, i, o, n=name: seen.update({n: o}))
    assert model(x).shape == (5, MODULUS)
    assert seen["mix"].shape == (5, 32)
    assert seen["mlp"].shape == (5, 64)


def test_an_unknown_family_is_refused():
    with pytest.raises(ValueError, match="unknown family"):
        next(networks("zebras", 1))
