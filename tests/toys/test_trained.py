"""Trained toys learn their task, the same way for the same seed, and mean what they say."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import infoflow as ifl
from infoflow.toys import TRAINED, train_toy
from infoflow.toys.trained import (
    ducks_and_shadows,
    heads_cross_entropy,
    modular_addition,
    retina,
    sum_and_product,
)


@pytest.mark.parametrize("name", list(TRAINED))
def test_toy_learns_its_task_and_can_be_recorded(name):
    toy = train_toy(name)
    assert min(toy.accuracy) > 0.97
    rec = toy.record()
    assert rec.loss is not None and rec.units.layers == toy.layers
    assert float(rec.loss(rec.outputs, toy.targets)) < 0.1 * len(toy.accuracy)


def test_same_seed_gives_the_same_weights_whatever_the_global_generator():
    one = retina(3)
    torch.rand(5)
    before = torch.get_rng_state()
    other = retina(3)
    assert torch.equal(before, torch.get_rng_state())
    pairs = zip(one.model.parameters(), other.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(next(one.model.parameters()), next(retina(4).model.parameters()))


@pytest.fixture(scope="module")
def ducks():
    return ducks_and_shadows(0)


def test_learned_ducks_and_shadows_share_information_but_send_none(ducks):
    first, second = ducks.planted.modules
    for a, b in [(first, second), (second, first)]:
        found = ifl.flow(ducks.record(), a, b, donors=50, contexts=50)
        assert (found.bits, found.bits_given_context) == (0, 0)
        assert found.observational_bits > 0.2


def test_pictures_agree_as_often_as_asked():
    free = ducks_and_shadows(1, separate=False, agreement=0.9)
    share = (free.inputs[:, :6] == free.inputs[:, 6:]).double().mean()
    assert abs(float(share) - 0.9) < 4 * np.sqrt(0.9 * 0.1 / free.inputs[:, :6].numel())
    assert free.planted is None


def test_retina_has_the_eight_objects_of_kashtan_and_alon_on_each_side():
    toy = retina(0, goal="both")
    left, right = toy.targets.bool().T
    pixels = toy.inputs > 0
    assert len(pixels[left, :4].unique(dim=0)) == len(pixels[right, 4:].unique(dim=0)) == 8
    # one dot in the left column is an object on the left and none on the right
    dot = (pixels.sum(1) == 1) & pixels[:, 0]
    assert left[dot].all()
    dot = (pixels.sum(1) == 1) & pixels[:, 4]
    assert not right[dot].any()
    three = pixels[:, 4:].sum(1) >= 3
    assert right[three].all()


def test_retina_goals_combine_the_two_sides():
    left, right = retina(0, goal="both").targets.T
    assert torch.equal(retina(0, goal="and").targets[:, 0], left & right)
    assert torch.equal(retina(0, goal="or").targets[:, 0], left | right)


def test_arithmetic_targets_are_right_for_every_pair():
    added, both = modular_addition(modulus=3), sum_and_product(modulus=4)
    for row, (a, b) in enumerate(itertools.product(range(3), repeat=2)):
        assert added.inputs[row].nonzero().ravel().tolist() == [a, 3 + b]
        assert added.targets[row].tolist() == [(a + b) % 3]
    for row, (a, b) in enumerate(itertools.product(range(4), repeat=2)):
        assert both.targets[row].tolist() == [(a + b) % 4, a * b % 4]


def test_heads_cross_entropy_is_the_sum_over_heads():
    outputs = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[0, 2], [1, 1], [2, 0], [0, 0], [1, 2]])
    by_head = [cross_entropy(outputs[:, 3 * h : 3 * h + 3], targets[:, h]) for h in range(2)]
    torch.testing.assert_close(heads_cross_entropy(outputs, targets), sum(by_head))


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="unknown goal 'xor'"):
        retina(goal="xor")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="modulus of at least 2, got 1"):
        modular_addition(modulus=1)
    with pytest.raises(ValueError, match=r"agreement: expected .* at most 1, got 2"):
        ducks_and_shadows(agreement=2)
    with pytest.raises(KeyError, match="did you mean 'retina'"):
        train_toy("retna")
