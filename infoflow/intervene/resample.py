"""Contexts run with the source's values taken from donors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from infoflow.intervene.edits import donor_edits
from infoflow.intervene.run import Run
from infoflow.intervene.swap import Pairs
from infoflow.record import Recording
from infoflow.units import UnitsLike


def resample(
    rec: Recording,
    source: UnitsLike,
    donors: np.ndarray,
    contexts: np.ndarray,
    observe: Sequence[str],
    *,
    replay: bool = True,
    progress: bool = False,
) -> Iterator[tuple[slice, dict[str, Tensor]]]:
    """Run context row `contexts[r]` with the source units at their values on row `donors[r]`.

    Args:
        rec: A recording.
        source: The units to set, in every layer they lie in, from the same donor: units of the
            source downstream of others keep the donor's values, so nothing leaks through them.
        donors: `(R,)` rows of the data set.
        contexts: `(R,)` rows of the data set.
        observe: Names of recorded layers.
        replay: Compute only what lies between the first intervened and the last observed layer,
            from the recording; False runs the whole model every time, which is slower and gives
            the same. Where replay does not reproduce the recording, a warning says so and full
            passes are run.
        progress: Show a progress bar.

    Yields:
        A range of rows of the R runs and, per observed layer, `(rows, units[, positions])` on the
        CPU. Nothing of size R is ever held.

    Raises:
        KeyError: A layer that was not recorded.
        ValueError: Source units empty, repeated or out of range; donors and contexts that differ
            in number or are no rows of the data set.
    """
    by_layer = rec.units.by_layer(source)
    for name in observe:
        rec.units.site(name)
    donors, contexts = _row_lists(rec, donors, contexts)
    grid = grid_of(donors, contexts)
    pairs = Pairs(
        torch.as_tensor(donors, device=rec.device),
        torch.as_tensor(contexts, device=rec.device),
        grid,
    )
    run = Run(rec, donor_edits(rec, by_layer, pairs), pairs.contexts, tuple(observe), grid)
    yield from run.chunks(replay=replay, progress=progress)


def grid_of(donors: np.ndarray, contexts: np.ndarray) -> int:
    """k, if the rows are every donor with the same k contexts, donor by donor; 0 if not.

    Examples:
        >>> grid_of(np.repeat([4, 2], 3), np.tile([0, 1, 2], 2))
        3
        >>> grid_of(np.array([4, 4, 2]), np.array([0, 1, 0]))
        0
    """
    changes = np.flatnonzero(donors[1:] != donors[:-1])
    k = int(changes[0]) + 1 if len(changes) else len(donors)
    if k < 2 or len(donors) % k:
        return 0
    same_donor = (donors.reshape(-1, k) == donors[::k, None]).all()
    same_contexts = (contexts.reshape(-1, k) == contexts[:k]).all()
    return k if same_donor and same_contexts else 0


def _row_lists(
    rec: Recording, donors: np.ndarray, contexts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    donors, contexts = np.asarray(donors, np.int64), np.asarray(contexts, np.int64)
    if len(donors) != len(contexts):
        raise ValueError(
            f"expected one context per donor: {len(donors)} donors, {len(contexts)} contexts"
        )
    for what, rows in (("donors", donors), ("contexts", contexts)):
        if len(rows) and (rows.min() < 0 or rows.max() >= len(rec)):
            raise ValueError(
                f"expected {what} among the {len(rec)} samples, got rows {rows.min()} to "
                f"{rows.max()}"
            )
    return donors, contexts
