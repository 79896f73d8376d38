"""What the trained networks learn, and which of their weights go from module to module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import infoflow as ifl
from infoflow.models import isolated_rng

SHARED = -1  # owner of what all modules read or feed


@dataclass(frozen=True)
class Problem:
    """A network before training, with what it learns.

    Attributes:
        model: As it is initialised.
        draw: `(rows, generator) -> (inputs, targets)`.
        sites: To record.
        owners: Of the recorded units, in order.
        across: For each parameter that is held: `(out, in)` bool, weights between modules.
        steps: Of training.
        loss: Of outputs and targets.
    """

    model: nn.Module
    draw: Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
    sites: tuple[ifl.Site | str, ...]
    owners: np.ndarray
    across: Mapping[str, Tensor]
    steps: int = 1500
    loss: Callable[..., Any] = field(default=cross_entropy)


def across(above: np.ndarray, below: np.ndarray) -> Tensor:
    """`(above, below)` bool: pairs that belong to two different modules; shared ones to none.

    Examples:
        >>> across(np.array([0, 1]), np.array([0, 1, SHARED])).int().tolist()
        [[0, 1, 0], [1, 0, 0]]
    """
    other = above[:, None] != below
    return torch.from_numpy(other & (above[:, None] != SHARED) & (below != SHARED))


def perceptron(
    seed: int, widths: list[np.ndarray], classes: int, draw: Callable[..., Any], hidden: int = 0
) -> Problem:
    """ReLU layers whose units have owners; the first of `widths` is the inputs', the last the
    outputs'; the first `hidden` layers are recorded, or all. Logits are `(batch, classes, heads)`,
    or `(batch, classes)` of one head."""
    with isolated_rng(seed):
        layers: list[nn.Module] = []
        for below, above in pairwise(widths):
            layers += [nn.Linear(len(below), len(above)), nn.ReLU()]
    heads = len(widths[-1]) // classes
    tail = [nn.Unflatten(1, (classes, heads))] if heads > 1 else []
    depth = hidden or len(widths) - 2
    held = {f"{2 * d}.weight": across(widths[d + 1], widths[d]) for d in range(len(widths) - 1)}
    return Problem(
        model=nn.Sequential(*layers[:-1], *tail),
        draw=draw,
        sites=tuple(str(2 * d + 1) for d in range(depth)),
        owners=np.concatenate(widths[1 : depth + 1]),
        across=held,
    )


def digits(seed: int, k: int, correlated: bool) -> Problem:
    """k digits side by side, each to be named; `correlated`: half of the rows show one digit k
    times."""

    def draw(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x, y = _shown(rows, k, generator, correlated)
        return x.flatten(1), y

    rng = np.random.default_rng(seed)
    hidden = [_blocks(k, int(rng.integers(16 // k + 2, 24 // k + 2))) for _ in range(2)]
    return perceptron(seed, [_blocks(k, 64), *hidden, np.tile(np.arange(k), 10)], 10, draw)


def total(seed: int) -> Problem:
    """The sum of two digits side by side, read by a layer that is not recorded."""

    def draw(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x, y = _shown(rows, 2, generator, False)
        return x.flatten(1), y.sum(1)

    rng = np.random.default_rng(seed)
    hidden = [_blocks(2, int(rng.integers(9, 14))) for _ in range(2)]
    widths = [_blocks(2, 64), *hidden, np.full(24, SHARED), np.full(19, SHARED)]
    return perceptron(seed, widths, 19, draw, hidden=2)


def heads(seed: int, k: int) -> Problem:
    """One digit, a trunk that all read, and k heads of two layers: parity, size, and so on."""

    def draw(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x, y = _shown(rows, 1, generator, False)
        tasks = (y % 2, (y >= 5).long(), y % 3, y // 2 % 4)
        return x.flatten(1), torch.cat(tasks[:k], 1)

    rng = np.random.default_rng(seed)
    hidden = [_blocks(k, int(rng.integers(6, 9))) for _ in range(2)]
    widths = [np.full(64, SHARED), np.full(12, SHARED), *hidden, np.tile(np.arange(k), 4)]
    return perceptron(seed, widths, 4, draw)


def boolean(seed: int, k: int) -> Problem:
    """k roots, each AND or OR of two XORs of two bits; the first layer has blocks for the XORs."""
    rng = np.random.default_rng(seed)
    either = torch.from_numpy(rng.random(k) < 0.5)

    def draw(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        bits = torch.randint(2, (rows, k, 2, 2), generator=generator)
        leaves = bits.sum(3) % 2
        answers = torch.where(either, leaves.amax(2), leaves.amin(2))
        return 2.0 * bits.flatten(1) - 1, answers

    leaf, root = _blocks(2 * k, int(rng.integers(4, 6))), _blocks(k, int(rng.integers(5, 8)))
    widths = [_blocks(k, 4), leaf // 2, root, np.tile(np.arange(k), 2)]
    made = perceptron(seed, widths, 2, draw)
    fine = {**made.across, "0.weight": across(leaf, _blocks(2 * k, 2))}
    return Problem(made.model, draw, made.sites, made.owners, fine, steps=2500)


def moduli(seed: int, k: int) -> Problem:
    """a + b modulo k different numbers; a and b, one-hot, are read by all."""
    rng = np.random.default_rng(seed)
    modulus = torch.from_numpy(np.sort(rng.choice([3, 4, 5, 7], k, replace=False)))

    def draw(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        pair = torch.randint(20, (rows, 2), generator=generator)
        x = nn.functional.one_hot(pair, 20).float().flatten(1)
        return x, pair.sum(1, keepdim=True) % modulus

    hidden = [_blocks(k, int(rng.integers(20 // k + 2, 28 // k + 2))) for _ in range(2)]
    return perceptron(seed, [np.full(40, SHARED), *hidden, np.tile(np.arange(k), 7)], 7, draw)


class Experts(nn.Module):
    """Two layers of k experts, of which the first k inputs (one-hot) let one through."""

    def __init__(self, k: int, features: int, width: int, classes: int) -> None:
        super().__init__()
        self.k, self.width = k, width
        self.enter = nn.Linear(features, k * width)
        self.first = nn.Identity()
        self.middle = nn.Linear(k * width, k * width)
        self.second = nn.Identity()
        self.leave = nn.Linear(k * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(batch, classes)`."""
        gate, rest = x[:, : self.k].repeat_interleave(self.width, 1), x[:, self.k :]
        low = self.first(torch.relu(self.enter(rest)) * gate)
        high = self.second(torch.relu(self.middle(low)) * gate)
        return self.leave(high)


