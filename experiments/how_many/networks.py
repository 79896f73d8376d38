"""The networks of the study: planted tracks, and networks in which nothing is planted."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import nn

import infoflow as ifl
from experiments.common.builders import tracks
from infoflow.models import isolated_rng

LINKS = (0.0, 0.05, 0.1, 0.25)


@dataclass(frozen=True)
class Case:
    """A network of the study.

    Attributes:
        seed: Of its weights, inputs and, unless they are given, of what follows.
        sizes: Units of each track in each layer; one track: nothing is planted.
        cross: Weights between tracks, as a share of those within.
        relu: ReLU, or tanh.
        correlation: Of any two inputs.
        depth: Layers, all of them recorded.
    """

    seed: int
    sizes: tuple[int, ...]
    cross: float
    relu: bool
    correlation: float
    depth: int = 2

    @property
    def k(self) -> int:
        """Modules planted."""
        return len(self.sizes)

    def build(self) -> tuple[ifl.Recording, ifl.Partition]:
        """The network recorded, and the tracks."""
        return tracks(
            self.sizes,
            self.seed,
            cross=self.cross,
            depth=self.depth,
            activation=nn.ReLU if self.relu else nn.Tanh,
            correlation=self.correlation,
        )


def planted(seed: int, k: int, cross: float) -> Case:
    """k tracks of 4 to 10 units a layer, equal in a third of the networks; one track: 8 to 24."""
    rng = np.random.default_rng([seed, k, int(1000 * cross)])
    if k == 1:
        sizes = (int(rng.integers(8, 25)),)
    elif rng.random() < 1 / 3:
        sizes = (int(rng.integers(4, 11)),) * k
    else:
        sizes = tuple(int(s) for s in rng.integers(4, 11, k))
    relu, correlated = rng.random(2) < 0.5
    return Case(seed, sizes, cross, bool(relu), 0.5 if correlated else 0.0)


def untrained(seed: int, *, depth: int = 2, least: int = 6, most: int = 24) -> ifl.Recording:
    """A perceptron as PyTorch makes it: 8 to 32 inputs, layers of `least` to `most` units, ReLU or
    tanh; inputs Gaussian, half of the networks with correlation 0.5."""
    rng = np.random.default_rng([seed, depth])
    width = int(rng.integers(8, 33))
    widths = [width, *(int(w) for w in rng.integers(least, most + 1, depth))]
    with isolated_rng(seed):
        layers: list[nn.Module] = []
        for below, above in pairwise(widths):
            layers += [nn.Linear(below, above), nn.ReLU() if seed % 2 else nn.Tanh()]
        x = torch.randn(400, width)
        if rng.random() < 0.5:
            x = (x + torch.randn(400, 1)) / 2**0.5
    return ifl.record(nn.Sequential(*layers), [str(2 * d + 1) for d in range(depth)], x)
