"""Small networks that learn their task in seconds, for experiments on modules nobody wired.

The same seed gives the same weights on one machine; global random state is left as it was.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from infoflow._arguments import COUNT, door, flag, real
from infoflow.models import isolated_rng, mlp
from infoflow.partition import Partition
from infoflow.recording import Recording, record
from infoflow.toys.system import listed, named
from infoflow.units import UnknownName, unknown_name

_GOOD_ENOUGH = 0.01  # nats per sample and head: every label is then given 0.99 on average


@dataclass(frozen=True, eq=False)
class TrainedToy:
    """A network trained on a small task, ready to be recorded.

    Attributes:
        name, description: Short name; the task in a sentence.
        model: The trained network, in evaluation mode.
        inputs: `(K, d)` what it was trained on: all inputs there are, or a sample.
        targets: `(K, heads)` class of each head.
        layers: The hidden layers.
        accuracy: `(heads,)` share of the inputs classified correctly.
        planted: Modules built into the network, or None where it was free to find its own.
    """

    name: str
    description: str
    model: nn.Module
    inputs: Tensor
    targets: Tensor
    layers: tuple[str, ...]
    accuracy: tuple[float, ...]
    planted: Partition | None

    def record(self) -> Recording:
        """The network run once over its inputs, with targets and loss."""
        return record(self.model, self.layers, self.inputs, self.targets, loss=heads_cross_entropy)

    def __repr__(self) -> str:
        accuracy = ", ".join(f"{a:.3f}" for a in self.accuracy)
        return f"TrainedToy({self.name}: {self.description}; accuracy {accuracy})"


def heads_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in nats, mean over samples, summed over heads of equally many classes.

    Args:
        outputs: `(K, heads * classes)` logits.
        targets: `(K, heads)` classes.

    Examples:
        >>> loss = heads_cross_entropy(torch.zeros(3, 4), torch.zeros(3, 2, dtype=torch.long))
        >>> round(float(loss), 4)  # two heads of two equally likely classes: 2 ln 2
        1.3863
    """
    heads = targets.shape[1]
    logits = outputs.reshape(len(outputs) * heads, -1)
    return heads * nn.functional.cross_entropy(logits, targets.reshape(-1))


