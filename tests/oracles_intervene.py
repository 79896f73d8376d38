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
