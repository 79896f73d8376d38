"""Contexts run with the source's values taken from donors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from infoflow.interventions.bind import donor_edit
from infoflow.interventions.pairs import make_pairs, row_lists
from infoflow.interventions.run import Run
from infoflow.recording import Recording
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
    donors, contexts = row_lists(rec, donors, contexts)
    pairs = make_pairs(rec, donors, contexts)
    edits = {
        name: donor_edit(rec, name, torch.as_tensor(inside, device=rec.device), pairs)
        for name, inside in by_layer.items()
    }
    run = Run(rec, edits, pairs.contexts, tuple(observe), pairs.grid)
    yield from run.chunks(replay=replay, progress=progress)