def experts(seed: int, k: int) -> Problem:
    """One digit, read in one of k ways: expert e says (digit + 3e) mod 10."""

    def draw(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x, y = _shown(rows, 1, generator, False)
        expert = torch.randint(k, (rows,), generator=generator)
        gate = nn.functional.one_hot(expert, k).float()
        return torch.cat([gate, x.flatten(1)], 1), (y[:, 0] + 3 * expert) % 10

    width = int(np.random.default_rng(seed).integers(24 // k, 30 // k + 1))
    with isolated_rng(seed):
        model = Experts(k, 64, width, 10)
    owners = _blocks(k, width)
    held = {"middle.weight": across(owners, owners)}
    return Problem(model, draw, ("first", "second"), np.tile(owners, 2), held)


class Remembering(nn.Module):
    """A recurrent layer and a readout of its last state."""

    def __init__(self, streams: int, hidden: int) -> None:
        super().__init__()
        self.rnn = nn.RNN(streams, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 2 * 2)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(batch, 2 classes, 2 modules)` of `(batch, steps, streams)`."""
        return self.head(self.rnn(x)[0][:, -1]).unflatten(1, (2, 2))


def recurrent(seed: int, correlated: bool, steps: int = 4) -> Problem:
    """Two streams of two numbers each; was the first or the last step's product the larger one?
    `correlated`: the streams have .7 of their variance in common."""

    def draw(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x = torch.randn(rows, steps, 2, 2, generator=generator)
        common = torch.randn(rows, steps, 1, 2, generator=generator)
        x = 0.3**0.5 * x + 0.7**0.5 * common if correlated else x
        product = x.prod(3)
        return x.flatten(2), (product[:, 0] > product[:, -1]).long()

    owners = _blocks(2, int(np.random.default_rng(seed).integers(6, 9)))
    with isolated_rng(seed):
        model = Remembering(4, len(owners))
    held = {
        "rnn.weight_ih_l0": across(owners, _blocks(2, 2)),
        "rnn.weight_hh_l0": across(owners, owners),
        "head.weight": across(np.tile(np.arange(2), 2), owners),
    }
    sites = tuple(ifl.Site("rnn.layer0.hidden", call=step) for step in range(steps))
    return Problem(model, draw, sites, np.tile(owners, steps), held)


@cache
def _digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels).long()


def _shown(
    rows: int, k: int, generator: torch.Generator, correlated: bool
) -> tuple[Tensor, Tensor]:
    """`(rows, k, 64)` images of `(rows, k)` digits."""
    images, labels = _digits()
    chosen = torch.randint(len(images), (rows, k), generator=generator)
    if correlated:
        order = labels.argsort(stable=True)
        starts = torch.searchsorted(labels[order], torch.arange(11))
        first = labels[chosen[:, :1]]
        place = torch.rand(rows, k, generator=generator)
        count = starts[first + 1] - starts[first]
        same = order[starts[first] + (place * count).long().clamp(max=count - 1)]
        alike = torch.rand(rows, 1, generator=generator) < 0.5
        chosen = torch.where(alike, same, chosen)
    return images[chosen], labels[chosen]


def _blocks(k: int, width: int) -> np.ndarray:
    return np.repeat(np.arange(k), width)
