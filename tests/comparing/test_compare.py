"""compare(): the causal score beside Q*, and the report that shows it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from experiments.common.builders import tracks
from infoflow.comparing import CAUSAL, row_name
from infoflow.comparing.columns import weight_cuts
from infoflow.comparing.ranks import Stratum, rank_correlation
from infoflow.comparing.table import Chance, layer_flows
from infoflow.comparing.tracking import CommonSet, correlations, perturbed
from infoflow.exchanges import ExchangeMeter
from infoflow.measured import SCORE
from infoflow.results import prepare_folder, save_run
from infoflow.searching.proxy import ncut
from infoflow.searching.starts import normalised_cut
from infoflow.toys.trained import ducks_and_shadows
from tests.conftest import SMALL


@pytest.fixture(scope="module")
def rec(comparison):
    return comparison.rec


def test_every_source_has_its_row(comparison):
    index = list(comparison.partitions.index)
    assert {f"Q* {m}" for m in comparison.similarities} <= set(index)
    assert {CAUSAL, "halves", "whole", "random 1"} <= set(index)
    assert comparison.partitions.loc["whole", "n_modules"] == 1  # as a search may find
    assert len(comparison.similarities) == 8


def test_q_star_is_the_largest_q_under_its_own_measure(comparison):
    for name, modules in comparison.modules.items():
        column = comparison.q[comparison.q["measure"] == name].set_index("source")["q"]
        assert column[f"Q* {name}"] == pytest.approx(modules.q, abs=1e-9)
        assert column.max() <= modules.q + 1e-9


def test_the_dead_unit_is_in_no_module(comparison):
    for name, partition in comparison.labels.items():
        assert partition.labels[2] == -1, name


def test_exchange_in_the_table_is_that_of_fresh_samples(comparison):
    row = comparison.partitions.loc[CAUSAL]
    assert row["bits"] == pytest.approx(comparison.search.exchange.bits)
    assert row["agreement_with_causal"] == pytest.approx(1.0)


def _ranked(q, **columns):
    """What `correlations` says of one predictor with these values."""
    import pandas as pd

    table = pd.DataFrame({"kind": "around optima", **columns}).rename_axis("partition")
    for what in ("bits_given_context", "weighted"):
        table[what] = table["bits"]
    predicted = pd.DataFrame({"partition": table.index, "layer": "", "predictor": "cov"})
    predicted = predicted.assign(is_q=True, value=q)
    nowhere = pd.DataFrame(columns=["partition", "layer", "to", "bits"])
    found = correlations(CommonSet(table, predicted, nowhere))
    return found[found["kind"] == "all"].set_index("quantity")


VALUES = ["spearman", "low", "high", "kendall"]


def test_correlation_is_perfect_where_exchange_follows_q():
    q = np.arange(10.0)
    table = _ranked(q, stratum=["a"] * 5 + ["b"] * 5, bits=-q)
    assert table[VALUES].to_numpy().ravel() == pytest.approx(np.ones(12))


def test_correlation_ignores_differences_between_strata():
    q = np.array([0.0, 1, 2, 3, 10, 11, 12, 13])
    exchange = [3.0, 2, 1, 0, 103, 102, 101, 100]  # within strata perfect, across them reversed
    table = _ranked(q, stratum=list("aaaabbbb"), bits=exchange)
    assert table.loc["bits", "spearman"] == pytest.approx(1.0)


def test_kinds_of_partitions_count_alike_however_many_strata_they_have():
    q = np.tile(np.arange(4.0), 3)
    bits = np.where(np.arange(12) < 8, -q, q)
    kind = ["around optima"] * 8 + ["random"] * 4
    table = _ranked(q, kind=kind, stratum=list("aaaabbbbcccc"), bits=bits)
    assert table.loc["bits", "spearman"] == pytest.approx(0.0)


def test_rank_correlations_equal_scipy_s():
    from scipy.stats import kendalltau, spearmanr

    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, (2, 30)).astype(float), rng.integers(0, 9, (3, 30)).astype(float)
    found = rank_correlation([Stratum(x, y)])
    for i in range(2):
        for j in range(3):
            assert found.spearman[i, j] == pytest.approx(spearmanr(x[i], y[j])[0])
            assert found.kendall[i, j] == pytest.approx(kendalltau(x[i], y[j])[0])


def test_bootstrap_intervals_cover_the_correlation_of_the_population():
    rng = np.random.default_rng(1)
    inside = 0
    for trial in range(60):
        x = rng.normal(size=60)
        y = 0.6 * x + 0.8 * rng.normal(size=60)
        found = rank_correlation([Stratum(x[None], y[None])], seed=trial)
        truth = 6 / np.pi * np.arcsin(0.6 / 2)  # Spearman's of a normal pair with correlation .6
        inside += bool(found.low[0, 0] <= truth <= found.high[0, 0])
    assert inside >= 51  # 95 % of 60 is 57; 51 or fewer has probability 0.003


def test_small_and_constant_strata_are_no_evidence():
    q = np.arange(7.0)
    table = _ranked(q, stratum=list("aaabbbb"), bits=[0.0, 1, 2, 5, 5, 5, 5])
    assert table[VALUES].isna().all(axis=None)


def test_all_partitions_divide_the_same_units(comparison):
    used = [tuple(p.unused) for p in comparison.labels.values()]
    assert len(set(used)) == 1


def test_same_size_chance_has_the_same_sizes_and_its_p_value_is_counted(rec, comparison):
    meter = ExchangeMeter(rec, replace(SCORE, donors=12, contexts=12)).fresh()
    used = ~comparison.labels[CAUSAL].unused
    weighting = comparison.weighting
    chance = Chance(meter, used, weighting, samples=8, same_size=9, seed=0)
    for name in (CAUSAL, "halves"):
        partition = comparison.labels[name]
        drawn = chance.sized(partition)
        assert {tuple(sorted(p.sizes)) for p in drawn} == {tuple(sorted(partition.sizes))}
        values = meter.values(drawn, weighting).weighted
        expected = (1 + (values <= meter(partition, weighting).weighted).sum()) / 10
        assert comparison.partitions.loc[name, "p_same_size"] == pytest.approx(expected)


def test_every_weighting_is_in_the_table(rec, comparison):
    meter = ExchangeMeter(rec, replace(SCORE, donors=12, contexts=12)).fresh()
    row = comparison.weightings.set_index(["source", "weighting"])["value"].loc["halves"]
    halves = comparison.labels["halves"]
    for name in ("min_size", "pairs", "min_entropy", "cut_connections", "conductance", "ncut"):
        assert row[name] == pytest.approx(meter(halves, name).weighted)


def test_layers_send_what_modules_of_single_layers_send(rec, comparison):
    meter = ExchangeMeter(rec, replace(SCORE, donors=12, contexts=12)).fresh()
    halves = comparison.labels["halves"]
    within, between = layer_flows(halves, meter)
    labels, first = halves.labels, rec.units.layer_index == 0
    by_hand = np.zeros(2)
    for module in (0, 1):
        source = np.flatnonzero((labels == module) & first)
        target = np.flatnonzero((labels >= 0) & ~first)
        parts = np.full(len(labels), -1)
        parts[source] = 0
        parts[target] = 1 + labels[target]
        flow = meter(ifl.Partition(parts)).flow_given_context
        order = ifl.Partition(parts).labels[[target[labels[target] == m][0] for m in (0, 1)]]
        by_hand += flow[0, order][[module, 1 - module]]
    assert (within[1, 0, 1], between[1, 0, 1]) == pytest.approx(tuple(by_hand))
    table = comparison.layer_to_layer.set_index("source").loc["halves"]
    assert table["between"] == pytest.approx(between[1, 0, 1])
    assert (table["from"], table["to"]) == ("1", "3")


def test_a_planted_pair_of_tracks_is_where_nothing_is_exchanged_and_q_of_the_unit_flows_knows():
    toy = ducks_and_shadows(0)
    found = ifl.compare(toy.record(), partitions={"planted": toy.planted}, **SMALL)
    row = found.partitions.loc["planted"]
    assert row["bits_given_context"] == 0
    assert bool(row["isolated"])
    assert found.partitions.loc["Q* unit_flow, 2 modules", "bits_given_context"] == 0
    assert found.layer_to_layer.set_index("source").loc["planted", "between"] == 0


def test_correlations_are_given_by_kind_and_layer(comparison):
    table = comparison.correlations
    assert {"all", "around optima", "same sizes", "random", "search trail"} == set(table["kind"])
    scopes = table[["scope", "layer"]].drop_duplicates().itertuples(index=False)
    assert {("together", ""), ("layer", "1"), ("layer", "3")} == {tuple(row) for row in scopes}
    known = table.dropna()
    assert (known["low"] <= known["high"]).all()
    whole = table[(table["kind"] == "all") & (table["scope"] == "together")]
    column = whole[whole["quantity"] == "weighted"].set_index("predictor")["spearman"]
    for name, rho in comparison.tracking.items():
        assert rho == pytest.approx(column[name])


def test_cuts_of_the_weights_stand_beside_those_of_shuffled_weights(comparison):
    table, weights = comparison.partitions, comparison.graphs["weights"]
    for name in ("halves", CAUSAL):
        assert table.loc[name, "weight_cut"] == pytest.approx(
            ncut(weights, comparison.labels[name])
        )
    two = table["n_modules"] == 2
    assert table.loc[two, "weight_cut_z"].notna().all()
    assert table.loc[~two, "weight_cut_z"].isna().all()
    assert {"Q* spearman", "n-cut spearman"} <= set(table.index)


def test_planted_tracks_cut_their_weights_better_than_shuffled_weights_can_be_cut():
    rec, planted = tracks((6, 6), 0)
    graph, layer = ifl.similarity(rec, "weights"), rec.units.layer_index
    mixed = ifl.Partition(np.arange(24) % 2)
    found = weight_cuts({"tracks": planted, "mixed": mixed}, graph, layer, k=2, seed=0)
    assert found.loc["tracks", "weight_cut"] == 0
    assert found.loc["tracks", "weight_cut_z"] < -5 < 0 < found.loc["mixed", "weight_cut_z"]


def test_a_network_of_shuffled_weights_is_no_outlier_among_shuffles_of_it():
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(8):
        block = rng.exponential(size=(10, 10))
        graph = np.block([[np.zeros((10, 10)), block], [block.T, np.zeros((10, 10))]])
        own = normalised_cut(graph, 2)
        found = weight_cuts({"own": own}, graph, np.repeat([0, 1], 10), k=2, seed=1)
        scores.append(found.loc["own", "weight_cut_z"])
    assert abs(np.mean(scores)) < 1.2


def test_every_row_says_where_its_partition_comes_from(comparison):
    table = comparison.partitions
    assert tuple(table.loc[CAUSAL, ["origin", "k", "method"]]) == (
        "search", 2, comparison.search.method,
    )  # fmt: skip
    assert table.loc["halves", "origin"] == "given"
    fixed = table[(table["origin"] == "Q*") & (table["k"] == 2)]
    free = table[(table["origin"] == "Q*") & table["k"].isna()]
    for rows, k in ((fixed, 2), (free, None)):
        assert list(rows.index) == [row_name("Q*", m, k) for m in rows["measure"]]
        assert set(comparison.similarities) <= set(rows["measure"])


def test_tables_have_one_fact_a_row_and_no_name_to_take_apart(comparison):
    tables = (comparison.partitions, comparison.q, comparison.weightings, comparison.correlations)
    common = comparison.common
    tables = (*tables, common.partitions, common.predictions, common.between_layers)
    hidden = {*comparison.similarities, "unit_flow", "pairs", "ncut", "1", "3"}
    for table in tables:
        assert not [c for c in table if any(c.endswith(f"_{name}") for name in hidden)]


def test_three_layers_have_rows_for_what_each_pair_of_them_exchanges():
    torch.manual_seed(2)
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    found = ifl.compare(ifl.record(net, ["1", "3", "4"], torch.randn(60, 4)), **SMALL)
    between = found.correlations[found.correlations["scope"] == "between"]
    pairs = [tuple(p) for p in between[["layer", "to"]].drop_duplicates().to_numpy()]
    assert pairs == [("1", "3"), ("1", "4"), ("3", "4")]
    assert set(between["quantity"]) == {"bits_given_context"}


@pytest.mark.parametrize(
    "name", [CAUSAL, "causal genetic", "random 1", "Q* cov", "Q* cov, 2 modules", "n-cut weights"]
)
def test_a_partition_with_the_name_of_another_row_is_refused(rec, name):
    with pytest.raises(ValueError, match="expected other names"):
        ifl.compare(rec, partitions={name: [0, 1] * 7}, **SMALL)


def test_proxies_may_be_left_out(rec):
    found = ifl.compare(rec, proxies=False, methods=("climbing",), **SMALL)
    assert found.correlations["is_q"].all()
    assert "causal climbing" not in found.labels
    assert list(found.searches) == ["climbing"]


def test_a_comparison_without_a_search_or_chance_is_refused(rec):
    with pytest.raises(ValueError, match="methods: expected at least 1"):
        ifl.compare(rec, methods=())
    with pytest.raises(ValueError, match="same_size: expected"):
        ifl.compare(rec, same_size=1)


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


def test_a_run_folder_holds_config_tables_figures_and_report(comparison, tmp_path):
    folder = tmp_path / "run"
    path = save_run(comparison, prepare_folder(folder), {"seed": 3}, title="A run")
    assert path == folder / "report.html" and list(tmp_path.iterdir()) == [folder]
    names = {p.name for p in folder.rglob("*")}
    assert {"config.json", "report.html", "partitions.csv", "units.csv", "similarity.png"} <= names
    assert '"torch"' in (folder / "config.json").read_text()
    with pytest.raises(FileExistsError, match="--overwrite"):
        prepare_folder(folder)


def test_an_earlier_run_stays_whole_until_the_new_one_is(comparison, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    monkeypatch.setattr("infoflow.reporting.figures", lambda _: {})  # four runs' take long
    save_run(comparison, prepare_folder(folder), {"seed": 3}, title="A run")
    before = {p: p.read_bytes() for p in folder.rglob("*.*")}

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    for place in ("infoflow.reporting.report", "pathlib.Path.rename"):
        unfinished = prepare_folder(folder, overwrite=True)
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
            patch.setattr(place, full)
            save_run(comparison, unfinished, {"seed": 4}, title="A run")
        assert {p: p.read_bytes() for p in folder.rglob("*.*")} == before
    folder.rename(tmp_path / "run.replaced")  # killed in the middle of the exchange
    save_run(comparison, prepare_folder(folder, overwrite=True), {"seed": 4}, title="A run")
    assert '"seed": 4' in (folder / "config.json").read_text()
    assert list(tmp_path.iterdir()) == [folder]


def test_a_run_does_not_follow_links_nor_take_other_files_away(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "other")
    with pytest.raises(NotADirectoryError, match="is a link to"):
        prepare_folder(tmp_path / "link", overwrite=True)
    (tmp_path / "run.unfinished").mkdir()
    (tmp_path / "run.unfinished" / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match=r"run.unfinished holds other files"):
        prepare_folder(tmp_path / "run")


def test_a_folder_of_other_files_is_never_written_over(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="other files"):
        prepare_folder(tmp_path, overwrite=True)
