"""Random small discrete networks, to hold the engine against the oracle on systems nobody chose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from infoflow.oracle.exact import Mechanism
from infoflow.toys.system import System, relu_layer, stack


@dataclass(frozen=True)
class _Unit:
    """relu(weights · values of `parents` in the layer below + bias)."""

    parents: tuple[int, ...]
    weights: tuple[int, ...]
    bias: int

    def __call__(self, *values: int) -> int:
        return max(sum(w * v for w, v in zip(self.weights, values, strict=True)) + self.bias, 0)

    def row(self, width: int) -> list[int]:
        row = [0] * width
        for parent, weight in zip(self.parents, self.weights, strict=True):
            row[parent] = weight
        return row


def random_network(seed: int) -> System:
    """A random ReLU network with integer weights, its inputs, groups B and C, and its causal twin.

    Two or three layers of two or three units, each with at most two parents; 3 to 10 inputs drawn
    with repetition, so that input features are tied to each other. B and C are random disjoint
    groups of up to three units from any layers: C may lie above B, below it, or both. In the
    causal network a root variable `sample` stands for the input.

    Examples:
        >>> system = random_network(0)
        >>> system.inputs.shape == random_network(0).inputs.shape
        True
    """
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 3, (rng.integers(3, 11), rng.integers(2, 4)))
    widths = rng.integers(2, 4, rng.integers(2, 4)).tolist()
    below = [rows.shape[1], *widths[:-1]]
    layers = [[_random_unit(rng, n) for _ in range(w)] for w, n in zip(widths, below, strict=True)]
    units = [(f"layer{i}", j) for i, width in enumerate(widths, 1) for j in range(width)]
    source, target = _random_groups(rng, units)
    return System(
        name=f"random_{seed}",
        description=f"{len(rows)} inputs, layers of {widths}",
        model=lambda: stack(*[_as_layer(*pair) for pair in zip(layers, below, strict=True)]),
        inputs=torch.tensor(rows, dtype=torch.float32),
        source=_by_layer(source),
        target=_by_layer(target),
        causal=({"sample": len(rows)}, _mechanisms(rows, layers)),
        source_variables=[f"{layer}.{j}" for layer, j in source],
        target_variables=[f"{layer}.{j}" for layer, j in target],
        input_variables=("sample",),
    )


def _random_groups(
    rng: np.random.Generator, units: list[tuple[str, int]]
) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Any two disjoint groups; three times in four some of C lies above some of B, so that
    something can flow."""
    order = rng.permutation(len(units)).tolist()
    sizes = rng.integers(1, 4, 2)
    if rng.random() < 0.75:
        low, high = order.index(0), order.index(len(units) - 1)
        order = [order[low], *(u for k, u in enumerate(order) if k not in (low, high)), order[high]]
    source = [units[u] for u in order[: sizes[0]]]
    return source, [units[u] for u in order[max(sizes[0], len(order) - sizes[1]) :]]


def _random_unit(rng: np.random.Generator, below: int) -> _Unit:
    parents = rng.choice(below, size=rng.integers(1, 3), replace=False)
    weights = rng.choice([-1, 1, 1, 2], size=len(parents))
    return _Unit(tuple(parents.tolist()), tuple(weights.tolist()), int(rng.choice([-1, 0, 0, 1])))


def _as_layer(units: Sequence[_Unit], below: int) -> nn.Module:
    return relu_layer([unit.row(below) for unit in units], [float(unit.bias) for unit in units])


def _by_layer(units: Sequence[tuple[str, int]]) -> dict[str, list[int]]:
    return {layer: [j for at, j in units if at == layer] for layer, _ in units}


def _mechanisms(rows: np.ndarray, layers: Sequence[Sequence[_Unit]]) -> dict[str, Mechanism]:
    def feature(values: list[int]) -> Callable[[int], int]:
        return lambda sample: values[sample]

    names = [f"x{j}" for j in range(rows.shape[1])]
    found: dict[str, Mechanism] = {
        name: (["sample"], feature(column.tolist()))
        for name, column in zip(names, rows.T, strict=True)
    }
    for depth, units in enumerate(layers, 1):
        found |= {
            f"layer{depth}.{j}": ([names[p] for p in unit.parents], unit)
            for j, unit in enumerate(units)
        }
        names = [f"layer{depth}.{j}" for j in range(len(units))]
    return found
