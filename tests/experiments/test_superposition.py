"""Toy models of superposition: what training gives, and that groups are directions, not neurons."""

import numpy as np
import pytest
import torch

import infoflow as ifl
from experiments.recovery import superposition as sp


def test_training_finds_the_antipodal_pairs_of_the_paper():
    """Four sparse features in two dimensions: two pairs, half a dimension for each feature."""
    weight, _ = sp.train_toy(sp.Toy(4, 2, density=0.1, together=1.0, steps=600, batch=256), 0)
    torch.testing.assert_close(sp.dimensionality(weight), torch.full((4,), 0.5), atol=0.05, rtol=0)
    angles = torch.nn.functional.normalize(weight, dim=0)
    nearest = (angles.T @ angles).min(1).values
    assert (nearest < -0.95).all()


def test_features_of_a_group_come_together_and_are_as_sparse_as_they_should():
    toy = sp.Toy(features=10, density=0.1, together=0.2)
    there = (sp.draw(toy, 20_000, torch.Generator().manual_seed(0)) > 0).double()
    assert there.mean().item() == pytest.approx(0.1, abs=0.01)
    both = (there[:, 0] * there[:, 1]).mean().item()
    assert both == pytest.approx(0.2 * 0.5**2, abs=0.01)  # 0.01 if they came independently


def test_both_recordings_are_of_one_network():
    basis, neurons = (sp.build(f"superposition-{how}-1") for how in ("basis", "neurons"))
    torch.testing.assert_close(basis.model(basis.inputs), neurons.model(neurons.inputs))
    assert set(neurons.labels[:12]) == {-1}
    with pytest.raises(ValueError, match="superposition-basis-0"):
        sp.build("superposition-neurons-99")


def test_groups_send_each_other_nothing_along_their_directions_but_all_neurons_send_to_both():
    known = sp.build("superposition-basis-0")
    flow = ifl.unit_flow(known.record(), given_context=True, donors=20, contexts=20)
    across = np.asarray(flow)[:12, 12:][known.labels[:12, None] != known.labels[None, 12:]]
    assert across.max() < 1e-9
    neurons = sp.build("superposition-neurons-0").record()
    sent = np.asarray(ifl.unit_flow(neurons, given_context=True, donors=20, contexts=20))[:12, 12:]
    assert (sent[:, :15].sum(1) > 0.3).all()
    assert (sent[:, 15:].sum(1) > 0.3).all()
