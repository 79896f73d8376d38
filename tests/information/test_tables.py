"""Code tables: what each target's code is under every donor and context."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow.information.binning import fit_unit_bins
from infoflow.information.donors import table_flow
from infoflow.information.tables import code_tables
from infoflow.information.targets import fit_target, normal_codes
from infoflow.measured import Draws

UNITS = Draws(coding="units")


@pytest.fixture(scope="module")
def rec():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 5))
    return ifl.record(net, ["1", "3", "4"], torch.randn(300, 8))


def run(rec, source, donor, context):
    values = rec["1"][donor, source]
    seen = {}
    hooks = [
        rec.model.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: seen.update({name: out})
        )
        for name in ("1", "3", "4")
    ]
    with torch.no_grad(), ifl.do(rec.model, {"1": (source, values)}):
        rec.model(rec.inputs[0][context : context + 1])
    for hook in hooks:
        hook.remove()
    return torch.cat([seen[name][0] for name in ("1", "3", "4")]).numpy()


def test_every_entry_is_the_code_of_that_donor_in_that_context(rec):
    source, units = np.array([0, 1, 2, 5]), np.array([28, 3, 13, 14, 20])
    donors, contexts = np.array([4, 50, 7]), np.array([9, 100])
    table = code_tables(rec, source, [fit_target(rec, units, UNITS)], donors, contexts)[0]
    bins = fit_unit_bins(rec.matrix()[:, units])
    for m, donor in enumerate(donors):
        for k, context in enumerate(contexts):
            values = run(rec, source, donor, context)[None, units].astype(np.float64)
            assert (table.codes[m, k] == bins.encode(values)[0]).all()


def test_targets_read_together_are_coded_as_each_alone(rec):
    source, donors, contexts = np.arange(4), np.arange(20), np.arange(30, 50)
    groups = [np.array([25, 4, 17]), np.array([12, 13]), np.array([6]), np.arange(24, 29)]
    targets = [
        fit_target(rec, groups[0], replace(UNITS, bins=4)),
        fit_target(rec, groups[1]),
        fit_target(rec, groups[2]),
        fit_target(rec, groups[3], UNITS),
        fit_target(rec, groups[1], replace(UNITS, bins="unique")),
    ]
    together = code_tables(rec, source, targets, donors, contexts)
    for target, table in zip(targets, together, strict=True):
        alone = code_tables(rec, source, [target], donors, contexts)[0]
        assert (table.codes == alone.codes).all()
        assert table.n_codes == alone.n_codes
        assert table.out_of_range == pytest.approx(alone.out_of_range)


def test_single_and_double_precision_give_the_same_codes():
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(500, 4)).astype(np.float32)
    normal[:, 1] = np.float32(1) + np.float32(2**-23) * rng.integers(40, size=500)  # neighbours
    normal[:, 2] = np.maximum(normal[:, 2], 0)
    bins = fit_unit_bins(normal)
    other = np.concatenate([normal, rng.permuted(normal, axis=0) * np.float32(1.25)])
    assert (bins.encode(other) == bins.encode(other.astype(np.float64))).all()


def test_bins_are_those_of_each_unit_by_itself_whatever_the_group(rec):
    units = np.array([3, 27, 14])
    together = normal_codes(rec, fit_target(rec, units, UNITS))
    for column, unit in enumerate(units):
        alone = normal_codes(rec, fit_target(rec, np.array([unit])))
        assert (together[:, column] == alone[:, 0]).all()


def test_a_joint_code_is_spent_on_the_units_that_answer_to_the_source(rec):
    source = np.arange(6)
    target = np.concatenate([np.arange(6, 12), np.arange(12, 24)])  # half of it beside the source
    rows, columns = np.arange(60), np.arange(100, 160)
    wide, narrow = code_tables(
        rec,
        source,
        [fit_target(rec, target), fit_target(rec, np.arange(12, 24))],
        rows,
        columns,
    )
    assert set(wide.target.units) <= set(range(12, 24))
    assert len(wide.target.units) >= 8
    bits = [float(table_flow(t.codes, t.n_codes).bits[0]) for t in (wide, narrow)]
    assert bits[0] == pytest.approx(bits[1], rel=0.3)
    assert bits[0] > 0.1


def test_a_joint_target_that_does_not_answer_at_all_keeps_its_code(rec):
    target = fit_target(rec, np.arange(6, 12))
    table = code_tables(rec, np.arange(6), [target], np.arange(5), np.arange(5))[0]
    assert table.target is target
    assert (table.codes == table.codes[:1]).all()


def test_more_unique_codes_than_can_be_counted_are_an_error():
    with pytest.raises(ValueError, match="too many to count"):
        table_flow(np.zeros((300, 2, 1), int), 10**6)
