"""What calls are given, checked at the door: one check for each kind of argument.

`door` goes around a public function, `check_fields` into the `__post_init__` of options. Both look
up an argument's kind by its name, so that `seed` means the same everywhere. NumPy's and PyTorch's
single numbers become Python's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import fields
from functools import wraps
from inspect import signature
from os import PathLike
from typing import Any, ParamSpec, TypeVar

import numpy as np
from torch import Tensor, nn

Kind = Callable[[str, Any], Any]
"""`kind(name, value)` is the value in its plain form, or raises an error that names it."""
_P = ParamSpec("_P")
_R = TypeVar("_R")


class UnknownName(KeyError, ValueError):
    """A name that is none of those known; text as of `unknown_name`."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show it in quotes


def unknown_name(what: str, name: object, known: Sequence[str]) -> str:
    """An error text for a name that is not among `known`, with its near misses."""
    import difflib

    near = difflib.get_close_matches(str(name), [k for k in known if k], n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    listed = ", ".join(repr(k) for k in list(known)[:20] if k)
    return f"unknown {what} {told(name)}{hint} Known: {listed}"


def told(value: object) -> str:
    """A value as an error shows it: in full if it is short."""
    if isinstance(value, (np.ndarray, Tensor)) and value.ndim:
        return f"{type(value).__name__} of shape {tuple(value.shape)}, {value.dtype}"
    text = repr(value)
    return text if len(text) <= 80 else f"{type(value).__name__} {text[:60]}..."


def _scalar(value: Any) -> Any:
    """Single numbers of NumPy and PyTorch as Python's."""
    if isinstance(value, (np.generic, np.ndarray, Tensor)) and np.ndim(value) == 0:
        return value.item()
    return value


def whole(least: int, most: int = 10**9, *, none: bool = False, texts: Sequence[str] = ()) -> Kind:
    """An integer of that range, or None, or a text that stands for a number."""

    def check(name: str, value: Any) -> Any:
        number = _scalar(value)
        if (none and number is None) or (isinstance(number, str) and number in texts):
            return number
        if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
            up = "" if most >= 10**9 else f" and at most {most:,}"
            others = "".join(f" or {text!r}" for text in texts) + (" or None" if none else "")
            wanted = f"an integer of at least {least}{up}{others}"
            raise ValueError(f"{name}: expected {wanted}, got {told(value)}")
        return number

    return check


def real(
    least: float = -math.inf,
    most: float = math.inf,
    *,
    above: bool = False,
    below: bool = False,
    none: bool = False,
) -> Kind:
    """A finite number of that range, without its lower (`above`) or upper (`below`) end."""

    def check(name: str, value: Any) -> Any:
        number = _scalar(value)
        if none and number is None:
            return None
        fits = isinstance(number, (int, float)) and not isinstance(number, bool)
        ends = (least,) * above + (most,) * below
        if not fits or not least <= number <= most or math.isinf(number) or number in ends:
            low = f" {'above' if above else 'of at least'} {least:g}" if least > -math.inf else ""
            high = f" and {'below' if below else 'at most'} {most:g}" if most < math.inf else ""
            others = " or None" if none else ""
            raise ValueError(
                f"{name}: expected a finite number{low}{high}{others}, got {told(value)}"
            )
        return number

    return check


def numbers(name: str, value: Any) -> np.ndarray:
    """Finite real numbers as a float64 array."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = value.double() if value.is_floating_point() else value  # NumPy has no bfloat16
    if np.ma.is_masked(value):
        raise ValueError(f"{name}: expected numbers, got masked ones; fill them, or leave them out")
    try:
        array = np.asarray(value)
        plain = array.astype(np.float64) if array.dtype.kind in "biuf" else None
    except (ValueError, TypeError, RuntimeError):  # ragged
        plain = None
    if plain is None or not np.isfinite(plain).all():
        raise ValueError(f"{name}: expected finite numbers, got {told(value)}")
    return plain


def integers(name: str, value: Any, *, masks: bool = False) -> np.ndarray:
    """`(n,)` integers of anything that has an order; of `masks` booleans, and sets, as well."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    wrong = (str, bytes, Mapping) if masks else (str, bytes, Mapping, Set)
    ordered = isinstance(value, Iterable) and not isinstance(value, wrong)
    array, kinds = None, "iub" if masks else "iu"
    if ordered and not np.ma.is_masked(value):
        with suppress(ValueError, TypeError):  # ragged
            array = np.asarray(value if hasattr(value, "__array__") else list(value))
    if array is None or array.ndim != 1 or (array.size and array.dtype.kind not in kinds):
        got = told(value if array is None else array)
        raise ValueError(f"{name}: expected a list of integers, got {got}")
    return array


def flag(name: str, value: Any) -> bool:
    """True or False."""
    plain = _scalar(value)
    if not isinstance(plain, bool):
        raise ValueError(f"{name}: expected True or False, got {told(value)}")
    return plain


def one_of(known: Iterable[str], what: str | None = None) -> Kind:
    """One of some names; errors call it `what`."""
    names = tuple(known)

    def check(name: str, value: Any) -> str:
        if not isinstance(value, str) or value not in names:
            raise UnknownName(unknown_name(what or name, value, names))
        return str(value)

    return check


def fitting(test: Callable[[Any], object], wanted: str, *, none: bool = False) -> Kind:
    """A value that passes a test."""

    def check(name: str, value: Any) -> Any:
        if not test(value) and not (none and value is None):
            raise TypeError(f"{name}: expected {wanted}, got {told(value)}")
        return value

    return check


def instance(of: type | tuple[type, ...], wanted: str, *, none: bool = False) -> Kind:
    """A value of some type."""
    return fitting(lambda value: isinstance(value, of), wanted, none=none)


def has(wanted: str, *attributes: str, none: bool = False) -> Kind:
    """A result that is known by what it has, as its class is made further down."""

    def known(value: Any) -> bool:
        return not isinstance(value, type) and all(hasattr(value, a) for a in attributes)

    return fitting(known, wanted, none=none)


def network(name: str, value: Any) -> Any:
    """A network."""
    if not isinstance(value, nn.Module):
        raise TypeError(
            f"{name}: expected a torch.nn.Module, got {type(value).__name__}: a function has no "
            "layers to record; write it as the forward method of one"
        )
    return value


def given(_: str, value: Any) -> Any:
    """Anything: it is looked at where it is taken apart."""
    return value


def recorded(*, none: bool = False) -> Kind:
    """What `record` returns."""
    wanted = "a Recording, as infoflow.record(model, layers, inputs) returns"
    return has(wanted, "units", "activations", none=none)


def texts(name: str, value: Any) -> Any:
    """One name or several; None is for the default."""
    if value is None or (isinstance(value, str) and value):
        return value
    found = items(name, value)
    if not found or not all(isinstance(text, str) for text in found):
        raise ValueError(f"{name}: expected a name or a list of names, got {told(value)}")
    twice = sorted({text for text in found if found.count(text) > 1})
    if twice:
        raise ValueError(f"{name}: expected each once, got {twice} more than once in {found}")
    return [str(text) for text in found]


def text(name: str, value: Any) -> str:
    """A name that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name}: expected a name, got {told(value)}")
    return value


def flags(name: str, value: Any) -> np.ndarray:
    """`(n,)` booleans."""
    array = np.asarray(items(name, value))
    if array.ndim != 1 or (array.size and array.dtype != bool):
        raise ValueError(f"{name}: expected a list of True and False, got {told(value)}")
    return array.astype(bool)


def items(name: str, value: Any) -> list[Any]:
    """Several things in an order."""
    if not isinstance(value, Iterable) or isinstance(value, (str, bytes, Mapping, Set)):
        raise ValueError(f"{name}: expected a list, got {told(value)}")
    return list(value)


def each(kind: Kind, least: int = 0) -> Kind:
    """Several things of a kind, at least so many."""

    def check(name: str, value: Any) -> list[Any]:
        found = [kind(name, item) for item in items(name, value)]
        if len(found) < least:
            raise ValueError(f"{name}: expected at least {least}, got {told(value)}")
        return found

    return check


def mapping(name: str, value: Any) -> Any:
    """Names, and what belongs to each; None is for none."""
    named = isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
    if value is not None and not named:
        raise ValueError(f"{name}: expected a mapping of names, got {told(value)}")
    return value


def path(name: str, value: Any) -> Any:
    """The path of a file or folder."""
    if not isinstance(value, (str, PathLike)) or not str(value) or "\0" in str(value):
        raise TypeError(f"{name}: expected a path, got {told(value)}")
    return value


COUNT = whole(1)
BUDGET = whole(2, texts=("all",))
DROPOUT = real(0, 1, below=True)
SEED = whole(0, 2**63 - 1)
SIZES = each(COUNT, 1)

# Kinds of arguments that go by one name wherever they occur.
KINDS: dict[str, Kind] = {
    "rec": recorded(),
    "loss": fitting(callable, "a function loss(outputs, targets)", none=True),
    "loss_of": one_of(("output", "raw")),
    "model": network,
    "seed": SEED,
    "donors": BUDGET,
    "contexts": BUDGET,
    "path": path,
    "folder": path,
    **dict.fromkeys(("progress", "direct", "given_context", "fast", "replay", "proxies"), flag),
    "overwrite": flag,
    **dict.fromkeys(("batch_size", "rows", "workers"), COUNT),
    "restarts": whole(1, 10**5),
    "budget": whole(1, 10**7),
    "samples": whole(2, 10**6),
    "same_size": whole(2, 10**6),
    "probes": whole(2, 10**6),
    "tolerance": real(0, above=True, none=True),
    "eps": real(0),
    "resolution": real(0),
    "layers": texts,
    "measures": texts,
    "measure": text,
    "scheduler": lambda name, value: value if value is None else text(name, value),
    "positions": whole(1, texts=("mean", "each")),
}


def door(**own: Kind) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Check the arguments of each call, by `own` kinds or those of `KINDS`."""

    def around(function: Callable[_P, _R]) -> Callable[_P, _R]:
        names = tuple(signature(function).parameters)
        kinds = {name: kind for name, kind in {**KINDS, **own}.items() if name in names}

        @wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            placed = (
                kinds[name](name, value) if name in kinds else value
                for name, value in zip(names, args, strict=False)
            )
            named = {n: kinds[n](n, v) if n in kinds else v for n, v in kwargs.items()}
            return function(*placed, *args[len(names) :], **named)

        return checked

    return around


def check_fields(options: Any, **own: Kind) -> None:
    """The same for the fields of a frozen dataclass, which take their plain form."""
    kinds = {**KINDS, **own}
    for field in fields(options):
        if field.name in kinds:
            plain = kinds[field.name](field.name, getattr(options, field.name))
            object.__setattr__(options, field.name, plain)
