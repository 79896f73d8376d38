"""Networks that several experiments build, and their recordings."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import infoflow as ifl


def tracks(
    sizes: tuple[int, ...],
    seed: int,
    *,
    cross: float = 0.0,
    depth: int = 2,
    samples: int = 400,
    quiet: tuple[float, ...] = (),
) -> tuple[ifl.Recording, ifl.Partition]:
    """Random tanh network of `depth` layers; in each, track t has `sizes[t]` units and two inputs.

    Weights within a track are N(0, 1.5² / fan-in); between tracks `cross` times as large. Each
    layer also has one unit for each number in `quiet`, which belongs to nobody (label -1) and whose
    in- and outgoing weights are so many times as large.
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
        layers += [layer, nn.Tanh()]
        below, below_strength = track, strength
    net = nn.Sequential(*layers)
    x = torch.randn(samples, 2 * count, generator=generator)
    names = [str(2 * d + 1) for d in range(depth)]
    planted = np.where(track < count, track, -1)
    return ifl.record(net, names, x), ifl.Partition(np.tile(planted, depth))


def digits_network(width: int, seed: int) -> ifl.Recording:
    """A 64-width-width-10 ReLU perceptron trained on scikit-learn's digits."""
    from sklearn.datasets import load_digits

    from infoflow.models import isolated_rng

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
    for _ in range(300):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    return ifl.record(net, ["1", "3"], x, y, loss=nn.functional.cross_entropy)
