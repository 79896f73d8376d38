"""A network of the user's, as the command line names it: module:function and layers."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from tyro.conf import Positional, arg

from infoflow._arguments import KINDS, whole
from infoflow._inputs import check_data, collect
from infoflow.commands.answer import say, watched
from infoflow.measured import Weighting
from infoflow.recording import Recording, record
from infoflow.units import Site, unknown_name

Factory = Annotated[Positional[str], arg(metavar="MODULE:FUNCTION")]
Units = dict[str, "list[int] | slice"]
_UNITS = re.compile(r"(.+):([\d,-]+)")


@dataclass(frozen=True)
class Rows:
    """How much of the data is recorded."""

    max_rows: int = 2000
    """Rows of the data that are recorded at most (the first ones)."""
    batch_size: int = 512
    """Rows per forward pass."""

    def check(self) -> None:
        """Raises ValueError for fewer than two rows."""
        whole(2)("--max-rows", self.max_rows)


@dataclass(frozen=True)
class Network:
    """Your own network."""

    factory: Factory
    """module:function; the function returns model, inputs, targets, loss (the last two may be
    None)."""
    layers: tuple[str, ...]
    """Dotted names of the layers to record; NAME@D for units along dimension D; * in a name takes
    many."""
    rows: Rows = field(default_factory=Rows)

    def record(self) -> Recording:
        """Call the factory, and run the network over its data."""
        self.rows.check()
        return recorded(self.factory, self.layers, self.rows)


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    n_modules: int = 2
    """Modules that the causal search looks for."""
    weighting: Weighting = "ncut"
    """What the exchange is divided by."""
    budget: int = 400
    """Partitions that the search measures."""
    samples: int = 40
    """Random partitions for the mean of the module score."""
    donors: int = 60
    """Donor samples of every intervention."""
    contexts: int = 40
    """Context samples of every intervention."""
    seed: int = 0
    """Seed of everything."""

    def check(self, units: int | None = None) -> None:
        """Refuse what would fail after the network is trained or recorded.

        Args:
            units: How many there will be, if that is known.

        Raises:
            ValueError: An option out of its range.
        """
        kinds = {"n_modules": whole(2), **KINDS}
        for name in ("n_modules", "budget", "samples", "donors", "contexts", "seed"):
            kinds[name]("--" + name.replace("_", "-"), getattr(self, name))
        if units is not None and self.n_modules > units:
            raise ValueError(f"expected --n-modules <= {units} units, got {self.n_modules}")


def recorded(factory: str, layers: Sequence[str], rows: Rows) -> Recording:
    """A recording of the first rows of what a factory returns, checked as a whole."""
    sites = [parse_site(name) for name in layers]
    model, inputs, targets, loss = made(factory)
    given = collect(model, inputs, targets)
    check_data(model, given)
    if len(given.tensors[0]) > rows.max_rows:
        say(f"recording the first {rows.max_rows} of {len(given.tensors[0])} rows (--max-rows)")
    some = given.first(rows.max_rows)
    return record(model, sites, *some, loss=loss, batch_size=rows.batch_size, progress=watched())


def made(factory: str) -> tuple[Any, ...]:
    """What a factory returns: model, inputs, targets, loss; the last two None where left out."""
    found = load_factory(factory)()
    if not isinstance(found, tuple) or not 2 <= len(found) <= 4:
        raise ValueError(
            f"{factory} returned {type(found).__name__}; expected a tuple "
            "(model, inputs, targets, loss)"
        )
    return (*found, None, None)[:4]


def load_factory(name: str) -> Callable[[], Any]:
    """The function that `module:function` names; the working folder is searched first.

    Raises:
        ValueError: Not of that form, no such module, or no such function in it.
    """
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name:
        raise ValueError(f"expected module:function, got {name!r}")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(f"cannot import {error.name!r} for {name!r}: is it installed?") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        own = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        unknown = unknown_name("function", function_name, own)
        raise ValueError(f"module {module_name!r} has no function {function_name!r}: {unknown}")
    return function


def parse_site(name: str) -> Site:
    """A layer name, with the unit dimension after an @ if given.

    Examples:
        >>> site = parse_site("encoder.relu@1")
        >>> site.path, site.unit_dim
        ('encoder.relu', 1)
    """
    path, _, dim = name.partition("@")
    try:
        return Site(path, unit_dim=int(dim) if dim else None)
    except ValueError as error:
        raise ValueError(f"expected NAME or NAME@DIMENSION, got {name!r}") from error


def parse_units(specs: Sequence[str]) -> tuple[list[str], Units]:
    """Layers to record, and the units that are meant there: LAYER for all, LAYER:0,3,8-11 for some.

    Examples:
        >>> parse_units(["fc1:0,3-5", "relu@1"])
        (['fc1', 'relu@1'], {'fc1': [0, 3, 4, 5], 'relu': slice(None, None, None)})
    """
    layers: list[str] = []
    units: Units = {}
    for spec in specs:
        found = _UNITS.fullmatch(spec)
        layer, some = found.groups() if found else (spec, None)
        name = parse_site(layer).path
        if name in units:
            raise ValueError(f"layer {name!r} is named twice: join its units, as in {name}:0,3,8")
        ends = [part.partition("-") for part in (some or "").split(",")]
        if some is not None and not all(a.isdigit() and (b + "0").isdigit() for a, _, b in ends):
            raise ValueError(f"expected LAYER or LAYER:0,3,8-11, got {spec!r}")
        inside = [i for a, _, b in ends if a for i in range(int(a), int(b or a) + 1)]
        layers.append(layer)
        units[name] = slice(None) if some is None else inside
    return layers, units


def chosen(rec: Recording, units: Units) -> dict[str, list[int]]:
    """Units by layer, all of a layer written out."""
    return {
        name: list(range(len(rec.units.indices(name))))[some] if isinstance(some, slice) else some
        for name, some in units.items()
    }
