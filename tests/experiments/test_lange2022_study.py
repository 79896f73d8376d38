"""Claims about the 2022 study: its settings, its rows on a tiny run, and its committed results."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import infoflow as ifl
from experiments.causal_vs_q.study import main as causal_vs_q_main
from experiments.lange2022 import architectures, copies, other_measures
from experiments.lange2022 import claims as claim_module
from experiments.lange2022.causal import main as causal_main
from experiments.lange2022.claims import page
from experiments.lange2022.draw import FIGURES
from experiments.lange2022.draw import main as draw_main
from experiments.lange2022.rows import NETWORK, ROWS, load_rows, save_rows, sweep_rows
from experiments.lange2022.rows import agreement as study_agreement
from experiments.lange2022.settings import table_1, tasks
from experiments.lange2022.study import Study, finish, main, run
from infoflow.agreements import agreement
from infoflow.study import decode, load_table, pairs
from infoflow.train import TrainConfig, train
from infoflow.unit_similarity import MEASURES

TOP = Path(__file__).parents[2]
RESULTS = TOP / "experiments" / "lange2022" / "results" / "mnist"
ARCHITECTURES = architectures.ROWS
COLUMNS = {"seed", "dropout", "l1", "l2", "trained", "test_accuracy", "layer", "measure"} | {
    "q_star",
    "n_effective",
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One seed on digits, twenty epochs: everything but the numbers is as in the study."""
    out = tmp_path_factory.mktemp("study") / "out"
    _tiny(out)
    return out


def _tiny(out: Path, shard: str = "1/1") -> None:
    few = {"seeds": 1, "untrained": 2, "max_epochs": 20, "n_steps": 50, "shard": shard}
    found = run(Study(out, workers=1, progress=False, **few))
    assert found.failures == ()


def test_table_1_has_30_settings_as_printed() -> None:
    settings = table_1()
    assert Counter(s.family for s in settings) == {"l2": 9, "l1": 7, "dropout": 14}
    l2, l1, dropout = settings[:9], settings[9:16], settings[16:]
    assert np.allclose([s.l2 for s in l2], 10 ** np.linspace(-5, -1, 9), rtol=1e-9)
    assert np.allclose([s.l1 for s in l1], 10 ** np.linspace(-5, -2, 7), rtol=1e-9)
    assert np.allclose([s.dropout for s in dropout], np.arange(1, 15) * 0.05)
    assert {(s.dropout, s.l1) for s in l2} == {(0.0, 0.0)}
    assert {(s.dropout, s.l2) for s in l1} == {(0.0, 1e-5)}
    assert {(s.l1, s.l2) for s in dropout} == {(0.0, 1e-5)}


def test_tasks_are_270_networks_seed_by_seed_and_500_untrained() -> None:
    found = tasks(9, 500, per_task=27)
    trained = [t for t in found if t["networks"][0]["family"] != "untrained"]
    assert sum(len(t["networks"]) for t in trained) == 270
    assert [t["first_seed"] for t in trained] == sorted(t["first_seed"] for t in trained)
    untrained = [t for t in found if t not in trained]
    numbers = [t["first_seed"] + i for t in untrained for i in range(len(t["networks"]))]
    assert len(set(numbers)) == 500 and min(numbers) > 9
    # fewer seeds are the first tasks of more, so that a study can be extended
    assert [t for t in tasks(2, 0) if t not in found] == []


def test_rows_have_the_schema_one_a_network_layer_and_measure(tiny: Path) -> None:
    rows = save_rows(tiny / "sweep", tiny / ROWS)
    assert len(rows) == (30 + 2) * 2 * 8 and set(rows.columns) >= COLUMNS
    assert rows.groupby(["layer", "measure"]).size().eq(32).all()
    assert (rows["q_star"] <= rows["q_default"] + 1e-12).all()
    assert (rows["q_star"] >= rows["q_spectral"] - 1e-12).all()
    row = rows[(rows["family"] == "dropout") & (rows["dropout"] == 0.5)].iloc[0]
    counts = np.array(list(Counter(row["partition"].replace(".", "")).values()))
    share = counts / counts.sum()
    assert row["n_effective"] == pytest.approx(np.exp(-(share * np.log(share)).sum()))


def test_a_row_is_about_the_network_that_training_alone_gives(tiny: Path, digits) -> None:
    rows = save_rows(tiny / "sweep", tiny / ROWS)
    row = rows[(rows["family"] == "l1") & (rows["percent"] == 50)].iloc[0]
    alone = train(TrainConfig(l1=row["l1"], l2=row["l2"], seed=0, max_epochs=20), digits)
    weights = np.concatenate(
        [p.detach().numpy().ravel() for p in alone.model.parameters() if p.ndim == 2]
    )
    assert row["test_accuracy"] == pytest.approx(alone.test_accuracy, abs=0.01)
    assert row["l1_norm"] == pytest.approx(np.abs(weights).sum(), rel=1e-3)
    assert row["sparsity"] == pytest.approx((np.abs(weights) <= 1e-3).mean(), abs=1e-3)


