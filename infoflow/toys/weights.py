"""Weights that are there and carry nothing, or carry something only when a gate is open."""

from __future__ import annotations

from infoflow.toys.system import Numbers, Toy, copy_of, identity, listed, relu_layer, stack

DEAD_UNIT = Toy(
    name="dead_unit",
    description="B = 0 always, weighted into C; X coin, C = 5 B + X",
    # B = relu(−X − 1) never fires
    model=lambda: stack(relu_layer([[-1], [1]], [-1, 0]), relu_layer([[5, 1]])),
    inputs=listed([0, 1]),
    causal=(
        {"X": 2},
        {"B": (["X"], lambda x: max(-x - 1, 0)), "C": (["B", "X"], lambda b, x: 5 * b + x)},
    ),
    paper=Numbers(0, 0, 0),
)

BIAS_GATE = Toy(
    name="bias_gate",
    description="C = relu(5 B − 10), B coin: the weight is there, nothing flows",
    model=lambda: stack(relu_layer([[1]]), relu_layer([[5]], [-10])),
    inputs=listed([0, 1]),
    causal=({"X": 2}, {"B": copy_of("X"), "C": (["B"], lambda b: max(5 * b - 10, 0))}),
    paper=Numbers(0, 0, 0),
)

CONTEXT_GATE = Toy(
    name="context_gate",
    description="C = relu(5 B + 10 g − 10), B coin, g = 1 with p = 1/8",
    # g opens for the last of eight values: relu(x − 6)
    model=lambda: stack(relu_layer(identity(2), [0, -6]), relu_layer([[5, 10]], [-10])),
    inputs=listed([0, 1], range(8)),
    causal=(
        {"X": 2, "g": [7 / 8, 1 / 8]},
        {
            "B": copy_of("X"),
            "C": (["B", "g"], lambda b, g: max(5 * b + 10 * g - 10, 0)),
        },
    ),
    input_variables=("X", "g"),
    paper=Numbers(0.0655, 0.0655, 0.125),
)


def _nested():
    # B and the gate (open for the last of eight values); inner C = B; outer C = relu(B + 3g − 3)
    return stack(relu_layer(identity(2), [0, -6]), relu_layer([[1, 0], [1, 3]], [0, -3]))


_NESTED = (
    {"X": 4, "g": [7 / 8, 1 / 8]},
    {
        "B": copy_of("X"),
        "inner": copy_of("B"),
        "outer": (["B", "g"], lambda b, g: b if g else 0),
    },
)

NESTED_INNER = Toy(
    name="nested_inner",
    description="B of 4 values; within its module C = B",
    model=_nested,
    inputs=listed(range(4), range(8)),
    causal=_NESTED,
    target_variables=("inner",),
    input_variables=("X", "g"),
    paper=Numbers(2, 2, 2),
)

NESTED_OUTER = Toy(
    name="nested_outer",
    description="B of 4 values; beyond its module C = B if a gate (1/8) is open, else 0",
    model=_nested,
    inputs=listed(range(4), range(8)),
    target={"layer2": [1]},
    causal=_NESTED,
    target_variables=("outer",),
    input_variables=("X", "g"),
    paper=Numbers(0.1898, 0.1898, 0.25),
)

TWO_LAYER_GROUP = Toy(
    name="two_layer_group",
    description="B = {h1, its copy h2 one layer up}, 3 values; C = h1 − h2",
    # layer2 holds h2 and a relay of h1; C is two units, relu(h1 − h2) and relu(h2 − h1)
    model=lambda: stack(relu_layer([[1]]), relu_layer([[1], [1]]), relu_layer([[-1, 1], [1, -1]])),
    inputs=listed(range(3)),
    source={"layer1": [0], "layer2": [0]},
    target={"layer3": [0, 1]},
    causal=(
        {"X": 3},
        {
            "h1": copy_of("X"),
            "h2": copy_of("h1"),
            "C": (["h1", "h2"], lambda h1, h2: h1 - h2),
        },
    ),
    source_variables=("h1", "h2"),
    paper=Numbers(0, 0, 0),
)
