"""Networks without modules: dense random ones, and trained ones whose weights are dealt anew."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn.functional import mse_loss

from experiments.recovery import trained
from experiments.recovery.known import KnownNetwork
from infoflow.models import isolated_rng

COUNTS = {"dense": 20, "shuffled": 20}
_ORIGINS = ("digits", "sum", "boolean", "moduli")
NAMES = tuple(f"{family}-k1-{n}" for family, count in COUNTS.items() for n in range(count))


def build(name: str) -> KnownNetwork:
    """The network of that name: every hidden layer is recorded, one module is right.

    Examples:
        >>> net = build("dense-k1-0")
        >>> set(net.labels.tolist())
        {0}
    """
    family, _, number = name.split("-")
    return (_dense if family == "dense" else _shuffled)(name, int(number))


def _dense(name: str, number: int) -> KnownNetwork:
    rng = np.random.default_rng([7, number])
    widths = [int(w) for w in rng.integers([10, 12, 12, 12], 29)][: 3 + int(rng.integers(2))]
    with isolated_rng(30_000 + number):
        layers: list[nn.Module] = []
        for below, above in pairwise(widths):
            layer = nn.Linear(below, above)
            nn.init.normal_(layer.weight, std=1.5 * below**-0.5)
            layers += [layer, nn.ReLU() if rng.random() < 0.5 else nn.Tanh()]
        model = nn.Sequential(*layers, nn.Linear(widths[-1], 4)).eval()
        x = torch.randn(400, widths[0])
        if rng.random() < 0.5:
            x = (x + torch.randn(400, 1)) / 2**0.5
    with torch.no_grad():
        y = model(x)
    sites = tuple(str(2 * d + 1) for d in range(len(widths) - 1))
    labels = np.zeros(sum(widths[1:]), dtype=int)
    reason = "every unit reads all units of the layer below, with weights of one distribution"
    limits = "a small random network has some structure by chance"
    return KnownNetwork(
        name, "dense", model, x, sites, labels, reason, limits, targets=y, loss=mse_loss
    )


def _shuffled(name: str, number: int) -> KnownNetwork:
    origin = _ORIGINS[number // 2 % len(_ORIGINS)]
    same = [n for n in trained.NAMES if n.startswith(origin + "-")]
    chosen = same[number % 2 + 2 * (number // 2 // len(_ORIGINS))]
    net = trained.build(chosen)
    draws = torch.Generator().manual_seed(40_000 + number)
    with torch.no_grad():
        for layer in net.model.modules():
            if isinstance(layer, nn.Linear):
                flat = layer.weight.flatten()
                dealt = flat[torch.randperm(len(flat), generator=draws)]
                layer.weight.copy_(dealt.view_as(layer.weight))
    return KnownNetwork(
        name,
        "shuffled",
        net.model,
        net.inputs,
        net.sites,
        np.zeros_like(net.labels),
        f"the weights of each layer of {chosen} were dealt to its places at random",
        "as for dense; a layer keeps its weights' distribution, zeros included",
        net.targets,
        net.loss,
    )
