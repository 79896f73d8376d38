"""What a source is set to: which rows are drawn, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import infoflow as ifl
from infoflow.forcing import Forcing
from infoflow.information.blocks import blocks
from infoflow.measured import Draws

EXACT = {"donors": "all", "contexts": "all", "bins": "unique", "correction": "none"}


@pytest.fixture(scope="module")
def rec():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 4))
    return ifl.record(net, ["0", "2"], torch.randn(60, 3), torch.arange(60) % 3)


def test_by_default_the_rows_are_those_that_draws_gives(rec):
    draws = Draws(20, 10, seed=4)
    (block,) = blocks(rec, draws)
    donors, contexts = draws.rows(len(rec))
    assert block.donors.tolist() == donors.tolist()
    assert block.contexts.tolist() == contexts.tolist()
    assert (block.share, block.weights, block.values) == (1.0, None, None)


def test_within_targets_donors_and_contexts_are_of_one_class_and_shares_those_of_the_data(rec):
    found = blocks(rec, Draws(30, 12, do=Forcing(within="targets")))
    classes = rec.targets.numpy()
    for label, block in enumerate(found):
        assert set(classes[block.donors]) == set(classes[block.contexts]) == {label}
        assert (len(block.donors), len(block.contexts)) == (10, 4)
    assert sum(block.share for block in found) == pytest.approx(1)


def test_only_one_class_donates_to_all_contexts(rec):
    (block,) = blocks(rec, Draws(50, "all", do=Forcing(within="targets", only=1)))
    assert (rec.targets.numpy()[block.donors] == 1).all() and len(block.donors) == 20
    assert len(block.contexts) == 60


@pytest.mark.parametrize("source", [[0], [0, 1, 2]])
def test_uniform_donors_have_each_code_as_often(rec, source):
    source = np.array(source)
    draws = Draws("all", 10, 4, do="uniform")
    (block,) = blocks(rec, draws, source)
    from infoflow.information.targets import fit_target, normal_codes

    codes = normal_codes(rec, fit_target(rec, source, draws))[:, 0]
    each = np.bincount(codes, block.weights)
    assert each[each > 0] == pytest.approx(np.full((each > 0).sum(), 1 / (each > 0).sum()))
    some, rng = replace(draws, donors=60), np.random.default_rng(1)
    drawn = [blocks(rec, some, source, rng)[0].donors for _ in range(50)]
    share = np.bincount(codes[np.concatenate(drawn)]) / 3000
    assert share == pytest.approx(each, abs=0.03)


def test_a_sampler_gives_rows_or_values_and_values_reach_the_network(rec):
    source = np.array([1, 3])
    rows = lambda rec, units, count, rng: rng.integers(len(rec), size=count)  # noqa: E731
    (block,) = blocks(rec, Draws(20, 10, do=rows), source)
    assert len(block.donors) == 20 and block.values is None
    copied = lambda rec, units, count, rng: rec.matrix()[:, units]  # noqa: E731
    plain = ifl.flow(rec, source, {"2": [0, 1]}, **EXACT)
    given = ifl.flow(rec, source, {"2": [0, 1]}, do=copied, **EXACT)
    assert given.bits == pytest.approx(plain.bits, abs=1e-9)
    assert given.bits_given_context == pytest.approx(plain.bits_given_context, abs=1e-9)


def test_values_of_a_source_that_spans_layers_go_to_the_right_units(rec):
    source = rec.units.flat({"2": [2, 0], "0": [4]})
    given = np.arange(6.0).reshape(2, 3)
    (block,) = blocks(rec, Draws(2, 2, do=lambda *_: given), source)
    assert block.values["2"][:, [2, 0]].tolist() == given[:, :2].tolist()
    assert block.values["0"][:, 4].tolist() == given[:, 2].tolist()


def test_more_values_than_samples_may_be_put_in(rec):
    many = lambda rec, units, count, rng: np.linspace(-1, 1, 100)[:, None]  # noqa: E731
    found = ifl.flow(rec, [0], {"2": [0]}, do=many, contexts=10)
    assert found.n_donors == 100 and found.bits_given_context > 0


@pytest.mark.parametrize(
    ("do", "message"),
    [
        (lambda *_: np.array([0, 99]), "rows of the 60 samples"),
        (lambda *_: np.zeros((5, 2)), r"values of shape \(M, 1\)"),
        (lambda *_: np.full((5, 1), np.nan), "finite values"),
        (Forcing(within=[0, 1]), "expected 60 labels"),
        (Forcing(within=[0] * 59 + [1]), "at least 2 samples of class 1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(rec, do, message):
    with pytest.raises(ValueError, match=message):
        ifl.flow(rec, [0], {"2": [0]}, donors=10, contexts=10, do=do)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Forcing("unifrom"), "did you mean 'uniform'"),
        (lambda: Forcing(marginal="obs"), "unknown marginal"),
        (lambda: Forcing(only=1), "say of which labels"),
        (lambda: Forcing(within=[0, 1], only=2), "label that occurs"),
        (lambda: Forcing(print, within="targets"), "leave out within="),
        (lambda: Forcing("capacity", marginal="observed"), "leave out marginal="),
    ],
)
def test_combinations_without_a_meaning_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("do", ["capacity", Forcing(marginal="observed")])
def test_a_null_that_is_not_derived_is_refused(rec, do):
    with pytest.raises(ValueError, match="leave out n_null"):
        ifl.flow(rec, [0], {"2": [0]}, n_null=9, do=do)


def test_capacity_is_no_less_than_what_the_same_donors_send_alike(rec):
    source, target = {"0": [0, 1]}, {"2": [0, 1, 2, 3]}
    plain = ifl.flow(rec, source, target, **EXACT)
    best = ifl.flow(rec, source, target, do="capacity", **EXACT)
    assert best.bits > plain.bits
    assert best.bits_given_context >= plain.bits_given_context - 1e-9


def test_a_flow_says_what_was_put_in_and_its_row_has_the_direct_bits(rec):
    found = ifl.flow(rec, [0], {"2": [0]}, do="uniform", direct=True, contexts=20)
    assert "do=uniform" in repr(found)
    row = found.to_frame().iloc[0]
    assert row["do"] == "uniform"
    assert row["direct_bits"] == found.direct.bits


def test_direct_equals_total_where_nothing_lies_between(rec):
    found = ifl.flow(rec, {"0": [0, 1]}, {"2": [0, 1]}, direct=True, **EXACT)
    assert found.direct.bits == pytest.approx(found.bits, abs=1e-9)


def test_within_classes_a_null_is_that_of_the_averaged_flow(rec):
    found = ifl.flow(
        rec, {"0": [0, 1]}, {"2": [0]}, n_null=19, do=Forcing(within="targets"), donors=30
    )
    assert 0 < found.p_value <= 1 and np.isfinite(found.z)
