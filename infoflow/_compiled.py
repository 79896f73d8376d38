"""Compiled loops whose machine code is kept between processes, where there is a place for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar, cast

from numba import njit
from numba.core.caching import FunctionCache

from infoflow._warnings import warn

F = TypeVar("F", bound=Callable[..., Any])


class _Cache(FunctionCache):
    """Numba's cache, in which a damaged file is as good as none, and a full disk no error."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # unpickling what was cut short may raise anything
            with suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(OSError):
            super().save_overload(sig, data)


def compiled(function: F) -> F:
    """Numba's `njit`, with its code kept beside the source, in `NUMBA_CACHE_DIR` or in the user's
    cache folder; where none of them can be written, said once, each process compiles anew."""
    made: Any = njit(function)
    try:
        made._cache = _Cache(function)
    except RuntimeError:
        _say_that_nothing_is_kept()
    return cast(F, made)


@cache
def _say_that_nothing_is_kept() -> None:
    warn(
        "compiled loops cannot be kept: neither the package's folder nor the user's cache folder "
        "can be written, so every process compiles for some seconds; set the environment variable "
        "NUMBA_CACHE_DIR to a folder of your own"
    )
