"""Networks with planted modules, for the module score: apart, fully mixed, and nested.

Eight units each, so that all 4140 partitions can be tried.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from infoflow.partition import Partition
from infoflow.toys.system import ModuleToy, identity, listed, relu_layer, stack


def _isolated() -> nn.Module:
    # layer1: two coins a track; layer2: the sum and the AND of each track's own coins
    own = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    return stack(relu_layer(identity(4)), relu_layer(own, [0, -1, 0, -1]))


ISOLATED_TRACKS = ModuleToy(
    name="isolated_tracks",
    description="perfect modularity: two tracks on the same inputs, no weight between them",
    model=_isolated,
    inputs=listed([0, 1], [0, 1]).repeat(1, 2),
    layers=("layer1", "layer2"),
    planted=(Partition([0, 0, 1, 1, 0, 0, 1, 1]),),
)

FULLY_MIXED_LAYERS = ModuleToy(
    name="fully_mixed_layers",
    description="perfect anti-modularity: 4 coins, each of 4 units above is the sum of them all; "
    "partitions with as many units of each layer in each module exchange the same",
    model=lambda: stack(relu_layer(identity(4)), relu_layer([[1] * 4] * 4)),
    inputs=listed(*[[0, 1]] * 4),
    layers=("layer1", "layer2"),
    planted=(),
)


class _Votes(nn.Module):
    """Three copies of a coin whose majority is taken, and another coin that is copied. A copy by
    itself changes no vote, so one by one the first track's units send and receive nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = relu_layer([[1, 0], [1, 0], [1, 0], [0, 1]])
        self.votes = relu_layer([[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 1]], [-1, -2, 0])
        self.layer2 = relu_layer([[1, -1, 0], [1, -1, 0], [0, 0, 1], [0, 0, 1]])

    def forward(self, x: Tensor) -> Tensor:
        """The majority, twice, and the other coin, twice."""
        return self.layer2(self.votes(self.layer1(x)))


REDUNDANT_TRACKS = ModuleToy(
    name="redundant_tracks",
    description="two tracks, one of them three copies of a coin and their majority, twice: units "
    "that are silent one by one and not together",
    model=_Votes,
    inputs=listed([0, 1], [0, 1]),
    layers=("layer1", "layer2"),
    planted=(Partition([0, 0, 0, 1, 0, 0, 1, 1]),),
)


class _Nested(nn.Module):
    """Four coins go up, each to a unit of its own. Half the time each also reaches its neighbour
    (0 and 1, 2 and 3); one time in four, 0 and 1 also reach 2 and 3. The gates hang on an input of
    their own and belong to no module."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = relu_layer(identity(4))
        # of g = 0..3: near is open from 2 on, far at 3 only
        self.gates = nn.Sequential(
            relu_layer([[1], [1], [1]], [-1, -2, -2]), relu_layer([[1, -1, 0], [0, 0, 1]])
        )
        coin = identity(4)
        own = [[*coin[i], 0, 0] for i in range(4)]
        near = [[*coin[i ^ 1], 1, 0] for i in range(4)]
        far = [[*coin[i], 0, 1] for i in (0, 1)]
        self.ports = relu_layer(own + near + far, [0.0] * 4 + [-1.0] * 6)
        # own 4, near 2, far 1: every combination has its own value
        arriving = [[0, 0], [0, 0], [1, 0], [0, 1]]
        self.layer2 = relu_layer(
            [[*[4 * x for x in coin[i]], *[2 * x for x in coin[i]], *arriving[i]] for i in range(4)]
        )

    def forward(self, x: Tensor) -> Tensor:
        coins = self.layer1(x[:, :4])
        return self.layer2(self.ports(torch.cat([coins, self.gates(x[:, 4:])], 1)))


NESTED_MODULES = ModuleToy(
    name="nested_modules",
    description="modules within modules: four pairs of units, two pairs to a module; pairs send "
    "their neighbours a third of a bit, the first module sends the second less",
    model=_Nested,
    inputs=listed(*[[0, 1]] * 4, range(4)),
    layers=("layer1", "layer2"),
    planted=(Partition([0, 0, 1, 1] * 2), Partition([0, 1, 2, 3] * 2)),
)
