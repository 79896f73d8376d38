"""Logic: what one input of a gate sends depends on what the others say."""

from __future__ import annotations

from torch import nn

from infoflow.toys.system import Numbers, Toy, copy_of, identity, listed, relu_layer, stack

CONFOUNDED_AND = Toy(
    name="confounded_and",
    description="X coin; B = X; C = B and X",
    model=lambda: stack(relu_layer([[1], [1]]), relu_layer([[1, 1]], [-1])),
    inputs=listed([0, 1]),
    causal=({"X": 2}, {"B": copy_of("X"), "C": (["B", "X"], lambda b, x: b & x)}),
    paper=Numbers(1, 0.3113, 0.5),
)


def _xor() -> nn.Module:
    return stack(
        relu_layer(identity(2)),
        relu_layer([[1, 1], [1, 1]], [0, -1]),  # the sum, and the AND
        relu_layer([[1, -2]]),  # sum − 2 AND
    )


XOR_ONE = Toy(
    name="xor_one",
    description="X1, X2 coins; B = X1; C = B xor X2",
    model=_xor,
    inputs=listed([0, 1], [0, 1]),
    target={"layer3": [0]},
    causal=({"X1": 2, "X2": 2}, {"B": copy_of("X1"), "C": (["B", "X2"], lambda b, x: b ^ x)}),
    input_variables=("X1", "X2"),
    paper=Numbers(0, 0, 1),
)

XOR_BOTH = Toy(
    name="xor_both",
    description="X1, X2 coins; B = (X1, X2); C = xor",
    model=_xor,
    inputs=listed([0, 1], [0, 1]),
    source={"layer1": [0, 1]},
    target={"layer3": [0]},
    causal=(
        {"X1": 2, "X2": 2},
        {
            "B1": copy_of("X1"),
            "B2": copy_of("X2"),
            "C": (["B1", "B2"], lambda b1, b2: b1 ^ b2),
        },
    ),
    source_variables=("B1", "B2"),
    input_variables=("X1", "X2"),
    paper=Numbers(1, 1, 1),
)


def _or_of_copies() -> nn.Module:
    return stack(
        relu_layer([[1], [1]]),
        relu_layer([[1, 1], [1, 1]], [0, -1]),  # the sum, and the AND
        relu_layer([[1, -1]]),  # sum − AND
    )


_COPIES = {"B1": copy_of("X"), "B2": copy_of("X")}
_OR = {"X": 2}, {**_COPIES, "C": (["B1", "B2"], lambda b1, b2: b1 | b2)}

REDUNDANT_OR_ONE = Toy(
    name="redundant_or_one",
    description="two copies of X; C = B1 or B2; B one copy",
    model=_or_of_copies,
    inputs=listed([0, 1]),
    target={"layer3": [0]},
    causal=_OR,
    source_variables=("B1",),
    paper=Numbers(1, 0.3113, 0.5),
)

REDUNDANT_OR_BOTH = Toy(
    name="redundant_or_both",
    description="two copies of X; C = B1 or B2; B both copies",
    model=_or_of_copies,
    inputs=listed([0, 1]),
    source={"layer1": [0, 1]},
    target={"layer3": [0]},
    causal=_OR,
    source_variables=("B1", "B2"),
    paper=Numbers(1, 1, 1),
)

XOR_OF_COPIES = Toy(
    name="xor_of_copies",
    description="two copies of X; C = B1 xor B2, always 0; B one copy",
    model=lambda: stack(
        relu_layer([[1], [1]]), relu_layer([[1, 1], [1, 1]], [0, -1]), relu_layer([[1, -2]])
    ),
    inputs=listed([0, 1]),
    target={"layer3": [0]},
    causal=(
        {"X": 2},
        {
            "B1": copy_of("X"),
            "B2": copy_of("X"),
            "C": (["B1", "B2"], lambda b1, b2: b1 ^ b2),
        },
    ),
    source_variables=("B1",),
    paper=Numbers(0, 0, 1),
)


def _majority(name: str, described: str, k: int, bits: float) -> Toy:
    return Toy(
        name=name,
        description=f"three copies of X; C = majority; B {described}",
        # 1 from two votes on: relu(votes − 1) − relu(votes − 2)
        model=lambda: stack(
            relu_layer([[1], [1], [1]]),
            relu_layer([[1, 1, 1], [1, 1, 1]], [-1, -2]),
            relu_layer([[1, -1]]),
        ),
        inputs=listed([0, 1]),
        source={"layer1": list(range(k))},
        target={"layer3": [0]},
        causal=(
            {"X": 2},
            {f"B{i}": copy_of("X") for i in range(3)}
            | {"C": (["B0", "B1", "B2"], lambda *votes: sum(votes) >= 2)},
        ),
        source_variables=[f"B{i}" for i in range(k)],
        paper=Numbers(1, bits, bits),
    )


MAJORITY_ONE = _majority("majority_one", "one copy", 1, 0)
MAJORITY_TWO = _majority("majority_two", "two copies: silent one by one, not together", 2, 1)


def _parity() -> nn.Module:
    # the sum of 4 coins, turned at 1, 2 and 3: slope 1, −1, 1, −1 gives 0 1 0 1 0
    return stack(
        relu_layer(identity(4)),
        relu_layer([[1, 1, 1, 1]] * 4, [0, -1, -2, -3]),
        relu_layer([[1, -2, 2, -2]]),
    )


PARITY_3 = Toy(
    name="parity_3",
    description="C = parity of 4 coins; B = 3 of them",
    model=_parity,
    inputs=listed(*[[0, 1]] * 4),
    source={"layer1": [0, 1, 2]},
    target={"layer3": [0]},
    causal=(
        {f"X{i}": 2 for i in range(4)},
        {f"B{i}": copy_of(f"X{i}") for i in range(4)}
        | {"C": ([f"B{i}" for i in range(4)], lambda *coins: sum(coins) % 2)},
    ),
    source_variables=("B0", "B1", "B2"),
    input_variables=("X0", "X1", "X2", "X3"),
    paper=Numbers(0, 0, 1),
)
