"""Two groups that share information, whether or not one sends it to the other."""

from __future__ import annotations

from infoflow.toys.arithmetic import dividing
from infoflow.toys.system import Numbers, Toy, copy_of, identity, listed, relu_layer, stack

COIN_TOSS = Toy(
    name="coin_toss",
    description="X1, X2 coins; B = X1; C = X2 (no edge)",
    model=lambda: stack(relu_layer(identity(2)), relu_layer([[0, 1]])),
    inputs=listed([0, 1], [0, 1]),
    causal=({"X1": 2, "X2": 2}, {"B": copy_of("X1"), "C": copy_of("X2")}),
    input_variables=("X1", "X2"),
    paper=Numbers(0, 0, 0),
)

COPY = Toy(
    name="copy",
    description="X coin; B = X; C = B",
    model=lambda: stack(relu_layer([[1]]), relu_layer([[1]])),
    inputs=listed([0, 1]),
    causal=({"X": 2}, {"B": copy_of("X"), "C": copy_of("B")}),
    paper=Numbers(1, 1, 1),
)

DUCKS_AND_SHADOWS = Toy(
    name="ducks_and_shadows",
    description="X of 4 values feeds both; B = X; C = X (no edge B→C)",
    model=lambda: stack(relu_layer([[1], [1]]), relu_layer([[0, 1]])),
    inputs=listed(range(4)),
    causal=({"X": 4}, {"B": copy_of("X"), "C": copy_of("X")}),
    paper=Numbers(2, 0, 0),
)


def _two_tracks():
    # X1 // 2 in the first track, X2 carried along in the second; no weight joins them
    steps, combine = dividing(8, passed_on=1)
    return stack(steps, combine, relu_layer([[0, 1]]))


ISOLATED_SUBNETWORKS = Toy(
    name="isolated_subnetworks",
    description="two tracks, inputs tied X2 = X1 of 8 values; B = X1 // 2, C = X2",
    model=_two_tracks,
    inputs=listed(range(8)).repeat(1, 2),
    source={"layer2": [0]},
    target={"layer3": [0]},
    causal=(
        {"X1": 8},
        {
            "X2": copy_of("X1"),
            "B": (["X1"], lambda x: x // 2),
            "C": copy_of("X2"),
        },
    ),
    input_variables=("X1", "X2"),
    paper=Numbers(2, 0, 0),
)

SELECTED_DATA = Toy(
    name="selected_data",
    description="only X1 = X2 kept, coins; B = X1; C = X2",
    model=COIN_TOSS.model,
    inputs=listed([0, 1]).repeat(1, 2),
    causal=(
        {"X1": 2, "X2": 2},
        {
            "kept": (["X1", "X2"], lambda x1, x2: x1 == x2),
            "B": copy_of("X1"),
            "C": copy_of("X2"),
        },
    ),
    input_variables=("X1", "X2"),
    given={"kept": True},
    paper=Numbers(1, 0, 0),
)
