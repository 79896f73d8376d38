"""Networks whose modules are known, methods of finding them, and how answers are judged."""

import hashlib
import json

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from experiments.recovery import methods, nothing, planted, trained
from experiments.recovery.__main__ import study
from experiments.recovery.families import NOTHING, build, family_of, names, number_of
from experiments.recovery.make import fingerprint
from experiments.recovery.methods import METHODS, Look, cut, largest_q, leiden
from experiments.recovery.problems import SHARED, Problem, across
from experiments.recovery.scoring import score


def test_there_are_200_networks_in_six_families_on_both_sides_of_the_split():
    assert len(set(names())) == len(names()) >= 200
    sides = {(family_of(name), number_of(name) % 2) for name in names()}
    families = {family for family, _ in sides}
    assert len(families - set(NOTHING)) >= 6
    assert sides == {(family, side) for family in families for side in (0, 1)}


@pytest.mark.parametrize("family", [*planted.COUNTS, *trained.COUNTS, *nothing.COUNTS])
def test_a_network_has_a_label_for_each_recorded_unit_and_says_why(family):
    name = next(n for n in names() if family_of(n) == family)
    net = build(name)
    rec = net.record()
    assert len(net.labels) == len(rec.units) <= 100
    modules = {*net.labels.tolist()} - {-1}
    assert modules == set(range(len(modules)))
    assert (len(modules) == 1) == (family in NOTHING)
    assert (net.name, net.family) == (name, family)
    assert net.reason and net.limits


@pytest.mark.parametrize("family", ["tracks", "digits", "boolean", "recurrent", "experts"])
def test_without_links_nothing_flows_between_the_labels(family):
    net = build(next(n for n in names() if family_of(n) == family and "links0-" in n))
    flow = ifl.unit_flow(net.record(), given_context=True, donors=8, contexts=8)
    apart = (net.labels[:, None] != net.labels) & (net.labels >= 0) & (net.labels[:, None] >= 0)
    assert np.asarray(flow).any()
    assert not np.asarray(flow)[apart].any()


def test_weights_between_modules_are_at_most_links_times_those_within():
    for name in trained.NAMES:
        plan = trained._PLANS[name]
        problem = plan.problem()
        problem.model.load_state_dict(trained.stored(plan.family)[name])
        for weight, between in trained.held(problem):
            most = plan.links * weight[~between].square().mean().sqrt()
            assert weight[between].abs().max() <= most * 1.0001, name


def test_holding_cuts_what_goes_between_modules_and_nothing_else():
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[2.0, 5.0], [-0.1, 2.0]]))
    owners = np.array([0, 1])
    held = {"weight": across(owners, owners)}
    problem = Problem(layer, lambda rows, generator: (rows, generator), (), owners, held)  # type: ignore[arg-type]
    trained.hold(problem, 0.1)
    assert torch.allclose(layer.weight, torch.tensor([[2.0, 0.2], [-0.1, 2.0]]))


def test_what_is_shared_belongs_to_no_two_modules():
    assert not across(np.array([0, 1]), np.array([SHARED, SHARED])).any()


def test_stored_weights_are_those_of_the_manifest_and_small():
    manifest = json.loads((trained.WEIGHTS / "manifest.json").read_text(encoding="utf-8"))
    assert set(manifest["files"]) == {f"{family}.safetensors" for family in trained.COUNTS}
    for file, about in manifest["files"].items():
        content = (trained.WEIGHTS / file).read_bytes()
        assert hashlib.sha256(content).hexdigest() == about["sha256"]
    assert sum(path.stat().st_size for path in trained.WEIGHTS.iterdir()) < 12 * 2**20
    stored = [name for about in manifest["files"].values() for name in about["networks"]]
    assert sorted(stored) == sorted(trained.NAMES)


@pytest.mark.parametrize(
    "name", [planted.NAMES[5], planted.NAMES[-1], nothing.NAMES[3], nothing.NAMES[-1]]
)
def test_a_generated_network_is_that_of_the_manifest(name):
    manifest = json.loads((trained.WEIGHTS / "manifest.json").read_text(encoding="utf-8"))
    wanted, found = manifest["generated"][name], fingerprint(build(name))
    assert (found["units"], found["labels"]) == (wanted["units"], wanted["labels"])
    assert found["weights"] == pytest.approx(wanted["weights"], rel=1e-5)
    assert found["inputs"] == pytest.approx(wanted["inputs"], rel=1e-5)


