"""Each kind of intervention does to the activations what its formula says, by either route."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import infoflow as ifl
from infoflow.interventions import (
    Mean,
    Noise,
    Project,
    Resample,
    Scale,
    Set,
    Shuffle,
    Zero,
    intervention_from,
)
from infoflow.interventions.bind import donors_for
from tests.nets import Cells, mlp, normal, seeded

K = 24
LABELS = np.arange(K) % 3


def recording(**kwargs) -> ifl.Recording:
    return ifl.record(mlp(), ["1", "3"], normal(K, 6), torch.as_tensor(LABELS), **kwargs)


def set_units(h, units, values):
    h = h.clone()
    h[:, units] = values
    return h


BASIS = torch.tensor([[1.0, 1, 0, 0, 0, 0, 0, 0], [1.0, -1, 2, 0, 0, 0, 0, 1]])


def along(h, change):
    """`h` with its coordinates along BASIS changed by a dense least-squares reference."""
    dual = torch.linalg.pinv(BASIS)
    c = h @ dual
    return h + (change(c) - c) @ BASIS


def shuffled(h, seed, units):
    return h[np.random.default_rng(seed).permutation(K)][:, units]


KINDS = {
    "set": (Set([0, 3], [1.0, -2.0]), lambda h: set_units(h, [0, 3], torch.tensor([1.0, -2.0]))),
    "zero": (Zero([0, 5]), lambda h: set_units(h, [0, 5], 0.0)),
    "zero all": (Zero(), torch.zeros_like),
    "mean": (Mean([1, 2]), lambda h: set_units(h, [1, 2], h.mean(0)[[1, 2]])),
    "scale": (Scale([-1], 3.0), lambda h: set_units(h, [7], 3 * h[:, [7]])),
    "shuffle": (Shuffle([0, 4], seed=2), lambda h: set_units(h, [0, 4], shuffled(h, 2, [0, 4]))),
    "project": (Project(basis=BASIS, then=Zero()), lambda h: along(h, torch.zeros_like)),
    "project one": (
        Project([1], basis=BASIS, then=Scale(factor=2.0)),
        lambda h: along(h, lambda c: set_units(c, [1], 2 * c[:, [1]])),
    ),
    "project shuffle": (
        Project([0], basis=BASIS, then=Shuffle(seed=1)),
        lambda h: along(h, lambda c: set_units(c, [0], shuffled(c, 1, [0]))),
    ),
    "function": (lambda h: torch.tanh(h), torch.tanh),
}  # fmt: skip


@pytest.mark.parametrize("batch_size", [5, 512])
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_does_what_its_formula_says(kind, batch_size):
    rec = recording(batch_size=batch_size)
    done, formula = KINDS[kind]
    h = formula(rec["1"])
    after = rec.model[3](h)
    for replay in (True, False):
        found = ifl.counterfactual(rec, {"1": done}, observe="1", replay=replay)
        torch.testing.assert_close(found, h)
        found = ifl.counterfactual(rec, {"1": done}, observe="3", replay=replay)
        torch.testing.assert_close(found, after.detach())


@pytest.mark.parametrize("batch", [1, 7, K])
@pytest.mark.parametrize("kind", KINDS)
def test_do_and_counterfactual_agree_whatever_the_batch(kind, batch):
    rec = recording()
    done, _ = KINDS[kind]
    expected = ifl.counterfactual(rec, {"1": done}, observe="3")
    rec.model.eval()
    seen = []
    handle = rec.model[3].register_forward_hook(lambda m, x, out: seen.append(out))
    with torch.no_grad(), ifl.do(rec.model, {"1": done}, recording=rec):
        for start in range(0, K, batch):
            rec.model(rec.inputs[0][start : start + batch])
    handle.remove()
    torch.testing.assert_close(torch.cat(seen), expected)


def test_noise_has_its_standard_deviation_and_does_not_depend_on_the_batch():
    whole, parts = recording(), recording(batch_size=5)
    noise = Noise([0, 3], std=2.0, seed=1)
    a = ifl.counterfactual(whole, {"1": noise}, observe="1")
    for rec, replay in ((parts, False), (parts, True), (whole, False)):
        b = ifl.counterfactual(rec, {"1": noise}, observe="1", replay=replay)
        torch.testing.assert_close(a, b)
    added = (a - whole["1"])[:, [0, 3]]
    assert 1.0 < float(added.std()) < 3.0
    assert torch.equal(a[:, 1:3], whole["1"][:, 1:3])
    assert not torch.equal(added[:, 0], added[:, 1])
    other = ifl.counterfactual(whole, {"1": Noise([0, 3], std=2.0, seed=2)}, observe="1")
    assert not torch.equal(a, other)


def test_layers_with_one_seed_have_the_same_donors_and_with_two_seeds_others():
    rec = recording()
    units = list(range(8))
    for kind in (Resample, Shuffle):
        joint = {"1": kind(units, seed=1), "3": kind(units, seed=1)}
        a, b = (ifl.counterfactual(rec, joint, observe=name) for name in ("1", "3"))
        torch.testing.assert_close(b, rec.model[3](a).detach(), msg="one donor's joint trajectory")
        apart = {"1": kind(units, seed=1), "3": kind(units, seed=2)}
        b = ifl.counterfactual(rec, apart, observe="3")
        assert not torch.allclose(b, rec.model[3](a))


@pytest.mark.parametrize("within", [LABELS, "targets"])
@pytest.mark.parametrize("kind", [Resample, Shuffle])
def test_donors_within_a_label_share_it(kind, within):
    rec = recording()
    contexts = np.arange(K)
    donors = donors_for(kind(seed=3, within=within), rec, contexts)
    assert (LABELS[donors] == LABELS[contexts]).all()
    assert len(np.unique(donors)) == K if kind is Shuffle else len(np.unique(donors)) < K
    assert (donors != donors_for(kind(seed=4, within=within), rec, contexts)).any()


def test_a_shuffle_lets_every_sample_donate_once_and_resampling_does_not():
    rec = recording()
    assert sorted(donors_for(Shuffle(seed=0), rec, np.arange(K))) == list(range(K))
    assert len(set(donors_for(Resample(seed=0), rec, np.arange(K)))) < K


@pytest.mark.parametrize("done", [done for done, _ in KINDS.values() if not callable(done)])
def test_interventions_are_data(done):
    assert intervention_from(json.loads(json.dumps(done.to_dict()))) == done
    assert hash(intervention_from(done.to_dict())) == hash(done)
    with pytest.raises(AttributeError):
        done.units = (1,)


def test_units_may_come_as_anything_that_lists_integers():
    for units in ([0, 3], (0, 3), np.array([0, 3]), torch.tensor([0, 3]), range(0, 4, 3)):
        assert Zero(units) == Zero((0, 3))
    assert Zero(3) == Zero([3])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda rec: {"1": Zero([8])}, "layer '1' has 8 units"),
        (lambda rec: {"1": Zero([1, 1])}, "more than once"),
        (lambda rec: {"1": Resample(within="classes")}, "expected one label per sample"),
        (lambda rec: {"1": Resample(within=[0, 1])}, "expected 24 labels"),
        (lambda rec: {"1": Project(basis=[[1.0, 0.0]])}, "8 units, got a basis of 2"),
        (lambda rec: {"1": Project(basis=[[1.0] * 8] * 2)}, "linearly dependent"),
        (lambda rec: {"1": Set([0, 1], [1.0, 2.0, 3.0])}, "do not fit layer '1'"),
    ],
)
def test_errors_are_raised_at_the_door(wrong, message):
    rec = recording()
    with pytest.raises(ValueError, match=message):
        ifl.counterfactual(rec, wrong(rec), observe="3")


def test_kinds_refuse_what_makes_no_sense():
    with pytest.raises(ValueError, match="units: expected"):
        Zero([0.5])
    with pytest.raises(ValueError, match="unknown intervention 'Ablate'"):
        intervention_from({"kind": "Ablate"})
    with pytest.raises(ValueError, match=r"Project\(units=...\)"):
        Project(basis=[[1.0]], then=Zero([0]))
    net = mlp()
    with ifl.do(net, {"1": Mean([0])}), pytest.raises(ValueError, match="recorded data"):
        net(normal(3, 6))
    with ifl.do(net, {"1": "zero"}), pytest.raises(TypeError, match="expected an intervention"):
        net(normal(3, 6))


def test_passes_inside_do_with_a_recording_cover_its_samples_in_order():
    rec = recording()
    with ifl.do(rec.model, {"1": Shuffle([0])}, recording=rec):
        rec.model(rec.inputs[0])
        rec.model(rec.inputs[0])  # after the last sample comes the first
        rec.model(rec.inputs[0][:20])
        with pytest.raises(ValueError, match="recording of 24"):
            rec.model(rec.inputs[0][:5])


def test_a_kind_at_every_time_step_of_a_cell():
    rec = ifl.record(seeded(Cells), [ifl.Site("cell", call="all"), "head"], normal(K, 6, 3))
    means = rec["cell"].mean(0)
    found = ifl.counterfactual(rec, {"cell": Mean([0, 2])}, observe="cell")
    torch.testing.assert_close(found[:, [0, 2]], means[[0, 2]].expand(K, 2, 6))
    assert not torch.allclose(found[:, 1, 1:], rec["cell"][:, 1, 1:])
    assert torch.allclose(found[:, 1, 0], rec["cell"][:, 1, 0]), "the first step had no past"
