"""All toys by name."""

from __future__ import annotations

from infoflow.toys import arithmetic, forks, gates, inference, modular, relays, weights
from infoflow.toys.system import ModuleToy, Toy, named

TOYS: dict[str, Toy] = {
    toy.name: toy
    for toy in (
        forks.COIN_TOSS,
        forks.COPY,
        forks.DUCKS_AND_SHADOWS,
        forks.ISOLATED_SUBNETWORKS,
        forks.SELECTED_DATA,
        gates.CONFOUNDED_AND,
        arithmetic.INTEGER_DIVISION,
        gates.XOR_ONE,
        gates.XOR_BOTH,
        gates.REDUNDANT_OR_ONE,
        gates.REDUNDANT_OR_BOTH,
        gates.XOR_OF_COPIES,
        gates.MAJORITY_ONE,
        gates.MAJORITY_TWO,
        arithmetic.BOTTLENECK,
        arithmetic.FULLY_MIXED_1,
        arithmetic.FULLY_MIXED_2,
        arithmetic.FULLY_MIXED_3,
        gates.PARITY_3,
        weights.DEAD_UNIT,
        weights.BIAS_GATE,
        weights.CONTEXT_GATE,
        weights.NESTED_INNER,
        weights.NESTED_OUTER,
        weights.TWO_LAYER_GROUP,
        inference.FLOOR_AND_ADD,
        inference.FLOOR_AND_ADD_ALL,
        inference.BOB_LISTENS,
        inference.BOB_COMPUTES,
        inference.BOB_CHECKS,
        inference.RARE_SIGNAL,
        inference.CLASS_GATE,
        relays.RELAYED,
        relays.HALF_RELAYED,
        relays.CANCELLED,
    )
}
"""The toys with known flow from B to C."""

MODULE_TOYS: dict[str, ModuleToy] = {
    toy.name: toy
    for toy in (
        modular.ISOLATED_TRACKS,
        modular.FULLY_MIXED_LAYERS,
        modular.NESTED_MODULES,
        modular.REDUNDANT_TRACKS,
    )
}
"""The toys with planted modules."""


def load(name: str) -> Toy:
    """The toy of that name.

    Raises:
        UnknownName: No such toy; near misses are named.

    Examples:
        >>> load("copy").paper.interventional
        1
    """
    return named(TOYS, "toy", name)


def load_modules(name: str) -> ModuleToy:
    """The toy with planted modules of that name.

    Raises:
        UnknownName: No such toy; near misses are named.

    Examples:
        >>> load_modules("nested_modules").planted[0]
        Partition(8 units in 2 modules of 4, 4)
    """
    return named(MODULE_TOYS, "toy with modules", name)
