"""Raw-hook references for the intervention engine: full passes, nothing cached, nothing shared."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def raw_hook_swap(
    model: nn.Module,
    inputs: Tensor,
    path: str,
    units: Sequence[int],
    donors: Tensor,
    observe: str,
) -> Tensor:
    """Output of `observe` on every input while `units` of `path` are at their donors' values."""
    layers, seen = dict(model.named_modules()), {}
    normal: list[Tensor] = []

    def put(_m, _x, out):
        out = out.clone()
        out[:, list(units)] = normal[0][donors][:, list(units)]
        return out

    model.eval()
    with torch.no_grad():
        take = layers[path].register_forward_hook(lambda m, x, out: normal.append(out.clone()))
        model(inputs)
        take.remove()
        hooks = [layers[path].register_forward_hook(put)]
        hooks.append(
            layers[observe].register_forward_hook(lambda m, x, o: seen.update(o=o.clone()))
        )
        model(inputs)
    for hook in hooks:
        hook.remove()
    return seen["o"]


def raw_hook_resample(
    model: nn.Module,
    args: tuple[Tensor, ...],
    source: dict[str, tuple[int, Sequence[int]]],
    donors: Tensor,
    contexts: Tensor,
    observe: str,
) -> list[Tensor]:
    """What every call of `observe` returns while, in all calls of each source layer, its units
    `{path: (unit dimension, indices)}` are at their donors' values."""
    layers, normal, seen = dict(model.named_modules()), {p: [] for p in source}, []

    def put(path, calls):
        dim, units = source[path]

        def hook(_m, _x, out):
            out, index = out.clone(), torch.tensor(units)
            return out.index_copy_(dim, index, next(calls)[donors].index_select(dim, index))

        return hook

    def take(path):
        return lambda m, x, out: normal[path].append(out.clone())

    model.eval()
    with torch.no_grad():
        hooks = [layers[p].register_forward_hook(take(p)) for p in source]
        model(*args)
        [hook.remove() for hook in hooks]
        hooks = [layers[p].register_forward_hook(put(p, iter(normal[p]))) for p in source]
        hooks += [layers[observe].register_forward_hook(lambda m, x, o: seen.append(o.clone()))]
        model(*(x[contexts] for x in args))
        [hook.remove() for hook in hooks]
    return seen
