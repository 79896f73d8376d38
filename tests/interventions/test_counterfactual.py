"""Counterfactual passes: donors over the whole data set, everything else as in a raw hook."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow.interventions import resample
from tests.nets import Broken, mlp, normal, seeded, state_of
from tests.oracles_intervene import raw_hook_swap


def _numpy_state() -> list[int]:
    return np.random.get_state()[1].tolist()  # noqa: NPY002


def donors_of(k: int, seed: int) -> torch.Tensor:
    return torch.as_tensor(np.random.default_rng(seed).permutation(k))


@pytest.mark.parametrize("observe", ["1", "3", "4", "6"])
@pytest.mark.parametrize("units", [[0], [1, 5, 2], list(range(8))])
def test_a_counterfactual_pass_is_what_raw_hooks_give(observe, units):
    net, x = mlp(), normal(23, 6)
    rec = ifl.record(net, ["1", "3", "4", "6"], x)
    expected = raw_hook_swap(net, x, "1", units, donors_of(23, 3), observe)
    found = ifl.counterfactual(rec, {"1": units}, observe=observe, seed=3)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("batch_size", [1, 4, 23])
def test_donors_come_from_the_whole_data_set_whatever_the_batch_size(batch_size):
    net, x = mlp(), normal(23, 6)
    whole, parts = (ifl.record(net, ["1", "4"], x, batch_size=b) for b in (512, batch_size))
    a, b = (ifl.counterfactual(rec, {"1": [0, 3]}, observe="4", seed=1) for rec in (whole, parts))
    torch.testing.assert_close(a, b)


def test_what_lies_upstream_of_the_source_stays_as_it_was():
    rec = ifl.record(mlp(), ["1", "4"], normal(23, 6))
    assert torch.equal(ifl.counterfactual(rec, {"4": [0, 1]}, observe="1"), rec["1"])


def test_all_source_units_take_their_values_from_the_same_donor():
    rec = ifl.record(mlp(), ["1", "4"], normal(23, 6))
    donors = donors_of(23, 5)
    source = {"1": [0, 2], "4": [1, 7]}
    h1, h2 = (ifl.counterfactual(rec, source, observe=name, seed=5) for name in ("1", "4"))
    assert torch.equal(h1[:, [0, 2]], rec["1"][donors][:, [0, 2]])
    assert torch.equal(h2[:, [1, 7]], rec["4"][donors][:, [1, 7]])
    assert not torch.equal(h2[:, [0]], rec["4"][:, [0]]), "the rest of layer 4 hears of layer 1"


def test_conv_maps_and_sequences_of_outputs_are_swapped_whole():
    net = seeded(
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3))
    )
    x = normal(9, 1, 7, 7)
    rec = ifl.record(net, ["0", "2"], x)
    expected = raw_hook_swap(net, x, "0", [1, 3], donors_of(9, 0), "2").flatten(2)
    found = ifl.counterfactual(rec, {"0": [1, 3]}, observe="2")
    torch.testing.assert_close(found, expected)
    own = ifl.counterfactual(rec, {"0": [1, 3]}, observe="0")
    assert torch.equal(own[:, [1, 3]], rec["0"][donors_of(9, 0)][:, [1, 3]])
    assert torch.equal(own[:, [0, 2]], rec["0"][:, [0, 2]])


def test_resample_runs_any_list_of_donors_and_contexts():
    rec = ifl.record(mlp(), ["1", "3", "4"], normal(23, 6), batch_size=5)
    donors, contexts = np.array([3, 3, 0, 22, 7, 7]), np.array([1, 2, 1, 22, 7, 0])
    parts = list(resample(rec, {"1": [0, 4]}, donors, contexts, ["1", "4"]))
    assert [p.start for p, _ in parts] == [0, *(p.stop for p, _ in parts)][:-1]
    assert parts[-1][0].stop == 6
    h1 = torch.cat([seen["1"] for _, seen in parts])
    h2 = torch.cat([seen["4"] for _, seen in parts])
    expected = rec["1"][contexts].clone()
    expected[:, [0, 4]] = rec["1"][donors][:, [0, 4]]
    torch.testing.assert_close(h1, expected)
    torch.testing.assert_close(h2, torch.relu(rec.model[3](expected)).detach())
    torch.testing.assert_close(h2[4], rec["4"][7], msg="its own donor: nothing changes")


def test_bad_arguments_are_refused_at_the_door():
    rec = ifl.record(mlp(), ["1", "4"], normal(23, 6))
    with pytest.raises(KeyError, match="unknown recorded layer '5'"):
        ifl.counterfactual(rec, {"1": [0]}, observe="5")
    with pytest.raises(KeyError, match="unknown recorded layer '5'"):
        ifl.counterfactual(rec, {"5": [0]}, observe="4")
    with pytest.raises(ValueError, match="layer '1' has 8 units"):
        ifl.counterfactual(rec, {"1": [8]}, observe="4")
    rows = np.arange(3)
    with pytest.raises(KeyError, match="unknown recorded layer 'x'"):
        list(resample(rec, [0], rows, rows, ["x"]))
    with pytest.raises(ValueError, match="one context per donor: 3 donors, 2 contexts"):
        list(resample(rec, [0], rows, rows[:2], ["4"]))
    with pytest.raises(ValueError, match="23 samples"):
        list(resample(rec, [0], rows + 22, rows, ["4"]))


def test_the_same_seed_gives_the_same_answer_and_the_global_generators_are_not_touched():
    rec = ifl.record(mlp(), ["1", "4"], normal(23, 6))
    before, numpy_before = torch.get_rng_state(), _numpy_state()
    a, b, c = (ifl.counterfactual(rec, [0, 3], observe="4", seed=s) for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(before, torch.get_rng_state())
    assert numpy_before == _numpy_state()


@pytest.mark.filterwarnings("ignore:replaying Broken")
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("passes", range(4))
def test_the_model_leaves_as_it_came_also_after_an_exception(error, passes):
    net = seeded(lambda: Broken(error)).train()
    rec = ifl.record(net, ["fc", "head"], normal(9, 4), batch_size=4)
    before = state_of(net)
    net.passes_left[0] = passes
    with pytest.raises(error, match="as told"):
        ifl.counterfactual(rec, {"fc": [0]}, observe="head")
    assert state_of(net) == before


def test_a_generator_closed_half_way_leaves_the_model_as_it_came():
    net = seeded(mlp).train()
    rec = ifl.record(net, ["1", "4"], normal(23, 6), batch_size=4)
    before = state_of(net)
    rows = np.tile(np.arange(23), 50)
    runs = resample(rec, [0], rows, rows, ["4"])
    next(runs)
    runs.close()
    assert state_of(net) == before


def test_what_is_kept_between_calls_changes_no_answer():
    """Masks and indices, lists and arrays, seeds and layers follow each other on one recording."""
    net, x = mlp(), normal(30, 6)
    rec = ifl.record(net, ["1", "3"], x)
    mask = np.zeros(8, bool)
    mask[[0, 1]] = True
    sources = [
        {"1": mask}, {"1": [0, 1]}, {"1": np.array([1, 0], np.int8)}, {"1": [1, 0]},
        {"1": range(8)}, [0, 1], "1", {"3": [1, 0]}, {"1": [1], "3": [0]},
        {"1": torch.tensor([-1])}, {"1": mask},
    ]  # fmt: skip
    for seed in (0, 1, 2, 0):  # with the sources, more than are kept
        for source in sources:
            fresh = ifl.record(net, ["1", "3"], x)
            kept = ifl.counterfactual(rec, source, observe="3", seed=seed)
            alone = ifl.counterfactual(fresh, source, observe="3", seed=seed, replay=False)
            torch.testing.assert_close(kept, alone)
    with pytest.raises(ValueError, match="more than once"):
        ifl.counterfactual(rec, {"1": [1, 1]}, observe="3")
