"""The one way this package touches a running model: forward hooks, always taken off again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from infoflow.site import Site
from infoflow.units import unknown_name

CallFunction = Callable[[Any, int], Any]
"""Takes what a layer returned, and the number of the call within the pass; returns what replaces
it, or None to leave it."""

_COMPILED = "_orig_mod."  # torch.compile wraps a module in another that holds it by this name


def layer_at(model: nn.Module, path: str) -> nn.Module:
    """The submodule of dotted name `path`; the names of a compiled model are those it had before.

    Raises:
        KeyError: No such layer; near misses are named.
    """
    found: nn.Module | None = model
    for name in path.split("."):
        found = found._modules[name] if found is not None and name in found._modules else None
    if found is not None:
        return found
    plain = plain_names(model)
    if path == "" or path not in plain:
        raise KeyError(unknown_name("layer", path, list(plain)))
    return plain[path]


def plain_names(model: nn.Module) -> dict[str, nn.Module]:
    """Every submodule by dotted name, without what `torch.compile` puts into the names."""
    every = model.named_modules(remove_duplicate=False)
    return {name.replace(_COMPILED, ""): layer for name, layer in every}


class CallCheck:
    """Counts how often each site's layer was called; `check()` after a complete forward pass."""

    def __init__(self, sites: Iterable[Site]) -> None:
        self._sites = list(sites)
        self.calls = [0] * len(self._sites)

    def restart(self) -> None:
        """A pass begins: forget calls of an earlier one that broke off."""
        self.calls[:] = [0] * len(self.calls)

    def __call__(self) -> None:
        """Raises:
        RuntimeError: A layer was not reached, or was called more than once while its site does
            not say which call it means: one value would silently stand for several.
        """
        counts = list(self.calls)
        self.restart()
        for site, count in zip(self._sites, counts, strict=True):
            if count == 1 and site.call is None:
                continue
            if count == 0:
                raise RuntimeError(
                    f"layer {site.path!r} was never reached in the forward pass: the model does "
                    "not call it (it may use its weights directly, or choose another branch)"
                )
            if count > 1 and site.call is None:
                raise RuntimeError(
                    f"layer {site.path!r} was called {count} times in one forward pass; say which "
                    f"call you mean: Site({site.path!r}, call=0), or call='all' to take the calls "
                    "as positions"
                )
            if isinstance(site.call, int) and count <= site.call:
                raise RuntimeError(
                    f"layer {site.path!r} was called {count} times in one forward pass, so there "
                    f"is no call {site.call} (the first is 0)"
                )


@contextmanager
def call_hooks(
    model: nn.Module, functions: Iterable[tuple[Site, CallFunction]]
) -> Iterator[CallCheck]:
    """Let each site's function see, and optionally replace, what its layer returns or receives.

    Several functions on one layer compose in the order given; the user's own hooks come before.
    Yields a `CallCheck`, to be called after each forward pass. Only our own hooks are removed.
    """
    functions = list(functions)
    check = CallCheck(site for site, _ in functions)
    with removed_after(
        _register(layer_at(model, site.path), site, function, check.calls, number)
        for number, (site, function) in enumerate(functions)
    ):
        yield check


@contextmanager
def removed_after(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Hooks that are taken off again, also where a generator of them fails half-way."""
    added = []
    try:
        for handle in handles:
            added.append(handle)
        yield
    finally:
        for handle in added:
            handle.remove()


def _register(
    layer: nn.Module, site: Site, function: CallFunction, calls: list[int], place: int
) -> RemovableHandle:
    if isinstance(layer, torch.jit.ScriptModule):
        raise ValueError(
            f"layer {site.path!r} is compiled by torch.jit and takes no hooks: record layers "
            "before and after it, or the model as it was before"
        )
    only = site.call if isinstance(site.call, int) else None

    def see(value: Any) -> Any:
        number = calls[place]
        calls[place] = number + 1
        return function(value, number) if only is None or only == number else None

    if site.io == "output":
        return layer.register_forward_hook(_Ours(lambda _layer, _args, output: see(output)))
    return layer.register_forward_pre_hook(
        _Ours(lambda _layer, args, kwargs: see((args, kwargs))), with_kwargs=True
    )


@contextmanager
def checked_passes(
    model: nn.Module,
    functions: Iterable[tuple[Site, CallFunction]],
    before: Callable[[], None],
    after: Callable[[], None],
) -> Iterator[None]:
    """`call_hooks` for passes that the user starts: before each `before` is called; each complete
    pass is checked as it ends, and `after` called."""
    with call_hooks(model, functions) as check:

        def begin(*_: Any) -> None:
            check.restart()
            before()

        def finish(*_: Any) -> None:
            check()
            after()

        first = model.register_forward_pre_hook(_Ours(begin))
        with removed_after([first, model.register_forward_hook(_Ours(finish))]):
            yield


class _Ours:
    """A hook that does nothing in a copy of its module: nobody could take it off there."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Ours, (_nothing,)


def _nothing(*_: Any) -> None: ...
