"""Penalties on modules: against naive sums, and what training with them does."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import infoflow as ifl
from infoflow.checkpoint import load_checkpoint, save_checkpoint
from infoflow.models import mlp
from infoflow.penalties import (
    ModularPenalty,
    SoftModules,
    correlation_links,
    cut,
    hard_members,
    minus_q,
    slope_links,
    weight_links,
    with_penalty,
)
from infoflow.train import TrainConfig, train
from tests.nets import normal

HIDDEN = (6, 4)
PARTITION = ifl.Partition([0, 0, 1, 1, 2, 2, 0, 1, 2, 2])
HARD = hard_members(PARTITION, HIDDEN)


def links_by_hand(graph: np.ndarray) -> np.ndarray:
    """Sum of a graph from each module to each."""
    labels, found = PARTITION.labels, np.zeros((3, 3))
    for i, j in itertools.product(range(len(graph)), repeat=2):
        found[labels[i], labels[j]] += graph[i, j]
    return found


def hidden_of(net: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    first = net.get_submodule("fc1")(x)
    return [first, net.get_submodule("fc2")(first)]


def test_weights_are_summed_from_module_to_module():
    weight = normal(4, 6)
    graph = np.zeros((10, 10))
    graph[:6, 6:] = weight.abs().T.numpy()
    assert weight_links([weight], HARD).numpy() == pytest.approx(links_by_hand(graph), rel=1e-5)


def test_slopes_are_mean_square_derivatives_in_units_of_spread():
    net, x = mlp(5, HIDDEN, 3, seed=0).eval(), normal(8000, 5)
    lower, upper = hidden_of(net, x)
    with torch.no_grad():
        weight = net.get_submodule("fc2").get_parameter("linear.weight")
        jacobian = (upper > 0).float()[:, :, None] * weight  # (samples, upper, lower)
        spread = (upper.var(0) + 1e-3 * upper.var(0).mean())[:, None]
        slopes = jacobian.square().mean(0) * lower.var(0) / spread
    graph = np.zeros((10, 10))
    graph[:6, 6:] = slopes.T.numpy()
    generator = torch.Generator().manual_seed(0)
    found = slope_links([lower, upper], HARD, generator=generator).detach().numpy()
    assert found == pytest.approx(links_by_hand(graph), rel=0.06)


def test_correlations_are_those_of_numpy():
    h = normal(300, 10)
    graph = np.abs(np.corrcoef(h.numpy().T))
    np.fill_diagonal(graph, 0)
    found = correlation_links(list(h.split([6, 4], 1)), HARD).numpy()
    assert found == pytest.approx(links_by_hand(graph), rel=5e-3)


def test_hard_modules_have_the_q_and_the_cut_of_their_partition():
    graph = np.abs(normal(10, 10).numpy())
    graph = graph + graph.T
    np.fill_diagonal(graph, 0)
    links = links_by_hand(graph)
    assert -float(minus_q(torch.tensor(links))) == pytest.approx(ifl.modularity(graph, PARTITION))
    volume = links.sum(1)
    outside = sum((volume[a] - links[a, a]) / volume[a] for a in range(3))
    assert float(cut(torch.tensor(links))) == pytest.approx(outside)


@pytest.mark.parametrize("links", ["weights", "slopes", "correlations"])
@pytest.mark.parametrize("goal", ["cut", "q"])
def test_gradients_are_those_of_finite_differences(links, goal):
    net = mlp(5, HIDDEN, 3, seed=0, activation=nn.Tanh).double().eval()
    x, soft = normal(20, 5).double(), SoftModules(HIDDEN, 2, seed=1).double()
    penalty = ModularPenalty(2.0, links=links, goal=goal)
    weight = net.get_submodule("fc2").get_parameter("linear.weight")

    def value() -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return penalty([weight], hidden_of(net, x), soft(), generator=generator)

    # variances are taken as given by the slopes, so only directions that keep them are compared
    asked = [soft.logits] if links == "slopes" else [soft.logits, weight]
    for parameter, gradient in zip(asked, torch.autograd.grad(value(), asked), strict=True):
        along = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)).double()
        with torch.no_grad():
            parameter += 1e-5 * along
            up = value_without_graph(value)
            parameter -= 2e-5 * along
            down = value_without_graph(value)
            parameter += 1e-5 * along
        assert float((gradient * along).sum()) == pytest.approx((up - down) / 2e-5, rel=1e-4)


def value_without_graph(value) -> float:
    with torch.enable_grad():
        return float(value().detach())


def test_learnt_modules_find_planted_ones():
    weight = 0.01 + torch.block_diag(torch.ones(4, 4), torch.ones(4, 4))
    soft = SoftModules((8, 8), 2, seed=0)
    optimiser = torch.optim.Adam(soft.parameters(), lr=0.1)
    for _ in range(60):
        optimiser.zero_grad()
        ModularPenalty(1.0, goal="q")([weight], [], soft()).backward()
        optimiser.step()
    assert soft.partition == ifl.Partition([0] * 4 + [1] * 4 + [0] * 4 + [1] * 4)


@pytest.fixture(scope="module")
def small(digits):
    return replace(digits, train_x=digits.train_x[:400], train_y=digits.train_y[:400])


@pytest.mark.parametrize("links", ["weights", "slopes", "correlations"])
def test_training_with_the_penalty_cuts_its_links(small, links):
    config = TrainConfig(hidden=(8, 8), max_epochs=12, lr=5e-3, batch_size=50)
    found = []
    for strength in (0.0, 1.0):
        modular = ModularPenalty(strength, links=links)
        model = train(replace(config, modular=modular), small).model
        generator = torch.Generator().manual_seed(0)
        judge = replace(modular, strength=1.0)
        found.append(float(with_penalty(model, judge, small.train_x, generator)[1].detach()))
    assert found[1] < 0.8 * found[0]


def test_a_penalty_of_no_strength_changes_nothing(small):
    config = TrainConfig(hidden=(8, 8), max_epochs=2)
    one, other = (
        train(replace(config, modular=modular), small) for modular in (None, ModularPenalty(0.0))
    )
    for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert one.history == other.history


def test_checkpoints_keep_the_penalty(small, tmp_path):
    config = TrainConfig(hidden=(6, 6), max_epochs=1, modular=ModularPenalty(0.3, 3, "slopes", "q"))
    result = train(config, small)
    save_checkpoint(result, tmp_path / "net")
    assert load_checkpoint(tmp_path / "net").config == config


def test_it_is_a_term_of_anybody_s_loss():
    torch.manual_seed(0)
    net, x = mlp(5, HIDDEN, 3, seed=0), normal(60, 5)
    y = x[:, :3].argmax(1)
    soft, penalty = SoftModules(HIDDEN, 2), ModularPenalty(0.5, links="slopes")
    optimiser = torch.optim.Adam([*net.parameters(), *soft.parameters()], lr=0.02)
    before = soft.logits.detach().clone()
    for _ in range(5):
        optimiser.zero_grad()
        hidden = hidden_of(net, x)
        loss = cross_entropy(net.get_submodule("out")(hidden[1]), y) + penalty([], hidden, soft())
        loss.backward()
        optimiser.step()
    assert not torch.equal(before, soft.logits)


def test_what_cannot_be_is_refused():
    for wrong, said in (
        ({"strength": -1.0}, "strength: expected a finite weight"),
        ({"strength": 1.0, "n_modules": 1}, "n_modules: expected at least 2"),
        ({"strength": 1.0, "links": "slope"}, "unknown links 'slope'; did you mean 'slopes'"),
        ({"strength": 1.0, "goal": "Q"}, "unknown goal 'Q'"),
    ):
        with pytest.raises(ValueError, match=said):
            ModularPenalty(**wrong)
    with pytest.raises(ValueError, match="expected 3 units a layer or more"):
        TrainConfig(hidden=(8, 2), modular=ModularPenalty(1.0, 3))
    with pytest.raises(ValueError, match="memberships of each of 2 layers"):
        weight_links([normal(4, 6)], HARD[:1])
