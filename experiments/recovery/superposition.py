"""Toy models of superposition, whose modules are groups of directions and not of neurons.

After Elhage et al., *Toy Models of Superposition* (2022): x -> ReLU(Wᵀ W x + b) with more sparse
features than hidden units. Two groups of features, each trained into hidden dimensions of its own,
are seen through one random rotation, so that every neuron carries both: `"superposition-basis-0"`
is recorded along the directions in which they come apart, `"superposition-neurons-0"` by neurons.

    python -m experiments.recovery.superposition        # trains the stored weights anew, and
                                                        # measures what the paper has numbers for
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
import tyro
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import infoflow as ifl
from experiments.common.cells import measure_cells
from experiments.recovery.known import KnownNetwork
from infoflow.basis import Basis
from infoflow.models import isolated_rng

PATH = Path(__file__).with_suffix(".safetensors")
PUBLISHED = Path(__file__).parent / "results" / "superposition.csv"
SEEDS = range(6)
NAMES = tuple(f"superposition-{how}-{seed}" for seed in SEEDS for how in ("basis", "neurons"))
SAMPLES = 800
FIELDS = (
    "features", "hidden", "density", "seed", "per_feature", "median", "least", "most", "half",
    "represented",
)  # fmt: skip


@dataclass(frozen=True)
class Toy:
    """A toy model to train.

    Attributes:
        features: How many there are.
        hidden: Dimensions that they have to share.
        density: How likely a feature is there, 1 - S of the paper.
        together: How likely a feature's whole group is active; features of an active group are
            there with `density / together`, so that they come together.
        steps: Of Adam, its rate falling to zero along a cosine.
        batch: Samples a step.
        rate: Of learning, at first.
    """

    features: int = 15
    hidden: int = 6
    density: float = 0.03
    together: float = 0.5
    steps: int = 3000
    batch: int = 512
    rate: float = 1e-2


def draw(toy: Toy, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Sparse features, uniform in [0, 1] where they are there, `(count, features)`."""
    active = torch.rand(count, 1, generator=generator) < toy.together
    there = torch.rand(count, toy.features, generator=generator) < toy.density / toy.together
    return torch.rand(count, toy.features, generator=generator) * (there & active)


def train_toy(toy: Toy, seed: int) -> tuple[Tensor, Tensor]:
    """W `(hidden, features)` and b `(features,)` after training."""
    with isolated_rng(seed):
        weight = nn.Parameter(torch.randn(toy.hidden, toy.features) * toy.hidden**-0.5)
        bias = nn.Parameter(torch.zeros(toy.features))
        optimizer = torch.optim.Adam([weight, bias], toy.rate)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, toy.steps)
        for _ in range(toy.steps):
            x = draw(toy, toy.batch)
            loss = (x - (x @ weight.T @ weight + bias).relu()).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            falling.step()
    return weight.detach(), bias.detach()


def dimensionality(weight: Tensor) -> Tensor:
    """Share of a hidden dimension that each feature has, |W_i|² / Σ_j (Ŵ_i · W_j)², `(features,)`.

    Examples:
        >>> dimensionality(torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 2.0]])).tolist()
        [0.5, 0.5, 1.0]
    """
    size = weight.norm(dim=0).clamp_min(1e-12)
    return size**2 / ((weight / size).T @ weight).square().sum(1)


