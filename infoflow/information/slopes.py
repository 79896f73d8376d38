"""How units answer to others, from gradients: what a donor's values of a unit would do to another
one if the network were linear around each context."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from infoflow._hooks import CallFunction, call_hooks
from infoflow._safety import evaluating
from infoflow.recording import Recording
from infoflow.site import Site
from infoflow.unit_similarity.graph import batched_vjp

_NUMBERS = 2**24  # slopes held at once

Slopes = dict[str, Tensor]
"""By layer, `(targets, contexts, units, positions)` slopes of some targets."""


def slopes(rec: Recording, contexts: np.ndarray) -> Iterator[tuple[np.ndarray, Slopes]]:
    """∂h_t/∂h_s of single samples, h_t being the mean over t's (real) positions, with respect to s
    at each of its positions; some targets at a time, one backward pass for each.

    Args:
        rec: A recording.
        contexts: `(K,)` rows of the data set.

    Yields:
        Flat indices of targets `(m,)`, and their slopes with respect to the units of every layer
        that can move them.

    Raises:
        ValueError: A layer whose calls are positions: its units move each other.
    """
    if any(site.call == "all" for site in rec.units.sites):
        raise ValueError(
            "slopes are not built for layers that are called several times, whose units move each "
            "other: measure the flows, or record Site(..., call=0)"
        )
    rec.check_current()
    with evaluating(rec.model, rec.snapshot()):
        deltas, pooled = _run(rec, contexts)
        for name, answers in pooled.items():
            units = rec.units.indices(name)
            units = units[~rec.units.unused[units]]
            above = _above(answers, deltas)
            if not above or not len(units):
                continue
            leaves = [deltas[other] for other in above]
            size = max(1, _NUMBERS // sum(leaf.numel() for leaf in leaves))
            for some in np.array_split(units, -(-len(units) // size)):
                weights = answers.new_zeros(len(some), *answers.shape)
                inside = torch.from_numpy(some - rec.units.offsets[name])
                weights[torch.arange(len(some)), :, inside] = 1
                found = batched_vjp(answers, leaves, weights)
                yield some, dict(zip(above, found, strict=True))


def _run(rec: Recording, contexts: np.ndarray) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """By layer: perturbations `(K, units, positions)` that were added, and the activations before
    them `(K, units)`, averaged over positions."""
    deltas: dict[str, Tensor] = {}
    pooled: dict[str, Tensor] = {}

    def add(site: Site) -> CallFunction:
        def hook(value: Any, _call: int) -> Any:
            h = site.read(value).clone()
            delta = torch.zeros_like(h if h.ndim == 3 else h[:, :, None], requires_grad=True)
            deltas[site.name] = delta
            real = rec.real(site.name, contexts)
            shift = delta if real is None else delta * real[:, None].to(h.device)
            if h.ndim == 3:
                pooled[site.name] = rec.filled(site.name, h, contexts).mean(2)
            else:
                pooled[site.name], shift = h, shift[:, :, 0]
            return site.add(value, shift)

        return hook

    simple = sdpa_kernel(SDPBackend.MATH)
    hooks = call_hooks(rec.model, [(site, add(site)) for site in rec.units.sites])
    with torch.enable_grad(), simple, hooks as check:
        rec.call(rec.rows(contexts))
        check()
    return deltas, pooled


def _above(answers: Tensor, deltas: dict[str, Tensor]) -> list[str]:
    """The layers that can move these answers."""
    if not answers.requires_grad:
        return []
    found = torch.autograd.grad(
        answers.sum(), list(deltas.values()), retain_graph=True, allow_unused=True
    )
    return [name for name, part in zip(deltas, found, strict=True) if part is not None]
