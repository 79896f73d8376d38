"""Every network of the benchmark, by name."""

from __future__ import annotations

from types import ModuleType

from experiments.recovery import compiled, nothing, planted, superposition, trained
from experiments.recovery.known import KnownNetwork

FAMILIES: tuple[ModuleType, ...] = (planted, trained, nothing, compiled, superposition)
NOTHING = ("dense", "shuffled")
"""Families in which one module is right."""
BESIDE = ("variables", "superposition")
"""Families that are reported and enter no mean."""


def family_of(name: str) -> str:
    """The family that a network's name begins with; of compiled ones, whether programs are joined.

    Examples:
        >>> family_of("tracks-k2-links0.3-0"), family_of("tracr-hist+sort-own")
        ('tracks', 'programs')
    """
    first = name.split("-")[0]
    return ("programs" if "+" in name else "variables") if first == "tracr" else first


def _number(name: str, place: int) -> int:
    tail = name.rsplit("-", 1)[-1]
    return int(tail) if tail.isdigit() else place


_NUMBERS = {
    name: _number(name, place) for module in FAMILIES for place, name in enumerate(module.NAMES)
}


def number_of(name: str) -> int:
    """The number that a network's name ends in, or else its place in its file: odd ones are held
    out."""
    return _NUMBERS[name]


def names() -> list[str]:
    """All networks, number by number, so that any beginning of the list is balanced."""
    return sorted(_NUMBERS, key=number_of)


def build(name: str) -> KnownNetwork:
    """The network of that name.

    Raises:
        KeyError: There is none.
    """
    for module in FAMILIES:
        if name in module.NAMES:
            return module.build(name)
    raise KeyError(f"no network is called {name!r}; names() lists {len(names())} of them")
