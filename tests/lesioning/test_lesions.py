"""lesions(): what suffers when a module is resampled."""

import copy
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

import infoflow as ifl
from infoflow import plot
from infoflow.interventions.bind import donors_for
from infoflow.interventions.kinds import Shuffle
from infoflow.lesioning import Lesions
from infoflow.lesioning.result import _dependence
from infoflow.lesioning.run import two_way_se
from tests.nets import mlp, normal


@pytest.fixture(scope="module")
def rec() -> ifl.Recording:
    x = normal(90, 6)
    y = x[:, :3].argmax(1)
    return ifl.record(mlp(), ["1", "4"], x, y, loss=cross_entropy, batch_size=32)


def hooked(model: nn.Module, x: torch.Tensor, places: dict, donors: np.ndarray) -> torch.Tensor:
    """Outputs with units at their values on donors: raw hooks, the whole data set as one batch."""
    model, kept = copy.deepcopy(model).eval(), {}
    layers = dict(model.named_modules())
    keep = [
        layers[name].register_forward_hook(lambda _, __, out, name=name: kept.update({name: out}))
        for name in places
    ]
    with torch.no_grad():
        model(x)
        for handle in keep:
            handle.remove()

        def put(name, out):
            out = out.clone()
            out[:, places[name]] = kept[name][donors][:, places[name]]
            return out

        for name in places:
            layers[name].register_forward_hook(lambda _, __, out, name=name: put(name, out))
        return model(x)


def drawn(rec: ifl.Recording, seed: int, donors: int) -> list[np.ndarray]:
    seeds = np.random.SeedSequence(seed).generate_state(donors).tolist()
    return [donors_for(Shuffle(seed=s), rec, np.arange(len(rec))) for s in seeds]


def test_damage_is_that_of_a_naive_loop_with_raw_hooks(rec):
    labels = np.arange(16) % 3
    found = ifl.lesions(rec, labels, donors=3, seed=5)
    table = found.to_frame().set_index(["module", "measure", "task"])["damage"]
    x, y, normally = rec.inputs[0], rec.targets, rec.outputs[:]
    for module in range(3):
        units = np.flatnonzero(np.where(rec.units.unused, -1, labels) == module)
        places = {"1": units[units < 8], "4": units[units >= 8] - 8}
        runs = [hooked(rec.model, x, places, d) for d in drawn(rec, 5, 3)]
        loss = np.mean([float(cross_entropy(run, y) - cross_entropy(normally, y)) for run in runs])
        assert table[module, "loss", ""] == pytest.approx(loss, rel=1e-5)
        right = [(run.argmax(1) == y).double() for run in runs]
        for label in range(3):
            among = y == label
            before = (normally.argmax(1) == y)[among].double().mean()
            fall = np.mean([float(before - r[among].mean()) for r in right])
            assert table[module, "accuracy", str(label)] == pytest.approx(fall, abs=1e-12)
        for output in range(3):
            square = np.mean([float((run - normally)[:, output].square().mean()) for run in runs])
            scale = 2 * float(normally[:, output].var(correction=0))
            assert table[module, "change", str(output)] == pytest.approx(square / scale, rel=1e-5)


def test_an_output_that_is_another_samples_has_changed_by_one():
    x = normal(4000, 2)
    rec = ifl.record(nn.Sequential(nn.Identity()), "0", x)
    change = ifl.lesions(rec, [0, 1]).damage("change")
    np.testing.assert_allclose(change, np.eye(2), atol=0.05)
    assert (np.diag(change) > 0.9).all()


def two_tracks(samples: int = 600) -> ifl.Recording:
    """Outputs 0 and 1 hang on units 0 to 2 alone, outputs 2 and 3 on the others."""
    net = mlp(6, 6, 4)
    inside = torch.block_diag(torch.ones(3, 3), torch.ones(3, 3))
    with torch.no_grad():
        net[0].weight *= inside
        net[3].weight *= inside
        net[6].weight *= torch.block_diag(torch.ones(2, 3), torch.ones(2, 3))
    x = normal(samples, 6, seed=1)
    targets = net.eval()(x).detach()
    return ifl.record(net, ["1", "4"], x, targets, loss=mse_loss)


def tasks() -> dict:
    def head(columns):
        return lambda out, y: ((out - y)[:, columns].square() / y[:, columns].var(0)).mean(1)

    return {"first": head([0, 1]), "second": head([2, 3])}


TRUE, MIXED = [0, 0, 0, 1, 1, 1] * 2, [0, 1] * 6


def test_tracks_that_share_nothing_are_one_bit_specialised_and_dissociate():
    rec = two_tracks()
    apart, mixed = (ifl.lesions(rec, labels, tasks=tasks()) for labels in (TRUE, MIXED))
    damage = apart.damage("task")
    assert damage.loc[0, "second"] == damage.loc[1, "first"] == 0.0
    sure = apart.specialisation()
    assert abs(sure.bits - 1) < 0.1 and sure.bits > sure.floor
    assert mixed.specialisation().bits < 0.2
    (row,) = apart.dissociations().to_dict("records")
    assert (row["module_a"], row["task_i"], row["module_b"], row["task_j"]) == (
        0, "first", 1, "second",
    )  # fmt: skip
    assert row["more_a"] == damage.loc[0, "first"] > row["low_a"] > 0


