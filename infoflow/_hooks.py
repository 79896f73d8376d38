"""The one way this package touches a running model: forward hooks, always taken off again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from infoflow.units import Site, unknown_name

SiteFunction = Callable[[Any], Any]
"""Takes what a layer returned; returns its replacement, or None to leave it."""


def layer_at(model: nn.Module, path: str) -> nn.Module:
    """The submodule of dotted name `path`.

    Raises:
        KeyError: No such layer; near misses are named.
    """
    layers = dict(model.named_modules())
    if path not in layers or path == "":
        raise KeyError(unknown_name("layer", path, list(layers)))
    return layers[path]


class CallCheck:
    """Counts how often each site's layer was called; `check()` after a complete forward pass."""

    def __init__(self, sites: Iterable[Site]) -> None:
        self._calls = dict.fromkeys(sites, 0)

    def count(self, site: Site) -> None:
        """The site's layer was called."""
        self._calls[site] += 1

    def restart(self) -> None:
        """A pass begins: forget calls of an earlier one that broke off."""
        self._calls = dict.fromkeys(self._calls, 0)

    def __call__(self) -> None:
        """Raises:
        RuntimeError: A layer was not reached, or was called more than once: a unit then has
            several activations, and one value would silently stand for all.
        """
        calls = dict(self._calls)
        self.restart()
        for site, count in calls.items():
            if count == 0:
                raise RuntimeError(
                    f"layer {site.path!r} was never reached in the forward pass: the model does "
                    "not call it (it may use its weights directly, or choose another branch)"
                )
            if count > 1:
                raise RuntimeError(
                    f"layer {site.path!r} was called {count} times in one forward pass; give each "
                    "call a layer of its own (a shared module has no single activation per unit)"
                )


@contextmanager
def site_hooks(model: nn.Module, functions: Mapping[Site, SiteFunction]) -> Iterator[CallCheck]:
    """Let each site's function see, and optionally replace, what its layer returns.

    Several sites on one layer compose in the order given. Yields a `CallCheck`, to be called
    after each forward pass.
    """
    check = CallCheck(functions)
    handles = []

    def hook_for(site: Site, function: SiteFunction) -> Callable[..., Any]:
        def hook(_layer: nn.Module, _inputs: Any, output: Any) -> Any:
            check.count(site)
            return function(output)

        return hook

    try:
        for site, function in functions.items():
            layer = layer_at(model, site.path)
            handles.append(layer.register_forward_hook(hook_for(site, function)))
        yield check
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def checked_passes(model: nn.Module, functions: Mapping[Site, SiteFunction]) -> Iterator[None]:
    """`site_hooks` for passes that the user starts: each complete pass is checked as it ends."""
    with site_hooks(model, functions) as check:
        handles = [
            model.register_forward_pre_hook(lambda *_: check.restart()),
            model.register_forward_hook(lambda *_: check()),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; every submodule's own mode and the random state come back after."""
    modes = [(module, module.training) for module in model.modules()]
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices=devices):
            model.eval()
            yield
    finally:
        for module, training in modes:
            module.training = training
