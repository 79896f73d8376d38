"""Every network of the benchmark, by name."""

from __future__ import annotations

from types import ModuleType

from experiments.recovery import nothing, planted, trained
from experiments.recovery.known import KnownNetwork

FAMILIES: tuple[ModuleType, ...] = (planted, trained, nothing)
NOTHING = ("dense", "shuffled")
"""Families in which one module is right."""


def family_of(name: str) -> str:
    """The family that a network's name begins with.

    Examples:
        >>> family_of("tracks-k2-links0.3-0")
        'tracks'
    """
    return name.split("-")[0]


def number_of(name: str) -> int:
    """The number that a network's name ends in: odd ones are held out."""
    return int(name.rsplit("-", 1)[1])


def names() -> list[str]:
    """All networks, number by number, so that any beginning of the list is balanced."""
    every = [name for module in FAMILIES for name in module.NAMES]
    return sorted(every, key=number_of)


def build(name: str) -> KnownNetwork:
    """The network of that name.

    Raises:
        KeyError: There is none.
    """
    for module in FAMILIES:
        if name in module.NAMES:
            return module.build(name)
    raise KeyError(f"no network is called {name!r}; names() lists {len(names())} of them")
