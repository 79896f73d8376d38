"""Penalties for training: of weights, and of what units of different modules have in common.

A penalty on modules reads a matrix of links between modules, `(k, k)`, and takes its cut or its Q.
The links come from weights, from slopes (a stand-in for the unit flows that can be differentiated),
or from correlations; the modules are given, or learnt along with the network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from infoflow.partition import Partition
from infoflow.units import UnknownName, unknown_name

Links = Literal["weights", "slopes", "correlations"]
Goal = Literal["cut", "q"]


def penalty(matrices: Sequence[Tensor], l1: float, l2: float) -> Tensor:
    """l1 Σ|W| + l2 ΣW² over the weight matrices (Lange et al. 2022, table 1).

    Examples:
        >>> float(penalty([torch.tensor([[1.0, -2.0]])], l1=10.0, l2=1.0))
        35.0
    """
    terms = [l2 * w.square().sum() for w in matrices] if l2 else []
    terms += [l1 * w.abs().sum() for w in matrices] if l1 else []
    return torch.stack(terms).sum() if terms else matrices[0].new_zeros(())


def weight_links(weights: Sequence[Tensor], members: Sequence[Tensor]) -> Tensor:
    """Σ|w| from each module to each other: Σ_layers P_lᵀ |W_l|ᵀ P_{l+1}.

    Args:
        weights: `(units of layer l + 1, units of layer l)` between consecutive layers.
        members: `(units, k)` of each layer: rows sum to 1, how far each unit is in each
            module.

    Returns:
        `(k, k)`; `[a, b]` from module a to b.

    Examples:
        >>> halves = torch.eye(2)
        >>> weight_links([torch.tensor([[1.0, -3.0], [0.0, 2.0]])], [halves, halves]).tolist()
        [[1.0, 0.0], [3.0, 2.0]]
    """
    _check(len(weights) + 1, members)
    pairs = zip(weights, pairwise(members), strict=True)
    return torch.stack([a.T @ w.abs().T @ b for w, (a, b) in pairs]).sum(0)


def slope_links(
    activations: Sequence[Tensor],
    members: Sequence[Tensor],
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Mean square slopes from each module to each other, between consecutive layers.

    The slope of unit j along unit i of the layer before, ∂h_j/∂h_i · sd(h_i) / sd(h_j): how much j
    moves if i does, both in their own spread; its square stands for the flow from i to j, which has
    no derivative. One random direction a sample and module estimates the sum over a module's units
    without bias, at the cost of one backward pass each.

    Args:
        activations: `(batch, units)` of each layer, with their graph from layer to layer.
        members: As for `weight_links`.
        generator: Of the directions; None: the global one.

    Returns:
        `(k, k)`; `[a, b]` from module a to b.

    Raises:
        RuntimeError: A layer does not depend on the one before (torch's own text).

    Examples:
        >>> h = torch.randn(500, 2, requires_grad=True)
        >>> links = slope_links([h, h * torch.tensor([2.0, 3.0])], [torch.eye(2)] * 2)
        >>> links.round(decimals=2).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    _check(len(activations), members)
    total = []
    for (lower, upper), (a, b) in zip(pairwise(activations), pairwise(members), strict=True):
        sizes = [h.detach().var(0) for h in (lower, upper)]
        floor = 1e-3 * sizes[1].mean() + 1e-12  # a unit that hardly moves has no slope to speak of
        signs = torch.randint(
            2, upper.shape, generator=generator, device=upper.device, dtype=upper.dtype
        )
        signs = (2 * signs - 1) / (sizes[1] + floor).sqrt()
        found = []
        for column in b.unbind(1):
            along = (upper * signs * column.sqrt()).sum()
            (slope,) = torch.autograd.grad(along, lower, create_graph=True)
            found.append(a.T @ (slope.square().mean(0) * sizes[0]))
        total.append(torch.stack(found, 1))
    return torch.stack(total).sum(0)


def correlation_links(activations: Sequence[Tensor], members: Sequence[Tensor]) -> Tensor:
    """Σ|correlation| of the units of each two modules, over all layers together (`cov_norm`).

    Args:
        activations: `(batch, units)` of each layer.
        members: As for `weight_links`.

    Returns:
        `(k, k)`, symmetric; a unit with itself is left out.

    Examples:
        >>> h = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, -1.0]])
        >>> correlation_links([h], [torch.eye(2)]).round(decimals=2).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    _check(len(activations), members)
    h, all_members = torch.cat(list(activations), 1), torch.cat(list(members))
    h = h - h.mean(0)
    length = h.square().sum(0)
    h = h / (length + 1e-3 * length.mean() + 1e-12).sqrt()
    similar = (h.T @ h).abs()
    return all_members.T @ (similar - torch.diag(similar.diagonal())) @ all_members


def cut(links: Tensor) -> Tensor:
    """Normalised cut of `(k, k)` links (Shi and Malik 2000): Σ_a links of a to others ÷ links of a;
    0 for modules that share nothing, at most k, and k - 1 for links that ignore the modules.

    Examples:
        >>> float(cut(torch.eye(2))), float(cut(torch.ones(2, 2)))
        (0.0, 1.0)
    """
    both = links + links.T
    volume = both.sum(1)
    return (1 - both.diagonal() / volume.clamp_min(1e-12)).sum()


def minus_q(links: Tensor) -> Tensor:
    """-Q of `(k, k)` links (Lange et al. 2022, eq. 6), for modules that may be soft.

    Examples:
        >>> float(minus_q(torch.eye(2))), float(minus_q(torch.ones(2, 2)))
        (-0.5, 0.0)
    """
    both = (links + links.T) / (2 * links.sum()).clamp_min(1e-12)
    return both.sum(1).square().sum() - both.diagonal().sum()


