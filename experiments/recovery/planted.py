"""Random networks in which modules are planted: tracks, uneven, with common causes, overlapping,
and tracks within tracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.functional import mse_loss

from experiments.recovery.known import KnownNetwork

COUNTS = {"tracks": 28, "uneven": 20, "causes": 20, "overlap": 16, "hierarchy": 16}
LINKS = (0.0, 0.05, 0.1, 0.2, 0.3)
SAMPLES = 400
REASON = {
    "tracks": "weights between tracks are drawn `links` times as large as those within",
    "uneven": "as in tracks; sizes and gains differ from track to track",
    "causes": "as in tracks; what the tracks have in common comes from their inputs alone",
    "overlap": "as in tracks; the units that read and feed two tracks are in neither",
    "hierarchy": "as in tracks, with links of one strength within a root and .03 between roots",
}
LIMITS = {
    "tracks": "with links of .3, tracks need not be the division that exchanges least",
    "uneven": "as for tracks; a small quiet track may exchange less with half of another",
    "causes": "tracks with a common input do alike without acting on each other",
    "overlap": "through the shared units two tracks act on each other in full strength",
    "hierarchy": "the leaves are scored; the roots (`roots`) are as true",
}


@dataclass(frozen=True)
class Plan:
    """What is planted.

    Attributes:
        family: One of `COUNTS`.
        number: The network's number in it, from which all is drawn.
        sizes: Units of each track in each layer.
        strength: `(k, k)` size of the weights from track to track; 1 within.
        depth: Hidden layers, all recorded.
        relu: ReLU, or tanh.
        gains: Factor of each track's weights.
        correlation: Of any two inputs.
        common: Inputs that are read by two tracks, for each track and the next.
        shared: Units a layer that are in a track and in the next, for each such pair of tracks.
    """

    family: str
    number: int
    sizes: tuple[int, ...]
    strength: np.ndarray
    depth: int
    relu: bool
    gains: tuple[float, ...] = ()
    correlation: float = 0.0
    common: int = 0
    shared: int = 0

    @property
    def k(self) -> int:
        """Tracks."""
        return len(self.sizes)

    @property
    def name(self) -> str:
        """The network's name."""
        links = self.strength[0, 1]
        return f"{self.family}-k{self.k}-links{links:g}-{self.number}"


def _plan(family: str, number: int) -> Plan:
    rng = np.random.default_rng([sorted(COUNTS).index(family), number])
    k = 2 + number // 2 % (7 if family == "tracks" else 3)
    links = float(rng.choice(LINKS[1:4] if family != "tracks" else LINKS))
    relu = bool(rng.random() < 0.5)
    depth = 3 if k < 4 and rng.random() < 0.5 else 2
    sizes = (int(rng.integers(max(4, 14 // k), max(5, 18 // k) + 1)),) * k
    options: dict[str, object] = {}
    if family == "uneven":
        sizes = tuple(int(s) for s in rng.permutation([3, 11, 6, 5][:k]))
        options["gains"] = tuple(float(g) for g in rng.uniform(0.6, 1.6, k))
    elif family == "causes":
        options["correlation"] = float(rng.choice([0.0, 0.5, 0.8]))
        options["common"] = int(rng.choice([0, 1])) if options["correlation"] else 1
    elif family == "overlap":
        options["shared"] = int(rng.integers(1, 3))
    strength = np.full((k, k), links)
    if family == "hierarchy":
        leaves, links = 2 + number // 2 % 2, float(rng.choice([0.2, 0.3]))
        root = np.arange(2 * leaves) // leaves
        strength = np.where(root[:, None] == root, links, 0.03)
        sizes, depth = (int(rng.integers(4, 7)),) * len(root), 2
    np.fill_diagonal(strength, 1.0)
    return Plan(family, number, sizes, strength, depth, relu, **options)  # type: ignore[arg-type]


_PLANS = {
    plan.name: plan
    for family, count in COUNTS.items()
    for plan in (_plan(family, number) for number in range(count))
}
NAMES = tuple(_PLANS)


def build(name: str) -> KnownNetwork:
    """The network of that name, drawn from the number it ends in.

    Examples:
        >>> net = build(NAMES[0])
        >>> net.record().matrix().shape[1] == len(net.labels)
        True
    """
    plan = _PLANS[name]
    generator = torch.Generator().manual_seed(
        1000 * sorted(COUNTS).index(plan.family) + plan.number
    )
    units = _members(plan, plan.sizes, plan.shared)
    below, layers = _members(plan, (2,) * plan.k, plan.common), []
    width = len(below)
    readout = _members(plan, (2,) * plan.k, 0)
    for _ in range(plan.depth):
        layers += [_linear(plan, below, units, generator), nn.ReLU() if plan.relu else nn.Tanh()]
        below = units
    model = nn.Sequential(*layers, _linear(plan, below, readout, generator)).eval()
    x = torch.randn(SAMPLES, width, generator=generator)
    common = torch.randn(SAMPLES, 1, generator=generator)
    x = (1 - plan.correlation) ** 0.5 * x + plan.correlation**0.5 * common
    labels = np.where(units.sum(1) == 1, units.argmax(1), -1)
    with torch.no_grad():
        targets = model(x)
    return KnownNetwork(
        name=name,
        family=plan.family,
        model=model,
        inputs=x,
        sites=tuple(str(2 * d + 1) for d in range(plan.depth)),
        labels=np.tile(labels, plan.depth),
        reason=REASON[plan.family],
        limits=LIMITS[plan.family],
        targets=targets,
        loss=mse_loss,
    )


def roots(name: str) -> np.ndarray:
    """Labels of the upper level of a network of the family `hierarchy`: which root a unit is of."""
    plan = _PLANS[name]
    leaf = np.tile(np.repeat(np.arange(plan.k), plan.sizes), plan.depth)
    return leaf // (plan.k // 2)


def _members(plan: Plan, sizes: Sequence[int], shared: int) -> np.ndarray:
    """`(units, k)` bool: which tracks a unit of a layer is in; shared ones last."""
    alone = np.repeat(np.eye(plan.k, dtype=bool), sizes, axis=0)
    pairs = np.eye(plan.k, dtype=bool) | np.eye(plan.k, k=1, dtype=bool)
    return np.concatenate([alone, np.repeat(pairs[:-1], shared, axis=0)])


def _linear(plan: Plan, below: np.ndarray, above: np.ndarray, draws: torch.Generator) -> nn.Linear:
    """Weights N(0, 1.5² / units of the own tracks below), times the strength between the tracks."""
    strength = np.zeros((len(above), len(below)))
    for target in range(plan.k):
        for source in range(plan.k):
            both = np.outer(above[:, target], below[:, source])
            strength = np.maximum(strength, both * plan.strength[target, source])
    gain = above @ np.array(plan.gains or (1.0,) * plan.k) / above.sum(1)
    own = (strength == 1).sum(1)
    scale = torch.tensor(strength * (1.5 * gain / own**0.5)[:, None], dtype=torch.float32)
    layer = nn.Linear(len(below), len(above))
    with torch.no_grad():
        layer.weight.copy_(torch.randn(scale.shape, generator=draws) * scale)
        layer.bias.copy_(0.3 * torch.randn(len(above), generator=draws))
    return layer