def test_dissociations_are_those_of_a_loop_over_all_pairs():
    rng = np.random.default_rng(0)
    k, tasks, damage = 4, 5, rng.normal(size=(4, 5))
    rows = [
        (a, 1, "accuracy", str(i), 1.0, 0.0, damage[a, i], 0.05)
        for a in range(k)
        for i in range(tasks)
    ]
    names = ["module", "units", "measure", "task", "normal", "lesioned", "damage", "se"]
    made = Lesions(ifl.Partition(range(k)), pd.DataFrame(rows, columns=names), 1, ("accuracy",))
    found = made.dissociations(level=0.95)
    from scipy.stats import norm

    width = norm.ppf(1 - 0.025 / (k * 10)) * 0.05 * 2**0.5
    expected = {
        (a, str(i), b, str(j))
        for a, b in combinations(range(k), 2)
        for i in range(tasks)
        for j in range(tasks)
        if damage[a, i] - damage[a, j] > width and damage[b, j] - damage[b, i] > width
    }
    names = ["module_a", "task_i", "module_b", "task_j"]
    assert set(found[names].itertuples(index=False, name=None)) == expected and expected
    assert found[["low_a", "low_b"]].min(axis=1).is_monotonic_decreasing


def test_specialisation_is_mutual_information_and_nothing_where_profiles_are_alike():
    joint = np.array([[0.5, 0.0], [0.0, 0.5]])
    assert _dependence(joint) == pytest.approx(1.0)
    assert _dependence(3 * np.outer([1.0, 2.0], [1.0, 4.0])) == pytest.approx(0.0, abs=1e-12)
    assert _dependence(np.array([[0.5, -7.0], [0.0, 0.5]])) == pytest.approx(1.0)
    assert np.isnan(_dependence(-joint))


def test_errors_say_how_far_estimates_spread_over_samples_and_donors():
    """Values c_k + d_m with all pairs of K contexts and M donors: se² = var c / K + var d / M."""
    rng = np.random.default_rng(0)
    found, estimates, (K, M) = [], [], (60, 20)
    donors = np.repeat(np.arange(M)[:, None], K, 1)
    for _ in range(300):
        values = rng.normal(size=K) + 2 * rng.normal(size=(M, 1)) + rng.normal(size=(M, K))
        found.append(values.mean())
        estimates.append(two_way_se(values, donors) ** 2)
    assert np.var(found) == pytest.approx(1 / K + 4 / M + 1 / (K * M), rel=0.25)
    assert np.mean(estimates) == pytest.approx(np.var(found), rel=0.25)


def test_answers_do_not_depend_on_batches_and_the_model_stays(rec):
    small = ifl.record(
        rec.model, ["1", "4"], rec.inputs[0], rec.targets, loss=cross_entropy, batch_size=7
    )
    random = torch.get_rng_state()
    one, other = (ifl.lesions(r, np.arange(16) % 2, donors=2, seed=1) for r in (rec, small))
    assert torch.equal(random, torch.get_rng_state()) and rec.model.training
    pd.testing.assert_frame_equal(one.table, other.table, rtol=1e-5)


def test_units_may_be_directions():
    x = normal(50, 6)
    rec = ifl.record(mlp(), ["1"], x, basis="pca")
    assert ifl.lesions(rec, [0] * 8).damage("change").to_numpy() == pytest.approx(
        ifl.lesions(ifl.record(mlp(), ["1"], x), [0] * 8).damage("change").to_numpy(), rel=1e-4
    )


def test_saved_lesions_are_the_same(rec, tmp_path):
    found = ifl.lesions(rec, np.arange(16) % 2, donors=2)
    again = ifl.load(found.save(tmp_path / "lesions"))
    pd.testing.assert_frame_equal(again.table, found.table, check_exact=True)
    assert again.partition == found.partition and "accuracy" in repr(again)
    assert again.specialisation("loss") == found.specialisation("loss")


def test_the_figure_shows_the_damage(rec):
    found = ifl.lesions(rec, np.arange(16) % 2, donors=1)
    ax = plot.lesions(found, "change", title="what breaks")
    np.testing.assert_allclose(ax.images[0].get_array(), found.damage("change"))
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0", "1", "2"]


def test_wrong_arguments_are_refused(rec):
    with pytest.raises(ValueError, match="at least 1, got 0"):
        ifl.lesions(rec, [0] * 16, donors=0)
    with pytest.raises(ValueError, match="partition of 16 units"):
        ifl.lesions(rec, [0, 1])
    with pytest.raises(ValueError, match="at least one module"):
        ifl.lesions(rec, [-1] * 16)
    with pytest.raises(ValueError, match=r"task 'mean'.*one finite number"):
        ifl.lesions(rec, [0] * 16, tasks={"mean": lambda out, y: out.mean()})
    with pytest.raises(KeyError, match="unknown measure 'acuracy'; did you mean 'accuracy'"):
        ifl.lesions(rec, [0] * 16, donors=1).damage("acuracy")