def test_the_leaves_of_a_hierarchy_lie_within_its_roots():
    name = next(n for n in planted.NAMES if family_of(n) == "hierarchy")
    pairs = {*zip(planted.build(name).labels.tolist(), planted.roots(name).tolist(), strict=True)}
    assert len(pairs) == len({leaf for leaf, _ in pairs}) > len({root for _, root in pairs}) == 2


def test_units_left_out_count_as_in_the_largest_module_and_unknown_ones_not_at_all():
    truth, none = np.array([0, 0, 0, 1, 1, -1]), np.zeros(6, dtype=bool)
    assert score(np.array([5, -1, 5, 3, 3, 5]), truth, none) == (1.0, 1.0, 2)
    assert score(np.array([5, 5, 5, 3, -1, 3]), truth, none)[0] < 1
    unused = np.array([0, 0, 0, 0, 1, 0], dtype=bool)
    assert score(np.array([0, 0, 0, 1, 0, 0]), truth, unused)[0] == 1.0


def test_one_module_is_right_where_there_is_one_and_worth_nothing_where_there_are_two():
    none = np.zeros(4, dtype=bool)
    one = np.full(4, -1)
    assert score(one, np.zeros(4, int), none)[::2] == (1.0, 1)
    assert score(np.array([0, 0, 1, 1]), np.zeros(4, int), none)[0] == 0.0
    assert score(one, np.array([0, 0, 1, 1]), none)[0] == 0.0


@pytest.fixture(scope="module")
def isolated():
    """Two tracks of three units in each of two layers, without links."""
    from experiments.common.builders import tracks

    rec, truth = tracks((3, 3), 0)
    return Look(rec), truth


@pytest.mark.parametrize("graph", ["weights", "slopes", "flows"])
def test_graphs_of_what_acts_on_what_show_tracks_without_links(isolated, graph):
    look, truth = isolated
    matrix = look.graph(graph)
    assert np.array_equal(matrix, matrix.T) and not np.diag(matrix).any()
    assert not matrix[truth.labels[:, None] != truth.labels].any()
    assert ifl.Partition(largest_q(look, 2, graph)) == ifl.Partition(cut(look, 2, graph)) == truth
    for free in (largest_q(look, None, graph), cut(look, None, graph)):
        assert all(len({*truth.labels[free == module]}) == 1 for module in {*free})


def test_leiden_finds_tracks_and_as_many_modules_as_it_is_told(isolated):
    pytest.importorskip("igraph")
    look, truth = isolated
    assert ifl.Partition(leiden(look, 2, "flows", 1.0)) == truth
    assert leiden(look, None, "flows", 0.5).max() == 1
    assert leiden(look, 4, "flows", 1.0).max() + 1 == 4


@pytest.mark.parametrize("objective", ["codes", "gaussian"])
def test_searches_find_tracks_with_k_given_and_counted(isolated, objective, monkeypatch):
    monkeypatch.setattr(methods, "BUDGET", 20)
    look, truth = isolated
    for k in (2, None):
        assert ifl.Partition(METHODS[f"search {objective}"].find(look, k)) == truth
    assert f"{objective} free" not in look.seconds  # counted two, which had been searched for


def test_a_shared_part_is_computed_once_and_its_time_counted_for_each():
    look = Look(None)  # type: ignore[arg-type]
    made = []

    def slow():
        made.append(sum(i * i for i in range(200_000)))
        return len(made)

    first, long = look.timed(lambda: look.keep("slow", slow))
    second, again = look.timed(lambda: look.keep("slow", slow))
    assert (first, second) == (1, 1)
    assert 0.5 * look.seconds["slow"] < again <= 1.5 * long


def test_every_network_gets_a_row_for_both_questions_and_an_empty_one_for_one():
    name = next(n for n in names() if family_of(n) == "boolean")
    row = study(name, "Q weights")
    assert row["k"] == len(set(build(name).labels.tolist()))
    assert {"ari_given", "ari_free", "seconds_free"} <= set(row)
    empty = study("dense-k1-0", "random")
    assert empty["k"] == 1 and "ari_given" not in empty
    assert "refused" in study(name, "count") and "ari_given" not in study(name, "count")
