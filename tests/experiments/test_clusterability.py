"""The clusterability study: what is trained, pruned, cut and shuffled."""

import numpy as np
import pytest
import torch
from torch import nn

from experiments.clusterability import networks
from experiments.clusterability.cuts import cut_of, graph, own_cut_of, shuffled
from experiments.clusterability.page import both_stages
from infoflow.models import isolated_rng


@pytest.mark.parametrize(
    ("kind", "said"), [("mnist", "9.45 9.67"), ("dropout", "9.16 9.77"), ("halves", "9.17 9.75")]
)
def test_the_numbers_that_are_quoted_are_means_over_unpruned_and_pruned_networks(kind, said):
    assert " ".join(f"{value:.2f}" for value in both_stages(kind)) == said


def test_halves_are_two_narrow_digits_and_their_sum():
    x = torch.zeros(10, 784)
    x[:, ::2] = torch.arange(10)[:, None] / 9  # neighbouring columns are averaged
    images, labels = networks.halves(x, torch.arange(10), 50, np.random.default_rng(0))
    assert images.shape == (50, 784)
    left, right = (images.reshape(50, 28, 28)[:, 0, column] * 9 for column in (0, 27))
    assert torch.equal((left + right).round().long() % 10, labels)


def test_sparsity_rises_from_a_half_to_nine_tenths():
    assert networks.sparsity(0, 100) == 0.5
    assert networks.sparsity(100, 100) == 0.9
    assert networks.sparsity(50, 100) == pytest.approx(0.9 - 0.4 / 8)
    weight = torch.tensor([[3.0, -1.0], [0.5, -4.0]])
    assert networks.smallest_out(weight, 0.5).tolist() == [[1, 0], [0, 1]]


def test_pruned_matrices_keep_a_tenth_of_their_weights_the_largest():
    x, y = torch.rand(128, 784), torch.arange(128) % 10
    with isolated_rng(0):
        model = networks.perceptron(0.0)
        networks.fit(model, x, y, 1, prune=True)
    for layer in model:
        if isinstance(layer, nn.Linear):
            assert (layer.weight == 0).double().mean().item() == pytest.approx(0.9, abs=0.001)


def test_shuffling_keeps_the_weights_of_each_layer_and_drops_units_without_links():
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(6, 5)), rng.normal(size=(5, 3))]
    weights[0][2] = 0  # an input that reaches nothing
    dealt = shuffled(weights, rng)
    assert [matrix.shape for matrix in dealt] == [(5, 5), (5, 3)]
    for before, after in zip(weights, dealt, strict=True):
        kept = before[before != 0]
        assert np.allclose(np.sort(after.ravel()), np.sort(kept))
    assert len(graph(weights)) == 13
    assert np.array_equal(graph(weights), graph(weights).T)


@pytest.mark.parametrize("cut", [cut_of, own_cut_of])
def test_blocks_are_cut_for_nothing_and_noise_at_the_price_of_chance(cut):
    rng = np.random.default_rng(0)
    blocks = [np.kron(np.eye(3), rng.random((8, 6))), np.kron(np.eye(3), rng.random((6, 4)))]
    assert cut(graph(blocks) + 1e-9, 0, k=3) < 1e-3
    noise = [1 + 0.1 * rng.random((24, 18)), 1 + 0.1 * rng.random((18, 12))]
    assert cut(graph(noise), 0, k=3) > 1.2
