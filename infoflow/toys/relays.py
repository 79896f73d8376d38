"""What reaches C from B past a relay M that is recorded, and what reaches it through M."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from infoflow.toys.system import Numbers, Toy, copy_of, listed, relu_layer


class Skip(nn.Module):
    """B in layer1, M = B in layer2; layer3 sees B and M."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.layer1, self.layer2, self.layer3 = relu_layer([[1]]), relu_layer([[1]]), last

    def forward(self, x: Tensor) -> Tensor:
        """C of the inputs X."""
        b = self.layer1(x)
        return self.layer3(torch.cat([b, self.layer2(b)], 1))


def _relay(
    name: str,
    description: str,
    last: Callable[[], nn.Module],
    rule: Callable[[int, int], int],
    paper: Numbers,
) -> Toy:
    return Toy(
        name=name,
        description=f"X coin; B = X; M = B; {description}",
        model=lambda: Skip(last()),
        inputs=listed([0, 1]),
        target={"layer3": [0]},
        between=("layer2",),
        causal=({"X": 2}, {"B": copy_of("X"), "M": copy_of("B"), "C": (["B", "M"], rule)}),
        between_variables=("M",),
        paper=paper,
    )


def _xor() -> nn.Module:
    # the sum and the AND, then sum − 2 AND
    return nn.Sequential(relu_layer([[1, 1], [1, 1]], [0, -1]), relu_layer([[1, -2]]))


RELAYED = _relay("relayed", "C = M", lambda: relu_layer([[0, 1]]), lambda b, m: m, Numbers(1, 1, 1))
HALF_RELAYED = _relay(
    "half_relayed", "C = B + M", lambda: relu_layer([[1, 1]]), lambda b, m: b + m, Numbers(1, 1, 1)
)
CANCELLED = _relay("cancelled", "C = B xor M, always 0", _xor, lambda b, m: b ^ m, Numbers(0, 0, 0))
