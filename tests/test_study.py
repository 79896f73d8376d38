"""Claims about what a study keeps: text, files, agreement and effects say what the rows say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import infoflow as ifl
from infoflow import plot, study
from infoflow.partition import Partition
from infoflow.study import LETTERS
from infoflow.unit_similarity import MEASURES


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


@pytest.mark.parametrize("n_modules", [1, 2, 64, 65, 200])
def test_partitions_survive_as_text(n_modules: int) -> None:
    rng = np.random.default_rng(n_modules)
    labels = np.concatenate([np.arange(n_modules), rng.integers(-1, n_modules, size=20)])
    partition = Partition(rng.permutation(labels))
    assert study.decode(study.encode(partition)) == partition
    assert ("," in study.encode(partition)) == (n_modules > len(LETTERS))


def test_other_text_is_no_partition() -> None:
    with pytest.raises(ValueError, match=r"expected a partition written by encode, got \['!'\]"):
        study.decode("00!1")


def test_equal_rows_give_equal_files_and_labels_stay_text(rows: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        study.save_table(rows.assign(partition="0011"), tmp_path / name / "rows.csv.gz")
    files = [tmp_path / name / "rows.csv.gz" for name in ("a", "b")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert set(study.load_table(files[0])["partition"]) == {"0011"}
    with pytest.raises(FileNotFoundError, match="no rows at"):
        study.load_table(tmp_path / "absent.csv")


def test_agreement_is_that_of_the_saved_partitions(rows: Any) -> None:
    table = study.agreement_table(rows, by=["family", "percent", "seed", "layer"])
    assert len(table) == len(rows) // 8 and len(study.pairs()) == 28
    some = rows[(rows["family"] == "b") & (rows["percent"] == 40) & (rows["seed"] == 1)]
    text = some.set_index("measure")["partition"]
    row = table[(table["family"] == "b") & (table["percent"] == 40) & (table["seed"] == 1)]
    expected = ifl.agreement(study.decode(text["i_sens"]), study.decode(text["o_sens_norm"]))
    assert row["i_sens|o_sens_norm"].item() == pytest.approx(expected)


def test_agreement_is_nan_where_there_is_nothing_to_compare() -> None:
    table = study.agreement_table(
        pd.DataFrame({"net": [0, 0], "measure": ["cov", "hess"], "partition": ["01..", "..01"]}),
        by=["net"],
        measures=["cov", "hess", "o_sens"],
    )
    assert table[study.pairs(["cov", "hess", "o_sens"])].isna().all(axis=None)


def test_an_estimate_has_student_s_interval() -> None:
    values = [0.3, 0.5, 0.1, 0.4]
    found = study.estimate(pd.Series([*values, np.nan]))
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.positive and not found.negative
    one = study.estimate(pd.Series([1.0]))  # a single seed supports nothing
    assert one.mean == 1.0 and not one.positive and not one.negative


def test_lines_are_means_with_standard_errors_on_bands_of_the_baseline(rows: Any) -> None:
    some = rows[rows["measure"] == "hess"]
    untrained = some.loc[~some["trained"], "q_star"]
    styles = {"b": {"color": "red", "label": "second"}}
    ax = plot.against(some, "percent", "q_star", by="family", styles=styles, baseline=untrained)
    (drawn,) = ax.containers
    line, _, (bars,) = drawn.lines
    of_x = some[some["family"] == "b"].groupby("percent")["q_star"]
    assert line.get_xdata().tolist() == [0, 40, 60, 100]
    assert line.get_ydata() == pytest.approx(of_x.mean().to_numpy())
    lengths = [float(np.ptp(bar[:, 1])) for bar in bars.get_segments()]
    assert lengths == pytest.approx(2 * of_x.sem().to_numpy())
    assert max(patch.get_height() for patch in ax.patches) == pytest.approx(6 * untrained.std())
    assert len(plot.against(some, "percent", "q_star", by="family").containers) == 3
