"""compare(): the causal score beside Q*, and the report that shows it."""

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import infoflow as ifl
from infoflow.compare import CAUSAL
from infoflow.compare.tracking import correlations, perturbed
from infoflow.report import finding, report_tables
from infoflow.results import prepare_folder, save_run

SMALL = {"budget": 30, "samples": 8, "donors": 12, "contexts": 12}


@pytest.fixture(scope="module")
def rec():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        net[0].bias[2] = -1e3  # a dead unit
    x = torch.randn(120, 6)
    return ifl.record(net, ["1", "3"], x, net(x).argmax(1), loss=cross_entropy)


@pytest.fixture(scope="module")
def comparison(rec):
    planted = {"halves": [0, 1] * 7}
    return ifl.compare(rec, partitions=planted, **SMALL)


def test_every_source_has_its_row(comparison):
    index = list(comparison.partitions.index)
    assert {f"Q* {m}" for m in comparison.similarities} <= set(index)
    assert {CAUSAL, "halves", "random 1"} <= set(index)
    assert len(comparison.similarities) == 8


def test_q_star_is_the_largest_q_under_its_own_measure(comparison):
    for name, modules in comparison.modules.items():
        column = comparison.partitions[f"q_{name}"]
        assert column[f"Q* {name}"] == pytest.approx(modules.q, abs=1e-9)
        assert column.max() <= modules.q + 1e-9


def test_the_dead_unit_is_in_no_module(comparison):
    for name, partition in comparison.labels.items():
        assert partition.labels[2] == -1, name


def test_exchange_in_the_table_is_that_of_fresh_samples(comparison):
    row = comparison.partitions.loc[CAUSAL]
    assert row["bits"] == pytest.approx(comparison.search.exchange.bits)
    assert row["agreement_with_causal"] == pytest.approx(1.0)


def test_correlation_is_perfect_where_exchange_follows_q():
    import pandas as pd

    common = pd.DataFrame({"stratum": ["a"] * 5 + ["b"] * 5, "q_cov": np.arange(10.0)})
    for what in ("bits", "bits_given_context", "weighted"):
        common[what] = -common["q_cov"]
    table = correlations(common, ["cov"])
    assert table.loc["cov"].to_numpy() == pytest.approx(np.ones(6))


def test_correlation_ignores_differences_between_strata():
    import pandas as pd

    q = np.array([0.0, 1, 2, 10, 11, 12])
    exchange = np.array([2.0, 1, 0, 102, 101, 100])  # within strata perfect, across them reversed
    common = pd.DataFrame({"stratum": list("aaabbb"), "q_cov": q})
    for what in ("bits", "bits_given_context", "weighted"):
        common[what] = exchange
    assert correlations(common, ["cov"]).loc["cov", "spearman_bits"] == pytest.approx(1.0)


def test_perturbing_keeps_module_sizes():
    partition = ifl.Partition([0, 0, 0, 1, 1, 2, -1])
    for share in (0.0, 0.5, 1.0):
        other = perturbed(partition, share, np.random.default_rng(0))
        assert sorted(other.sizes) == sorted(partition.sizes)
        assert other.labels[6] == -1


def test_measures_that_need_what_is_missing_are_left_out_with_a_reason(rec):
    bare = ifl.record(rec.model, ["1", "3"], rec.inputs[0])
    found = ifl.compare(bare, **SMALL)
    assert set(found.skipped) == {"hess", "hess_norm"}
    assert "loss=" in found.skipped["hess"]


def test_a_network_of_dead_units_is_refused():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    with torch.no_grad():
        net[0].bias.fill_(-1e4)
    dead = ifl.record(net, ["1"], torch.randn(20, 3))
    with pytest.raises(ValueError, match="only 0 of 4 recorded units ever change"):
        ifl.compare(dead)


def test_a_layer_with_a_single_unit_has_no_modules_of_its_own():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))
    found = ifl.compare(ifl.record(net, ["1", "2"], torch.randn(60, 4)), **SMALL)
    alone = found.layers[found.layers["layer"] == "2"]
    assert alone["q_star"].isna().all()
    assert (alone["n_modules"] == 0).all()


class _Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.sources, self.tags = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [v for k, v in attrs if k in ("src", "href")]


def test_the_report_is_one_self_contained_file(comparison, tmp_path):
    path = ifl.report(comparison, tmp_path / "new" / "report.html", about={"<b>": "a & b"})
    text = path.read_text(encoding="utf-8")
    links = _Links()
    links.feed(text)
    assert len(links.sources) == 7
    assert all(s.startswith("data:image/svg+xml;base64,") for s in links.sources)
    assert "script" not in links.tags
    assert "&lt;b&gt;" in text
    assert "a &amp; b" in text
    drawing = base64.b64decode(links.sources[0].split(",", 1)[1]).decode()
    assert "<svg" in drawing
    assert finding(comparison).split(".")[0] in re.sub(r"&#\d+;", "'", text)


def test_the_finding_names_the_most_and_least_telling_measure(comparison):
    told = finding(comparison)
    rho = comparison.correlations["spearman_weighted"].dropna()
    assert f"under {rho.idxmax()} " in told
    assert f"{rho.idxmin()}, {rho.min():.2f}" in told


def test_a_run_folder_holds_config_tables_figures_and_report(comparison, tmp_path):
    folder = prepare_folder(tmp_path / "run")
    save_run(comparison, folder, {"seed": 3}, title="A run")
    names = {p.name for p in folder.rglob("*")}
    assert {"config.json", "report.html", "partitions.csv", "units.csv", "similarity.png"} <= names
    assert '"torch"' in (folder / "config.json").read_text()
    with pytest.raises(FileExistsError, match="--overwrite"):
        prepare_folder(folder)
    assert prepare_folder(folder, overwrite=True) == folder


def test_a_folder_of_other_files_is_never_written_over(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="other files"):
        prepare_folder(tmp_path, overwrite=True)


def test_tables_of_the_report_carry_the_comparison_s_numbers(comparison):
    tables = report_tables(comparison)
    cov = tables["by_measure"].loc["cov"]
    assert cov["Q* all"] == pytest.approx(comparison.modules["cov"].q)