class Tracks(nn.Module):
    """Side by side: the first half of the input features to one layer, the rest to another."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, x: Tensor) -> Tensor:
        half = x.shape[1] // 2
        return torch.cat([self.first(x[:, :half]), self.second(x[:, half:])], 1)


@door(width=COUNT, separate=flag, agreement=real(0, 1))
def ducks_and_shadows(
    seed: int = 0, *, width: int = 8, separate: bool = True, agreement: float = 0.8
) -> TrainedToy:
    """Count the ducks in one picture and the shadows in the other, where most ducks cast one.

    Two pictures of 6 pixels; a pixel of the second agrees with that of the first with probability
    `agreement`. Two heads give the number of bright pixels in each. The pictures share
    information; between the two tracks nothing flows.

    Args:
        seed: Of the pictures and the initial weights.
        width: Hidden units per layer and track.
        separate: True: two tracks without a weight between them, the planted modules. False: a
            dense network of the same size, which may mix them.
        agreement: 0.5: independent pictures; 1: the same picture twice.

    Raises:
        ValueError: An agreement outside [0, 1].
    """
    rng = np.random.default_rng(seed)
    ducks = rng.integers(0, 2, (1000, 6))
    shadows = np.where(rng.random(ducks.shape) < agreement, ducks, 1 - ducks)
    with isolated_rng(seed):
        model = _two_tracks(6, width, 7) if separate else mlp(12, (2 * width, 2 * width), 14)
    return _trained(
        "ducks_and_shadows",
        "count two pictures that agree, " + ("on two tracks" if separate else "in one network"),
        model,
        torch.tensor(np.concatenate([ducks, shadows], 1), dtype=torch.float32),
        torch.tensor(np.stack([ducks.sum(1), shadows.sum(1)], 1)),
        planted=Partition(([0] * width + [1] * width) * 2) if separate else None,
    )


def retina(
    seed: int = 0,
    *,
    goal: Literal["and", "or", "both"] = "and",
    hidden: Sequence[int] = (16, 8),
) -> TrainedToy:
    """The retina task of Kashtan and Alon (2005): objects on the left and right of 8 pixels.

    Each side has two columns of two pixels. There is a left object if at least three of its pixels
    are on, or one or two and these in the left column only; a right object likewise with the right
    column. All 256 pictures.

    Args:
        seed: Of the initial weights.
        goal: "and": is there an object on both sides; "or": on any; "both": a head for each side.
        hidden: Units of each hidden layer.

    Raises:
        ValueError: Unknown goal.

    Source: N. Kashtan and U. Alon, Spontaneous evolution of modularity and network motifs, PNAS
    102 (2005).
    """
    if goal not in ("and", "or", "both"):
        raise UnknownName(unknown_name("goal", goal, ("and", "or", "both")))
    pictures, left, right = retina_pictures()
    asked = {"and": [left & right], "or": [left | right], "both": [left, right]}[goal]
    targets = torch.stack(asked, 1).long()
    model = mlp(8, tuple(hidden), 2 * len(asked), seed=seed)
    return _trained("retina", f"objects left and right: {goal}", model, pictures, targets)


def retina_pictures() -> tuple[Tensor, Tensor, Tensor]:
    """All pictures of the retina task, `(256, 8)` of -1 and 1, left pixels first; and `(256,)` bool
    each, whether there is an object on the left, and on the right."""
    pixels = listed(*[[0, 1]] * 8)
    left = _is_object(pixels[:, :4], outer=[0, 1])
    return 2 * pixels - 1, left, _is_object(pixels[:, 4:], outer=[2, 3])


def modular_addition(
    seed: int = 0, *, modulus: int = 7, hidden: Sequence[int] = (32,)
) -> TrainedToy:
    """a + b modulo a small number, both one-hot; all pairs.

    Raises:
        ValueError: A modulus below 2.
    """
    inputs, a, b = _number_pairs(modulus)
    model = mlp(2 * modulus, tuple(hidden), modulus, seed=seed)
    targets = ((a + b) % modulus)[:, None]
    return _trained("modular_addition", f"a + b mod {modulus}", model, inputs, targets)


def sum_and_product(
    seed: int = 0, *, modulus: int = 5, hidden: Sequence[int] = (32, 16)
) -> TrainedToy:
    """a + b and a · b modulo a small number on two heads, a and b one-hot; all pairs.

    Raises:
        ValueError: A modulus below 2.
    """
    inputs, a, b = _number_pairs(modulus)
    targets = torch.stack([(a + b) % modulus, (a * b) % modulus], 1)
    model = mlp(2 * modulus, tuple(hidden), 2 * modulus, seed=seed)
    return _trained("sum_and_product", f"a + b and a · b mod {modulus}", model, inputs, targets)


TRAINED: dict[str, Callable[[int], TrainedToy]] = {
    "ducks_and_shadows": ducks_and_shadows,
    "retina": retina,
    "modular_addition": modular_addition,
    "sum_and_product": sum_and_product,
}
"""The tasks by name; each takes a seed."""


@door()
def train_toy(name: str, seed: int = 0) -> TrainedToy:
    """The task of that name, learned with its default settings.

    Raises:
        UnknownName: No such task; near misses are named.

    Examples:
        >>> train_toy("modular_addition")
        TrainedToy(modular_addition: a + b mod 7; accuracy 1.000)
    """
    return named(TRAINED, "trained toy", name)(seed)


def _trained(
    name: str,
    description: str,
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    planted: Partition | None = None,
) -> TrainedToy:
    _fit(model, inputs, targets)
    with torch.no_grad():
        logits = model(inputs).reshape(*targets.shape, -1)
    right = (logits.argmax(2) == targets).double().mean(0)
    layers = tuple(child for child, _ in model.named_children() if child != "out")
    return TrainedToy(
        name, description, model, inputs, targets, layers, tuple(right.tolist()), planted
    )


def _fit(model: nn.Module, inputs: Tensor, targets: Tensor, *, steps: int = 3000) -> None:
    """Adam on the whole data at once (no batches, no order to draw) until the loss is small."""
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    model.train()
    with torch.enable_grad():
        for _ in range(steps):
            optimiser.zero_grad(set_to_none=True)
            loss = heads_cross_entropy(model(inputs), targets)
            if loss.item() < _GOOD_ENOUGH * targets.shape[1]:
                break
            loss.backward()
            optimiser.step()
    model.eval().zero_grad(set_to_none=True)


def _two_tracks(d: int, width: int, n_classes: int) -> nn.Sequential:
    def layer(fan_in: int, fan_out: int) -> Tracks:
        return Tracks(nn.Linear(fan_in, fan_out), nn.Linear(fan_in, fan_out))

    model = nn.Sequential()
    model.add_module("fc1", nn.Sequential(layer(d, width), nn.ReLU()))
    model.add_module("fc2", nn.Sequential(layer(width, width), nn.ReLU()))
    model.add_module("out", layer(width, n_classes))
    return model


def _is_object(side: Tensor, outer: Sequence[int]) -> Tensor:
    """Kashtan and Alon's objects on one side: pixels 0, 1 its left column, 2, 3 its right."""
    on = side.sum(1)
    return (on >= 3) | ((on > 0) & (on == side[:, list(outer)].sum(1)))


def _number_pairs(modulus: int) -> tuple[Tensor, Tensor, Tensor]:
    if modulus < 2:
        raise ValueError(f"expected a modulus of at least 2, got {modulus}")
    a, b = torch.tensor(list(itertools.product(range(modulus), repeat=2))).T
    one_hot = torch.eye(modulus)
    return torch.cat([one_hot[a], one_hot[b]], 1), a, b