def test_a_part_run_again_gives_identical_rows(tiny: Path, tmp_path: Path) -> None:
    _tiny(tmp_path / "again", shard="1/5")
    whole, again = (sweep_rows(out / "sweep") for out in (tiny, tmp_path / "again"))
    keys = [c for c in NETWORK if c != "test_accuracy"] + ["layer", "measure"]
    same = whole.merge(again[keys])[again.columns]
    assert len(again) == 7 * 2 * 8
    pd.testing.assert_frame_equal(same, again, check_exact=True)


def test_other_settings_in_the_same_folder_are_refused(tiny: Path) -> None:
    with pytest.raises(ValueError, match="max_epochs was 20 and is 3"):
        run(Study(tiny, max_epochs=3, n_steps=50, workers=1))
    with pytest.raises(ValueError, match="expected i/n"):
        run(Study(tiny, shard="1"))


def test_missing_mnist_is_said_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte"):
        run(Study(tmp_path / "out", dataset="mnist", data_dir=tmp_path))
    assert not (tmp_path / "out").exists()


def test_the_command_line_says_what_is_wrong_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--dataset", "mnist", "--data-dir", str(tmp_path), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["lange2022", *arguments])
    with pytest.raises(SystemExit, match=r"error: .*lacks train-images"):
        main()


