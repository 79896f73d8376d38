"""What a toy is: a ReLU network with all its inputs, and the same system as a causal network."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from infoflow._arguments import one_of
from infoflow.oracle import causal_network
from infoflow.oracle.exact import Mechanism
from infoflow.partition import Partition
from infoflow.recording import Recording, record

if TYPE_CHECKING:
    from pgmpy.models import DiscreteBayesianNetwork

Units = Mapping[str, Sequence[int]]
Causal = tuple[Mapping[str, int | Sequence[float]], Mapping[str, Mechanism]]
_Kind = TypeVar("_Kind")


@dataclass(frozen=True, eq=False, kw_only=True)
class _Network:
    """A small ReLU network with all its inputs.

    Attributes:
        name: Short name.
        description: The network in a sentence.
        model: Builds it; its weights are small integers, exact in float32.
        inputs: `(K, d)`: every input, each with the same probability (a value of probability 1/8
            stands in one row of eight).
    """

    name: str
    description: str
    model: Callable[[], nn.Module]
    inputs: Tensor

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}: {self.description})"


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class System(_Network):
    """One discrete system told twice: as a neural network and as a causal network.

    Attributes:
        name, description, model, inputs: The neural network.
        causal: The same system as a causal network: its inputs and mechanisms, as for
            `infoflow.oracle.causal_network`.
        source, target: B and C as units of the neural network, `{layer: indices}`.
        source_variables, target_variables: B and C as variables of the causal network.
        input_variables: The variables that make up the input X.
        given: States of variables by which the data were selected; usually none.
        between, between_variables: Further layers to record, which relay from B to C, and all
            variables of theirs; usually none.
    """

    causal: Causal
    source: Units = field(default_factory=lambda: {"layer1": [0]})
    target: Units = field(default_factory=lambda: {"layer2": [0]})
    source_variables: Sequence[str] = ("B",)
    target_variables: Sequence[str] = ("C",)
    input_variables: Sequence[str] = ("X",)
    given: Mapping[str, Hashable] = field(default_factory=dict)
    between: Sequence[str] = ()
    between_variables: Sequence[str] = ()

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that hold B and C, and those between that are recorded."""
        return tuple(dict.fromkeys([*self.source, *self.between, *self.target]))

    def record(self) -> Recording:
        """The network run once over all its inputs."""
        return record(self.model(), self.layers, self.inputs)

    def network(self) -> DiscreteBayesianNetwork:
        """The causal network, for pgmpy."""
        return causal_network(*self.causal)


@dataclass(frozen=True)
class Numbers:
    """What is known of B and C, in bits.

    Attributes:
        observational: I(B; C) in the normal run.
        interventional: I(do(B); C).
        given_context: E_x H(C | x) under do(B).
    """

    observational: float
    interventional: float
    given_context: float

    def difference(self, other: Numbers) -> float:
        """The largest absolute difference between the two."""
        return max(abs(getattr(self, f.name) - getattr(other, f.name)) for f in fields(self))


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Toy(System):
    """A system whose flow from B to C is known.

    Attributes:
        paper: The numbers on paper, to four decimals.
    """

    paper: Numbers


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class ModuleToy(_Network):
    """A network whose modules are known, small enough to try every partition.

    Attributes:
        name, description, model, inputs: The network.
        layers: The layers whose units are partitioned, in the order of the partitions' labels.
        planted: Partitions into the true modules, coarsest first; empty where there are none.
    """

    layers: tuple[str, ...]
    planted: tuple[Partition, ...]

    def record(self) -> Recording:
        """The network run once over all its inputs."""
        return record(self.model(), self.layers, self.inputs)


def listed(*values: Iterable[float]) -> Tensor:
    """Every combination of the inputs' values, `(K, inputs)`.

    Examples:
        >>> listed(range(2), [5]).tolist()
        [[0.0, 5.0], [1.0, 5.0]]
    """
    return torch.tensor(list(itertools.product(*values)), dtype=torch.float32)


def relu_layer(
    weights: Sequence[Sequence[float]], bias: Sequence[float] | None = None
) -> nn.Module:
    """relu(W x + b) as one layer: a unit a row of `weights`.

    Examples:
        >>> relu_layer([[1, 1]], [-1])(listed([0, 1], [0, 1])).ravel().tolist()
        [0.0, 0.0, 0.0, 1.0]
    """
    matrix = torch.tensor(weights, dtype=torch.float32)
    layer = nn.Linear(matrix.shape[1], matrix.shape[0])
    with torch.no_grad():
        layer.weight.copy_(matrix)
        layer.bias.copy_(torch.tensor([0.0] * len(matrix) if bias is None else bias))
    return nn.Sequential(layer, nn.ReLU())


def copy_of(variable: str) -> Mechanism:
    """The mechanism of a variable that is always what another one is."""
    return [variable], lambda value: value


def named(known: Mapping[str, _Kind], what: str, name: str) -> _Kind:
    """The one of that name; raises UnknownName, with near misses, where there is none."""
    return known[one_of(known, what)("name", name)]


def stack(*layers: nn.Module) -> nn.Module:
    """A feed-forward network whose layers are called `layer1`, `layer2`, ..."""
    network = nn.Sequential()
    for number, layer in enumerate(layers, 1):
        network.add_module(f"layer{number}", layer)
    return network


def identity(n: int) -> list[list[int]]:
    """Weights by which `n` units each copy their own input."""
    return [[int(i == j) for j in range(n)] for i in range(n)]
