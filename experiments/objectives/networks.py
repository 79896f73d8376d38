"""Networks of twelve hidden units, small enough to enumerate what their groups send each other."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import torch
from torch import nn
from torch.nn.functional import mse_loss

import infoflow as ifl
from infoflow.models import isolated_rng

UNITS = 12
SHAPES = {"6+6": (6, 6), "4+4+4": (4, 4, 4)}
ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}
KINDS = ("random", "tracks", "trained")


def small_network(kind: str, shape: str, activation: str, seed: int) -> ifl.Recording:
    """Four inputs, then hidden layers of `shape`, recorded on 256 inputs.

    "tracks": the first half of each layer hears the first two inputs or the first half of the layer
    below; weights from the other half are a tenth. "trained": to give x0 x1 and x2 x3.
    """
    widths = (4, *SHAPES[shape])
    with isolated_rng(seed):
        layers: list[nn.Module] = []
        for below, width in pairwise(widths):
            layer = nn.Linear(below, width)
            same = (torch.arange(width)[:, None] < width / 2) == (torch.arange(below) < below / 2)
            strength = torch.where(same, 1.0, 0.1) if kind == "tracks" else torch.ones(width, below)
            with torch.no_grad():
                layer.weight.copy_(
                    torch.randn(width, below) * 1.5 / strength.sum(1)[:, None].sqrt()
                )
                layer.weight.mul_(strength)
                layer.bias.copy_(0.3 * torch.randn(width))
            layers += [layer, ACTIVATIONS[activation]()]
        x = torch.randn(256, 4)
        net = nn.Sequential(*layers)
        if kind == "trained":
            _train(nn.Sequential(net, nn.Linear(widths[-1], 2)), x)
    return ifl.record(net, [str(i) for i in range(1, len(layers), 2)], x)


def _train(net: nn.Sequential, x: torch.Tensor, steps: int = 1000) -> None:
    wanted = torch.stack([x[:, 0] * x[:, 1], x[:, 2] * x[:, 3]], 1)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        mse_loss(net(x), wanted).backward()
        optimiser.step()


def even_bipartitions(n: int = UNITS) -> list[np.ndarray]:
    """`(n,)` labels of every division into two equal halves.

    Examples:
        >>> len(even_bipartitions(4)), even_bipartitions(4)[0].tolist()
        (3, [0, 0, 1, 1])
    """
    found = []
    for chosen in combinations(range(1, n), n // 2 - 1):
        labels = np.ones(n, dtype=int)
        labels[[0, *chosen]] = 0
        found.append(labels)
    return found
