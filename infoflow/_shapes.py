"""Shapes of public arrays in jaxtyping's notation: `Float[np.ndarray, "units units"]`.

They are for readers. The tests also check them at every call (`INFOFLOW_CHECK_SHAPES=1`); otherwise
`shaped` does nothing, and jaxtyping need not be installed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import wraps
from inspect import signature
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
from torch import Tensor

CHECKED = os.environ.get("INFOFLOW_CHECK_SHAPES") == "1"
if TYPE_CHECKING or CHECKED:
    from jaxtyping import Float, Integer, Real
else:
    Float = Integer = Real = None

_P = ParamSpec("_P")
_R = TypeVar("_R")


def shaped(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """While the tests run: arrays that a call took without complaint, and the one that it gave,
    have the shapes which its annotations say; equal names are equal lengths.

    Raises:
        TypeError: They have not (from the call of the function).
    """
    if not CHECKED:
        return function
    from jaxtyping import jaxtyped

    said = {name: text for name, text in function.__annotations__.items() if "[" in str(text)}
    scope = {**function.__globals__, "Float": Float, "Integer": Integer, "Real": Real}
    shapes = {
        n: eval(t, scope) for n, t in said.items() if t.startswith(("Float", "Integer", "Real"))
    }

    @jaxtyped(typechecker=None)
    @wraps(function)
    def checked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        given = signature(function).bind(*args, **kwargs).arguments
        result = function(*args, **kwargs)
        _check(function.__qualname__, shapes, {**given, "return": result})
        return result

    return checked


def _check(where: str, shapes: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    for name, shape in shapes.items():
        value = values.get(name)
        array = value if isinstance(value, (Tensor, type(None))) else np.asarray(value)
        if array is not None and not isinstance(array, shape):
            raise TypeError(
                f"{where}: {name} is {array.dtype} {tuple(array.shape)}, said to be {shape}"
            )
