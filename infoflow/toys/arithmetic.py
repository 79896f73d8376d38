"""Integers computed from integers: division, thresholds, sums."""

from __future__ import annotations

from torch import nn

from infoflow.toys.system import Numbers, Toy, copy_of, identity, listed, relu_layer, stack


def dividing(n: int, by: int = 2, *, passed_on: int = 0) -> tuple[nn.Module, nn.Module]:
    """Two layers that compute x // by for integers 0 <= x < n.

    For integers, relu(x − by k + 1) − relu(x − by k) is the step that rises at by k; the steps are
    added up. The `passed_on` inputs after x come out unchanged behind it.

    Examples:
        >>> steps, combine = dividing(6)
        >>> combine(steps(listed(range(6)))).ravel().tolist()
        [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]
    """
    corners = [c for k in range(by, n, by) for c in (k - 1, k)]
    signs = [1, -1] * (len(corners) // 2)
    x_only = [1] + [0] * passed_on
    copies = [[0, *row] for row in identity(passed_on)]
    steps = relu_layer(
        [x_only for _ in corners] + copies, [-float(c) for c in corners] + [0.0] * passed_on
    )
    sums = [[*signs, *[0] * passed_on]] + [[0] * len(signs) + row for row in identity(passed_on)]
    return steps, relu_layer(sums)


INTEGER_DIVISION = Toy(
    name="integer_division",
    description="X < 16; B = X // 2; C = B // 2",
    model=lambda: stack(*dividing(16), *dividing(8)),
    inputs=listed(range(16)),
    source={"layer2": [0]},
    target={"layer4": [0]},
    causal=({"X": 16}, {"B": (["X"], lambda x: x // 2), "C": (["B"], lambda b: b // 2)}),
    paper=Numbers(2, 2, 2),
)

BOTTLENECK = Toy(
    name="bottleneck",
    description="X < 16; B = X; C = B // 8",
    # 1 from B = 8 on: relu(B − 7) − relu(B − 8)
    model=lambda: stack(relu_layer([[1]]), relu_layer([[1], [1]], [-7, -8]), relu_layer([[1, -1]])),
    inputs=listed(range(16)),
    target={"layer3": [0]},
    causal=({"X": 16}, {"B": copy_of("X"), "C": (["B"], lambda b: b // 8)}),
    paper=Numbers(1, 1, 1),
)


def _fully_mixed(k: int, bits: float, given_context: float) -> Toy:
    return Toy(
        name=f"fully_mixed_{k}",
        description=f"C = sum of 4 coins; B = {k} of them",
        model=lambda: stack(relu_layer(identity(4)), relu_layer([[1, 1, 1, 1]])),
        inputs=listed(*[[0, 1]] * 4),
        source={"layer1": list(range(k))},
        causal=(
            {f"X{i}": 2 for i in range(4)},
            {f"B{i}": copy_of(f"X{i}") for i in range(4)}
            | {"C": ([f"B{i}" for i in range(4)], lambda *coins: sum(coins))},
        ),
        source_variables=[f"B{i}" for i in range(k)],
        input_variables=[f"X{i}" for i in range(4)],
        paper=Numbers(bits, bits, given_context),
    )


FULLY_MIXED_1 = _fully_mixed(1, 0.2194, 1)
FULLY_MIXED_2 = _fully_mixed(2, 0.5306, 1.5)
FULLY_MIXED_3 = _fully_mixed(3, 1.0306, 1.8113)
