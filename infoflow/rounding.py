"""What rounding does to recorded values: differences that are none."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

# A value that is computed again, in a batch of another shape, differs by a few steps of the
# floating-point grid at the scale of what was added up; over some layers, by some tens.
STEPS = 16


def rounding_error(
    values: Tensor, *, rotated: bool = False, step: float | None = None
) -> np.ndarray:
    """By how much a unit's values may differ without meaning anything: `(units,)`.

    `STEPS` times the machine epsilon times the scale of what enters: the unit's
    largest value, and for a direction of a basis, in which every unit of the layer is added up,
    the norm of the layer.

    Args:
        values: `(rows, units[, positions])` activations as recorded.
        rotated: The units are directions of a basis.
        step: The machine epsilon of the coarsest type on the way to them; None: of their own.
    """
    step = torch.finfo(values.dtype).eps if step is None else step
    each = values.transpose(0, 1).flatten(1).abs().amax(1).double()
    if rotated:
        each = each.clamp(min=float(values.double().norm(dim=1).max()))
    return STEPS * step * each.numpy()


def constant_units(
    parts: Iterable[Tensor], *, rotated: bool = False, step: float | None = None
) -> np.ndarray:
    """`(units,)` bool: the unit never changes by more than rounding (see `rounding_error`); from
    its values on some rows after others."""
    ranges = []
    for values in parts:
        flat = values.transpose(0, 1).flatten(1)
        ends = flat.amin(1).double().numpy(), flat.amax(1).double().numpy()
        ranges.append((*ends, rounding_error(values, rotated=rotated, step=step)))
    low, high, error = (np.stack(each) for each in zip(*ranges, strict=True))
    return high.max(0) - low.min(0) <= error.max(0)


def levels(column: np.ndarray, error: float) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest value `(L,)` of each level of a unit, ascending.

    Values that follow each other within `error` are one level, if all of them lie within four
    times that; where they run on and on, the unit is continuous there and each value its own.

    Examples:
        >>> low, high = levels(np.array([1.0, 0.0, 1.0 + 1e-9]), 1e-8)
        >>> low.tolist(), bool(high[1] > 1)
        ([0.0, 1.0], True)
    """
    found = np.unique(column)
    if len(found) < 2:
        return found, found
    apart = np.diff(found) > error
    if apart.all():
        return found, found
    group = np.concatenate([[0], np.cumsum(apart)])
    first = np.flatnonzero(np.concatenate([[True], apart]))
    last = np.concatenate([first[1:] - 1, [len(found) - 1]])
    continuous = (found[last] - found[first] > 4 * error)[group]
    begins = continuous | np.isin(np.arange(len(found)), first)
    ends = continuous | np.isin(np.arange(len(found)), last)
    return found[begins], found[ends]


def snapped(values: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Values `(rows, n)` with all of a level replaced by its lowest, -0.0 by 0.0."""
    out = np.empty(values.shape)
    for unit, off in enumerate(error):
        low, _ = levels(values[:, unit], float(off))
        out[:, unit] = low[np.searchsorted(low, values[:, unit], side="right") - 1]
    return out + 0.0