class Toys(nn.Module):
    """Toy models side by side behind one rotation: features -> `hidden` -> `out`."""

    def __init__(self, weights: list[Tensor], biases: list[Tensor], rotation: Tensor) -> None:
        super().__init__()
        together = rotation.T @ torch.block_diag(*weights)
        self.hidden = nn.Linear(together.shape[1], together.shape[0], bias=False)
        self.decode = nn.Linear(together.shape[0], together.shape[1])
        self.hidden.weight = nn.Parameter(together)
        self.decode.weight = nn.Parameter(together.T.contiguous())
        self.decode.bias = nn.Parameter(torch.cat(biases))
        self.out = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Features to what is read back of them, `(batch, features)` both."""
        return self.out(self.decode(self.hidden(x)))


@cache
def stored() -> dict[str, Tensor]:
    """`"SEED.GROUP.weight"` and `".bias"` of all toy models."""
    return load_file(PATH)


def build(name: str) -> KnownNetwork:
    """Two groups of features, by directions or by neurons.

    Raises:
        ValueError: No network of this family has that name.
    """
    if name not in NAMES:
        raise ValueError(f"no toy model {name!r}: there are {', '.join(NAMES)}")
    _, how, seed = name.split("-")
    weights = [stored()[f"{seed}.{group}.weight"] for group in range(2)]
    biases = [stored()[f"{seed}.{group}.bias"] for group in range(2)]
    size = sum(len(weight) for weight in weights)
    generator = torch.Generator().manual_seed(int(seed))
    rotation = torch.linalg.qr(torch.randn(size, size, generator=generator))[0]
    model = Toys(weights, biases, rotation).eval()
    toy = Toy(features=weights[0].shape[1])
    inputs = torch.cat([draw(toy, SAMPLES, generator) for _ in range(2)], 1)
    hidden = np.repeat([0, 1], [len(weight) for weight in weights])
    outputs = np.repeat([0, 1], toy.features)
    basis = Basis(rotation) if how == "basis" else None
    return KnownNetwork(
        name, "superposition", model, inputs,
        (ifl.Site("hidden", basis=basis), ifl.Site("out", unit_dim=1)),
        np.concatenate([hidden if how == "basis" else np.full(size, -1), outputs]),
        reason="Each group was trained alone, into hidden dimensions that the other does not use.",
        limits=(
            "Within a group features share dimensions, and may form pairs of their own."
            if how == "basis"
            else "Every neuron carries both groups: neurons are -1, and only what is read back "
            "belongs to one."
        ),
        targets=inputs, loss=nn.functional.mse_loss,
    )  # fmt: skip


def published(toy: Toy, seed: int) -> list[dict[str, object]]:
    """What the paper has numbers for, of one toy model whose features come independently.

    `per_feature` is its D* = hidden / |W|², the dimensions that a feature gets on average; `half`
    the share of features with a dimensionality within .05 of 1/2: one of an antipodal pair.
    """
    weight, _ = train_toy(toy, seed)
    each = dimensionality(weight)[weight.norm(dim=0) > 0.1]
    return [
        {
            "features": toy.features,
            "hidden": toy.hidden,
            "density": toy.density,
            "seed": seed,
            "per_feature": round(toy.hidden / float(weight.square().sum()), 4),
            "median": round(float(each.median()), 4),
            "least": round(float(each.min()), 4),
            "most": round(float(each.max()), 4),
            "half": round(float(((each - 0.5).abs() < 0.05).double().mean()), 4),
            "represented": len(each),
        }
    ]


def main(
    train: bool = True, densities: tuple[float, ...] = (1.0, 0.5, 0.4, 0.35, 0.3, 0.2, 0.1, 0.05)
) -> None:
    """Train and store the toy models; then measure the dimensions that features get.

    Args:
        train: Whether to train the stored models.
        densities: How likely a feature is there.
    """
    torch.set_num_threads(1)
    if train:
        tensors = {}
        for seed, group in product(SEEDS, range(2)):
            weight, bias = train_toy(Toy(), 2 * seed + group)
            tensors |= {f"{seed}.{group}.weight": weight, f"{seed}.{group}.bias": bias}
        save_file(tensors, PATH)
    wide = ((200, 15, density, 0) for density in densities)
    narrow = ((*sizes, seed) for sizes in ((12, 6, 0.05), (8, 3, 0.03)) for seed in range(5))
    cells = [*narrow, *wide]

    def study(features: int, hidden: int, density: float, seed: int) -> list[dict[str, object]]:
        return published(Toy(features, hidden, density, together=1.0), seed)

    measure_cells(PUBLISHED, FIELDS, ("features", "hidden", "density", "seed"), cells, study)


if __name__ == "__main__":
    tyro.cli(main)