_GOALS: dict[Goal, Callable[[Tensor], Tensor]] = {"cut": cut, "q": minus_q}


@dataclass(frozen=True)
class ModularPenalty:
    """A penalty on what is shared by modules: strength × (cut or -Q of the links between them).

    Attributes:
        strength: Its weight in the loss, which is in nats.
        n_modules: Modules.
        links: "weights": Σ|w| between consecutive layers. "slopes": mean square slopes, a stand-in
            for the unit flows. "correlations": of the activations, also within a layer.
        goal: "cut": normalised cut. "q": -Q. With modules that are learnt Q is the safe one: a
            normalised cut is also small where one pair of units has only each other.

    Raises:
        ValueError: A strength below 0, fewer than two modules, or an unknown name.

    Examples:
        >>> ModularPenalty(0.1).partition((4, 2)).labels.tolist()
        [0, 0, 1, 1, 0, 1]
    """

    strength: float
    n_modules: int = 2
    links: Links = "weights"
    goal: Goal = "cut"

    def __post_init__(self) -> None:
        strength, k = self.strength, self.n_modules
        number = isinstance(strength, (int, float)) and not isinstance(strength, bool)
        if not number or not 0 <= strength < float("inf"):
            raise ValueError(f"strength: expected a finite weight >= 0, got {strength!r}")
        if isinstance(k, bool) or not isinstance(k, int) or k < 2:
            raise ValueError(f"n_modules: expected at least 2, got {k!r}")
        for what, name, known in (("links", self.links, Links), ("goal", self.goal, Goal)):
            if name not in get_args(known):
                raise UnknownName(unknown_name(what, name, get_args(known)))

    def partition(self, hidden: Sequence[int]) -> Partition:
        """The modules where they are given: of every layer equal shares, in the order of units.

        Raises:
            ValueError: A layer with fewer units than modules.
        """
        if min(hidden) < self.n_modules:
            raise ValueError(f"expected {self.n_modules} units a layer or more, got {hidden}")
        return Partition(np.concatenate([np.arange(n) * self.n_modules // n for n in hidden]))

    def __call__(
        self,
        weights: Sequence[Tensor],
        activations: Sequence[Tensor],
        members: Sequence[Tensor],
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """strength × goal(links), to be added to the loss.

        Args:
            weights: Weight matrices between consecutive layers (for "weights").
            activations: `(batch, units)` of each layer on a batch (for the others).
            members: `(units, k)` of each layer, as `SoftModules` or `hard_members` give them.
            generator: Of the random directions of "slopes".
        """
        if self.links == "weights":
            found = weight_links(weights, members)
        elif self.links == "slopes":
            found = slope_links(activations, members, generator=generator)
        else:
            found = correlation_links(activations, members)
        return self.strength * _GOALS[self.goal](found)


def hard_members(partition: Partition, hidden: Sequence[int]) -> list[Tensor]:
    """`(units, k)` of each layer, one where a unit is in a module; zeros for unused units.

    Examples:
        >>> [m.tolist() for m in hard_members(Partition([0, 1, 1]), (2, 1))]
        [[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0]]]
    """
    labels = torch.as_tensor(partition.labels.copy())
    one_hot = (labels[:, None] == torch.arange(partition.n_modules)).float()
    return list(one_hot.split(list(hidden)))


def with_penalty(
    model: nn.Module,
    modular: ModularPenalty | None,
    x: Tensor,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Outputs of a perceptron as `infoflow.models.mlp` makes it, and its modular penalty on these
    samples, where the modules are given."""
    if modular is None:
        return model(x), x.new_zeros(())
    *hidden, out = model.children()
    activations = [x]
    for layer in hidden:
        activations.append(layer(activations[-1]))
    sizes = [h.shape[1] for h in activations[1:]]
    members = [m.to(x.device) for m in hard_members(modular.partition(sizes), sizes)]
    weights = [layer.get_parameter("linear.weight") for layer in hidden[1:]]
    shared = modular(weights, activations[1:], members, generator=generator)
    return out(activations[-1]), shared


class SoftModules(nn.Module):
    """Modules that are learnt along with a network: how far each unit belongs to each.

    Its parameters go to the optimiser with the network's; calling it gives `(units, k)` for each
    layer, the softmax of the parameters.

    Args:
        hidden: Units of each layer.
        n_modules: k.
        seed: Of the first values, which are nearly undecided.

    Examples:
        >>> modules = SoftModules((4, 2), 2)
        >>> [m.shape for m in modules()], len(modules.partition)
        ([torch.Size([4, 2]), torch.Size([2, 2])], 6)
    """

    def __init__(self, hidden: Sequence[int], n_modules: int, *, seed: int = 0) -> None:
        super().__init__()
        self.hidden = tuple(hidden)
        generator = torch.Generator().manual_seed(seed)
        start = 0.1 * torch.randn(sum(self.hidden), n_modules, generator=generator)
        self.logits = nn.Parameter(start)

    def forward(self) -> list[Tensor]:
        """`(units, k)` of each layer."""
        return list(self.logits.softmax(1).split(list(self.hidden)))

    @property
    def partition(self) -> Partition:
        """Each unit in the module it belongs to most."""
        return Partition(self.logits.detach().argmax(1).cpu().numpy())


def _check(layers: int, members: Sequence[Tensor]) -> None:
    if layers != len(members) or len(members) < 1:
        raise ValueError(
            f"expected memberships of each of {layers} layers, got those of {len(members)}"
        )