@pytest.mark.parametrize("command", [main, causal_main, causal_vs_q_main])
def test_without_matplotlib_nothing_is_trained(
    command: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    of_study = ["--study", str(tmp_path)] if command is causal_main else []
    monkeypatch.setattr("sys.argv", ["study", "--out", str(tmp_path / "out"), *of_study])
    with pytest.raises(SystemExit, match="plots need matplotlib"):
        command()
    assert not (tmp_path / "out").exists()


def test_agreement_is_that_of_the_saved_partitions(tiny: Path) -> None:
    rows = save_rows(tiny / "sweep", tiny / ROWS).assign(kept=True)
    table = study_agreement(rows)
    assert len(pairs()) == 28 and len(table) == 64
    row = table[(table["seed"] == 0) & (table["layer"] == "fc2") & (table["dropout"] == 0.3)]
    some = rows[(rows["seed"] == 0) & (rows["layer"] == "fc2") & (rows["dropout"] == 0.3)]
    text = some.set_index("measure")["partition"]
    both = decode(text["cov"]), decode(text["hess_norm"])
    assert row["cov|hess_norm"].item() == pytest.approx(agreement(*both, unused="cluster"))


def test_unused_units_are_a_cluster_unless_they_are_to_be_left_out() -> None:
    about = {"family": "l1", "seed": 0, "dropout": 0.0, "l1": 1e-3, "l2": 1e-5, "percent": 67.0}
    about |= {"trained": True, "kept": True, "layer": "fc1", "q_star": 0.1}
    texts = dict.fromkeys(MEASURES, "0011..") | {"hess": "000111"}
    rows = pd.DataFrame([{**about, "measure": m, "partition": p} for m, p in texts.items()])
    found = study_agreement(rows).iloc[0]
    assert found["cov|i_sens"] == 1.0
    assert found["cov|hess"] == agreement([0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 1])
    left_out = study_agreement(rows, unused="drop").iloc[0]
    assert left_out["cov|hess"] == agreement([0, 0, 1, 1], [0, 0, 0, 1])


def test_every_figure_is_drawn_from_saved_rows(tiny: Path) -> None:
    paths = {p.name: p for p in finish(tiny)}
    for name in FIGURES:
        assert paths[f"figure_{name}.svg"].read_text().startswith("<?xml")
        assert paths[f"figure_{name}.png"].read_bytes()[1:4] == b"PNG"


def test_a_figure_is_drawn_by_the_command_that_readme_names(
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save_rows(tiny / "sweep", tiny / ROWS)
    command = ["draw", str(tiny), "--figure", "s2", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", command)
    draw_main()
    names = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    assert names == ["figure_s2.svg", "figure_s2.png"]


def _planted(slope: float, noise: float = 0.001) -> pd.DataFrame:
    """Rows in which Q* rises by `slope` from the weakest to the strongest dropout, and by nothing
    otherwise."""
    rng = np.random.default_rng(0)
    rows = []
    for setting in table_1():
        for seed in range(4):
            rise = slope * setting.dropout if setting.family == "dropout" else 0.0
            for layer in ("fc1", "fc2"):
                for measure in MEASURES:
                    q = 0.1 + rise * (2 if layer == "fc1" else 1) + noise * rng.standard_normal()
                    facts = {"layer": layer, "measure": measure, "seed": seed, "trained": True}
                    rows.append({**vars(setting), **facts, "q_star": q, "kept": True})
    table = pd.DataFrame(rows)
    table["percent"] = table.groupby("family").cumcount() // 64
    return table


@pytest.mark.parametrize(("slope", "verdict"), [(0.3, "replicated"), (0.0, "not"), (-0.3, "not")])
def test_a_planted_rise_with_dropout_is_found_and_no_other(slope: float, verdict: str) -> None:
    tables = claim_module.Tables(_planted(slope), pd.DataFrame())
    first, upstream, layer, l2, _ = claim_module._of_q(tables, "q_star")
    assert first.verdict == verdict and layer.verdict == verdict
    assert upstream.verdict == "not" and l2.verdict == "not"


@pytest.mark.skipif(not RESULTS.exists(), reason="no results are committed")
def test_the_page_shows_what_the_committed_rows_say() -> None:
    rows = load_rows(RESULTS)
    assert page(rows) in (TOP / "docs" / "lange2022.md").read_text(encoding="utf-8")
    assert rows["dataset"].eq("mnist").all() and set(rows.columns) >= COLUMNS


@pytest.mark.skipif(not ARCHITECTURES.exists(), reason="no results are committed")
def test_the_page_shows_what_the_rows_of_other_architectures_say() -> None:
    table = architectures.page(load_table(ARCHITECTURES))
    assert table in (TOP / "docs" / "lange2022.md").read_text(encoding="utf-8")


def test_small_networks_of_other_architectures_give_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architectures, "SETTINGS", {"plain": (0.0, 1e-5)})
    monkeypatch.setattr(architectures, "STEPS", 2)
    rows = pd.DataFrame(architectures.measure(1))
    assert rows.groupby("kind")["layer"].nunique().to_dict() == {"convolutional": 2, "recurrent": 1}
    assert len(rows) == 2 * 3 * len(MEASURES)


@pytest.mark.skipif(not (RESULTS / other_measures.ROWS).exists(), reason="none are committed")
def test_the_page_shows_what_other_measures_of_agreement_say() -> None:
    table = other_measures.page(other_measures.load(RESULTS))
    assert table in (TOP / "docs" / "lange2022.md").read_text(encoding="utf-8")


def test_agreement_by_other_measures_is_that_of_the_partitions(tiny: Path) -> None:
    rows = save_rows(tiny / "sweep", tiny / ROWS).assign(kept=True)
    rows = rows[(rows["seed"] == 0) & (rows["dropout"] == 0.3)]
    found = other_measures.measure_all(rows).set_index(["measure", "layer"])
    own = rows[rows["layer"] == "fc1"].set_index("measure")["partition"].map(decode)
    same = [("cov", "cov_norm"), ("i_sens", "i_sens_norm")]
    same += [("o_sens", "o_sens_norm"), ("hess", "hess_norm")]
    for measure, sign in [("ari", 1), ("vi", -1)]:
        each = [agreement(own[a], own[b], measure=measure, unused="cluster") for a, b in same]
        expected = pytest.approx(sign * np.mean(each), abs=1e-5)
        assert found.loc[(measure, "fc1"), "normalised"] == expected


@pytest.mark.skipif(not (RESULTS / copies.ROWS).exists(), reason="no results are committed")
def test_the_page_shows_what_the_rows_of_near_copies_say() -> None:
    assert copies.page(copies.load(RESULTS)) in (TOP / "docs" / "lange2022.md").read_text("utf-8")


def test_copies_are_harmless_one_by_one_and_not_together() -> None:
    """Three copies, of which any one is enough, beside three units that nothing else can stand
    for."""
    x = torch.randn(400, 4, generator=torch.Generator().manual_seed(0)).abs()
    net = nn.Sequential(nn.Linear(4, 6, bias=False), nn.ReLU(), nn.Linear(6, 2), nn.Tanh())
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].weight[:3, 0] = 1.0
        net[0].weight[[3, 4, 5], [1, 2, 3]] = 1.0
        net[2].weight.zero_()
        net[2].bias.zero_()
        net[2].weight[0, :3] = 10.0  # saturates: two of the three are as good as all
        net[2].weight[0, 3:] = 0.01
    rec = ifl.record(net, ["1"], x, torch.zeros(400, dtype=torch.long))
    assert (copies.nearest(rec, "1")[:3] > 0.99).all() and (
        copies.nearest(rec, "1")[3:] < 0.5
    ).all()
    alike = [np.array([i]) for i in range(3)]
    assert copies.harm(rec, "1", [np.arange(3)]) > 5 * copies.harm(rec, "1", alike)
    apart = [np.array([i]) for i in range(3, 6)]
    assert copies.harm(rec, "1", [np.arange(3, 6)]) < 2 * copies.harm(rec, "1", apart)
