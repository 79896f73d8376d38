"""Being told what one could have worked out: the yardstick post's thought experiments."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from infoflow.toys.arithmetic import dividing
from infoflow.toys.system import Causal, Numbers, Toy, copy_of, listed, relu_layer, stack


def _floor_and_add(name: str, values: range, bits: float) -> Toy:
    return Toy(
        name=name,
        description=f"A in {values}; B = A // 3; C = A + B",
        # A goes round B
        model=lambda: stack(*dividing(24, 3, passed_on=1), relu_layer([[1, 1]])),
        inputs=listed(values).repeat(1, 2),
        source={"layer2": [0]},
        target={"layer3": [0]},
        causal=(
            {"X": len(values)},
            {
                "A": (["X"], lambda x: values[x]),
                "B": (["A"], lambda a: a // 3),
                "C": (["A", "B"], lambda a, b: a + b),
            },
        ),
        paper=Numbers(3, bits, 3),
    )


FLOOR_AND_ADD = _floor_and_add("floor_and_add", range(0, 24, 3), 1.7647)
FLOOR_AND_ADD_ALL = _floor_and_add("floor_and_add_all", range(24), 0.2341)

_FACTORS = (2, 3, 2, 5, 2, 7, 2, 3)  # smallest prime factor of 2 ... 9
_BENDS = [1, -2, 4, -6, 8, -10, 6]  # of the line through these points, at 2 ... 8


def _factors(*bob: nn.Module) -> nn.Module:
    """Christine's answer B, and Bob's own one beside it; then Bob's layers."""
    bends = relu_layer([[1]] * 7, [-float(x) for x in range(2, 9)])
    return stack(bends, relu_layer([_BENDS, _BENDS], [2, 2]), *bob)


def _bob(answers: Callable[[int, int], int]) -> Causal:
    factor = (["X"], lambda x: _FACTORS[x])
    return {"X": 8}, {"B": factor, "F": factor, "C": (["B", "F"], answers)}


BOB_LISTENS = Toy(
    name="bob_listens",
    description="X in 2..9; B = Christine's smallest prime factor of X; C = B, Bob repeats it",
    model=lambda: _factors(relu_layer([[1, 0]])),
    inputs=listed(range(2, 10)),
    source={"layer2": [0]},
    target={"layer3": [0]},
    causal=_bob(lambda b, f: b),
    paper=Numbers(1.75, 1.75, 1.75),
)

BOB_COMPUTES = Toy(
    name="bob_computes",
    description="the same, and Bob factorises X himself: C = his own answer",
    model=lambda: _factors(relu_layer([[0, 1]])),
    inputs=listed(range(2, 10)),
    source={"layer2": [0]},
    target={"layer3": [0]},
    causal=_bob(lambda b, f: f),
    paper=Numbers(1.75, 0, 0),
)

BOB_CHECKS = Toy(
    name="bob_checks",
    description="the same, and Bob says whether Christine is right: C = (B = his own answer)",
    model=lambda: _factors(relu_layer([[1, -1], [-1, 1]]), relu_layer([[-1, -1]], [1])),
    inputs=listed(range(2, 10)),
    source={"layer2": [0]},
    target={"layer4": [0]},
    causal=_bob(lambda b, f: int(b == f)),
    paper=Numbers(0, 0.0897, 0.8387),
)

RARE_SIGNAL = Toy(
    name="rare_signal",
    description="X < 8; B = 1 if X = 7, else 0; C = B",
    model=lambda: stack(relu_layer([[1]], [-6]), relu_layer([[1]])),
    inputs=listed(range(8)),
    causal=({"X": 8}, {"B": (["X"], lambda x: x // 7), "C": copy_of("B")}),
    paper=Numbers(0.5436, 0.5436, 0.5436),
)

CLASS_GATE = Toy(
    name="class_gate",
    description="X < 4 of two classes S = X // 2; B = X; C = B in class 1, 0 in class 0",
    # the gate opens from 2 on: relu(x − 1) − relu(x − 2)
    model=lambda: stack(relu_layer([[1], [1], [1]], [0, -1, -2]), relu_layer([[1, 3, -3]], [-3])),
    inputs=listed(range(4)),
    causal=(
        {"X": 4},
        {
            "S": (["X"], lambda x: x // 2),
            "B": copy_of("X"),
            "C": (["B", "S"], lambda b, s: b * s),
        },
    ),
    paper=Numbers(1.5, 0.7988, 1),
)
