"""A coarse causal network of modules, and when adjusting by it agrees with intervening."""

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow.models import isolated_rng
from infoflow.oracle import adjusted_flows, from_partition, interventional_information
from infoflow.toys import load_modules

UNIQUE = {"codes": "unique", "input_codes": "unique"}


def small_recording(samples=300):
    with isolated_rng(0):
        net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        return ifl.record(net, ["1", "3", "4"], torch.randn(samples, 3))


@pytest.mark.parametrize("name", ["fully_mixed_layers", "nested_modules"])
def test_adjustment_agrees_with_intervention_where_nothing_is_confounded(name):
    table = adjusted_flows(
        load_modules(name).record(), [0, 0, 1, 1] * 2, donors=64, contexts=64, **UNIQUE
    )
    assert table["unsupported"].max() == 0
    np.testing.assert_allclose(table["adjusted"], table["interventional"], atol=1e-9)
    assert table["interventional"].max() > 0.1


def test_interventional_column_is_the_exact_flow():
    toy = load_modules("nested_modules")
    a, b = toy.planted[0].modules
    rec = toy.record()
    table = adjusted_flows(rec, toy.planted[0], donors=64, contexts=64, **UNIQUE)
    exact = ifl.flow(rec, a, b, donors="all", contexts="all", bins="unique", correction="none").bits
    assert table.set_index(["source", "target"]).loc[(0, 1), "interventional"] == pytest.approx(
        exact, abs=1e-9
    )


def test_adjustment_without_overlap_is_wrong_and_says_so():
    # the tracks always see the same two coins: 3 of 4 settings of one never met the other's coins
    toy = load_modules("isolated_tracks")
    table = adjusted_flows(toy.record(), toy.planted[0], **UNIQUE)
    assert (table["interventional"] == 0).all()
    assert (table["adjusted"] > 0.2).all()
    np.testing.assert_allclose(table["unsupported"], 0.75)


def test_tables_are_the_relative_frequencies_of_the_normal_run():
    coarse = from_partition(small_recording(), [0, 0, 1, 1] * 3, codes=3, input_codes=4)
    table = coarse.network.get_cpds("module1@3")
    assert table.variables == ["module1@3", "module0@1", "module1@1"]
    codes = coarse.codes
    met = codes.groupby(["module0@1", "module1@1"])["module1@3"]
    assert len(met) > 5
    for (i, j), children in met:
        share = np.bincount(children, minlength=3) / len(children)
        np.testing.assert_allclose(table.values[:, i, j], share)


def test_codes_never_met_together_give_the_child_its_overall_frequencies():
    toy = load_modules("isolated_tracks")
    coarse = from_partition(toy.record(), toy.planted[0], **UNIQUE)
    table = coarse.network.get_cpds("module0@layer2").values
    overall = np.bincount(coarse.codes["module0@layer2"]) / len(coarse.codes)
    np.testing.assert_allclose(table[:, 0, 1], overall)


def test_network_can_be_queried_by_layer():
    coarse = from_partition(small_recording(), [0, 0, 1, 1] * 3)
    below = interventional_information(coarse.network, ["module0@1"], ["module0@3"])
    above = interventional_information(coarse.network, ["module0@3"], ["module0@1"])
    assert below > 0.05 and above < 1e-12


def test_unused_units_and_layers_without_modules_are_left_out():
    coarse = from_partition(small_recording(), [0, 0, 1, -1, -1, -1, -1, -1, 0, 0, 0, 0])
    assert coarse.modules == (("module0@1", "module0@4"), ("module1@1",))
    assert sorted(coarse.network.get_parents("module0@4")) == ["module0@1", "module1@1"]


def test_frame_and_repr_tell_what_the_network_is():
    coarse = from_partition(small_recording(), [0, 0, 1, 1] * 3, codes=3, input_codes=4)
    frame = coarse.to_frame()
    assert frame["module"].tolist() == [-1, 0, 1, 0, 1, 0, 1]
    assert frame["codes"].tolist() == [4, 3, 3, 3, 3, 3, 3]
    assert "2 modules" in repr(coarse) and "300 samples" in repr(coarse)


def test_same_seed_gives_the_same_table():
    rec = small_recording()
    one, other = (adjusted_flows(rec, [0, 0, 1, 1] * 3, donors=20, contexts=20) for _ in range(2))
    assert one.equals(other)


def test_a_partition_of_other_units_is_refused():
    with pytest.raises(ValueError, match="partition of 12 units, got one of 3"):
        from_partition(small_recording(), [0, 0, 1])


def test_a_partition_without_modules_is_refused():
    with pytest.raises(ValueError, match="all units unused"):
        from_partition(small_recording(), [-1] * 12)


def test_tables_too_large_are_refused_with_what_to_change():
    with pytest.raises(ValueError, match="fewer codes, or a partition into fewer modules"):
        from_partition(small_recording(), [0, 1, 2, 3] * 3, codes=20)
