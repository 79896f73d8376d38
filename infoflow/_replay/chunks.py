"""How many rows to run at a time, which of them a full pass is compared on, and what is equal."""

from __future__ import annotations

import random
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

# Measured on a 64-64 perceptron, a small ResNet and a small transformer, one CPU thread: time per
# row is lowest at 32 MB of what live layers return (less: calls cost more than they compute; more:
# out of the cache), and for narrow layers at no more than some thousand rows.
_CPU_BYTES = 32 << 20
_CPU_ROWS = 8192
_GPU_BYTES = 256 << 20


def free_bytes(device: torch.device) -> int:
    """Memory that is free where tensors on `device` live."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return int(next(x for x in lines if x.startswith("MemAvailable")).split()[1]) << 10
    except (OSError, StopIteration):  # not Linux: no way to know without another package
        return 8 << 30


def chunk_rows(device: torch.device, nbytes_per_row: int, grid: int, at_most: int) -> int:
    """Rows per forward pass: activations within the budget, whole donors where there is a grid.

    Args:
        device: Where the passes run.
        nbytes_per_row: What the layers that run return for one row.
        grid: Rows per donor, or 0.
        at_most: Rows there are.

    Examples:
        >>> chunk_rows(torch.device("cpu"), 1024, 100, 10**6)
        8100
    """
    if device.type == "cpu":
        rows = min(_CPU_BYTES // nbytes_per_row, _CPU_ROWS)
    else:
        rows = min(_GPU_BYTES, free_bytes(device) // 16) // nbytes_per_row
    rows = max(1, min(rows, at_most))
    return rows // grid * grid if grid and rows > grid else rows


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
