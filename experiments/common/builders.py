"""Networks that several experiments build, and their recordings."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import infoflow as ifl
from infoflow.models import isolated_rng


def tracks(
    sizes: tuple[int, ...],
    seed: int,
    *,
    cross: float = 0.0,
    depth: int = 2,
    samples: int = 400,
    quiet: tuple[float, ...] = (),
    activation: type[nn.Module] = nn.Tanh,
    correlation: float = 0.0,
) -> tuple[ifl.Recording, ifl.Partition]:
    """Random network of `depth` layers; in each, track t has `sizes[t]` units and two inputs.

    Weights within a track are N(0, 1.5² / fan-in); between tracks `cross` times as large. Each
    layer also has one unit for each number in `quiet`, which belongs to nobody (label -1) and whose
    in- and outgoing weights are so many times as large. Any two inputs have the `correlation`.
    """
    count = len(sizes)
    generator = torch.Generator().manual_seed(seed)
    track = torch.repeat_interleave(torch.arange(count), torch.tensor(sizes))
    track = torch.cat([track, torch.arange(count, count + len(quiet))])
    strength = torch.tensor([1.0] * sum(sizes) + list(quiet))
    below, below_strength = torch.arange(count).repeat_interleave(2), torch.ones(2 * count)
    layers: list[nn.Module] = []
    for _ in range(depth):
        same = (track[:, None] == below) | (track[:, None] >= count) | (below >= count)
        fan_in = (below == track.clamp(max=count - 1)[:, None]).sum(1, keepdim=True)
        layer = nn.Linear(len(below), len(track))
        with torch.no_grad():
            draw = torch.randn(layer.weight.shape, generator=generator) * (1.5 / fan_in.sqrt())
            draw *= torch.where(same, 1.0, cross) * strength[:, None] * below_strength
            layer.weight.copy_(draw)
            layer.bias.copy_(0.3 * torch.randn(len(track), generator=generator))
        layers += [layer, activation()]
        below, below_strength = track, strength
    net = nn.Sequential(*layers)
    x = torch.randn(samples, 2 * count, generator=generator)
    if correlation:
        common = torch.randn(samples, 1, generator=generator)
        x = (1 - correlation) ** 0.5 * x + correlation**0.5 * common
    names = [str(2 * d + 1) for d in range(depth)]
    planted = np.where(track < count, track, -1)
    return ifl.record(net, names, x), ifl.Partition(np.tile(planted, depth))


def digits_network(width: int, seed: int, steps: int = 300) -> ifl.Recording:
    """A 64-width-width-10 ReLU perceptron trained on scikit-learn's digits; 0 steps: untrained."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images / 16, dtype=torch.float32)
    y = torch.tensor(labels)
    with isolated_rng(seed):
        net = nn.Sequential(
            nn.Linear(64, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, 10),
        )
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        cross_entropy(net(x), y).backward()
        optimiser.step()
    return ifl.record(net, ["1", "3"], x, y, loss=cross_entropy)


def convolutional(seed: int) -> nn.Sequential:
    """Two convolutions of 8 and 16 channels, each with ReLU and pooling, on flat 8 × 8 images."""
    with isolated_rng(seed):
        return nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)),
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64, 10),
        )


class OneBlock(nn.Module):
    """A transformer of one block that reads two one-hot numbers and answers at a third position.

    `mix` is what the heads bring to the answer's position `(batch, width)`; `mlp` the MLP's
    neurons after their ReLU.
    """

    def __init__(self, modulus: int, width: int = 32, heads: int = 4, neurons: int = 64) -> None:
        super().__init__()
        self.heads = heads
        self.embed = nn.Linear(modulus, width, bias=False)
        self.place = nn.Parameter(torch.randn(3, width) * width**-0.5)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.mix = nn.Identity()
        self.project = nn.Linear(width, width, bias=False)
        self.enter = nn.Linear(width, neurons)
        self.mlp = nn.ReLU()
        self.leave = nn.Linear(neurons, width)
        self.unembed = nn.Linear(width, modulus)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(batch, modulus)` of two one-hot numbers `(batch, 2 * modulus)`."""
        tokens = self.embed(x.reshape(len(x), 2, -1))
        answer = self.place[2].expand(len(x), 1, -1)
        stream = torch.cat([tokens + self.place[:2], answer], 1)
        query, key, value = (
            self._split(part(stream)) for part in (self.query, self.key, self.value)
        )
        weights = torch.softmax(
            query[:, :, -1:] @ key.transpose(2, 3) * query.shape[-1] ** -0.5, -1
        )
        brought = (weights @ value).transpose(1, 2).reshape(len(x), -1)
        last = stream[:, -1] + self.project(self.mix(brought))
        return self.unembed(last + self.leave(self.mlp(self.enter(last))))

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)


def fit(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    steps: int,
    batch: int,
    seed: int,
    decay: float = 1e-2,
) -> None:
    """Adam with weight decay on random batches; evaluation mode and no gradients afterwards."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=decay)
    draws = torch.Generator().manual_seed(seed)
    model.train()
    for _ in range(steps):
        rows = torch.randperm(len(x), generator=draws)[:batch]
        optimiser.zero_grad()
        cross_entropy(model(x[rows]), y[rows]).backward()
        optimiser.step()
    model.eval().zero_grad(set_to_none=True)
