"""What was replayed beside a full pass: which rows are compared, and what counts as equal."""

from __future__ import annotations

import random
from collections.abc import Hashable
from dataclasses import dataclass, field

import torch
from torch import Tensor

GUARDED_ROWS = 2  # not one: models that squeeze their outputs fail on batches of one


@dataclass(eq=False)
class Guard:
    """Which rows of what was replayed are compared with a full pass.

    Attributes:
        rng: A stream of its own, so that a program compares the same rows each time it runs.
        kinds: Kinds of runs that were compared before.
    """

    rng: random.Random = field(default_factory=lambda: random.Random(0))
    kinds: set[Hashable] = field(default_factory=set)

    def sample(self, kind: Hashable, rows: slice) -> slice:
        """Neighbouring rows at random; twice as many for the first of a kind.

        `kind` is what is intervened on and what is observed: a comparison says nothing of others.
        """
        few = GUARDED_ROWS if kind in self.kinds else 2 * GUARDED_ROWS
        self.kinds.add(kind)
        start = rows.start + self.rng.randrange(max(rows.stop - rows.start - few, 0) + 1)
        return slice(start, min(start + few, rows.stop))


def alike(found: Tensor, right: Tensor, step: float = 0.0, limit: Tensor | None = None) -> bool:
    """Equal unit by unit but for rounding: batches of another size are summed in another order.

    A unit is compared with its own largest value in `right`, or a hundredth of the median unit's
    where that is more: what cancels is rounded like its parts. Or with `limit`, if that is more:
    the `limits` of the same units on more samples. `step`: the coarsest on the way to them.
    """
    if found.shape != right.shape:
        return False
    if not right.is_floating_point() or not right.numel():
        return bool((found == right).all())
    gap = (found - right).abs_()
    if limit is not None and bool((gap <= limit).all()):
        return True
    same = (found == right) | (found.isnan() & right.isnan())
    own = limits(right, step)
    own = own if limit is None else torch.maximum(own, limit)
    return bool(((gap <= own) | same).all())


def limits(values: Tensor, step: float) -> Tensor:
    """How much rounding may move every unit of `(rows, units[, positions])`, in their type. Double
    precision is rounded like the single one it was made of; no further is a guard loosened."""
    step = max(torch.finfo(values.dtype).eps, min(step, torch.finfo(torch.float32).eps))
    largest = values.abs().nan_to_num(0.0, 0.0).amax((0, *range(2, values.ndim)), keepdim=True)
    largest = largest.double()
    sizes = largest.clamp(min=max(float(largest.median()) / 100, 1e-30))
    return (min(1e3 * step, 0.25) * sizes).to(values.dtype)
