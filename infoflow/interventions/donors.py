"""Which sample donates to which: over the whole data set, so that batches do not matter."""

from __future__ import annotations

from typing import Any

import numpy as np

from infoflow.interventions.kinds import Resample, Shuffle
from infoflow.recording import Recording


def donors_for(kind: Resample, rec: Recording, contexts: np.ndarray) -> np.ndarray:
    """`(R,)` donor of every row.

    `Shuffle`: row r's donor is π(context r), π one permutation of the data set (within labels, if
    given). `Resample`: drawn anew for every row, with replacement.

    Raises:
        ValueError: Labels that are not one per sample.
    """
    rng = np.random.default_rng(kind.seed)
    if kind.within is None:
        if isinstance(kind, Shuffle):
            return rng.permutation(len(rec))[contexts]
        return rng.integers(len(rec), size=len(contexts))
    labels = labels_of(kind.within, rec)
    donors = np.empty(len(contexts), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rows = np.flatnonzero(labels[contexts] == label)
        if isinstance(kind, Shuffle):
            place = np.zeros(len(rec), np.int64)
            place[members] = rng.permutation(members)
            donors[rows] = place[contexts[rows]]
        else:
            donors[rows] = rng.choice(members, size=len(rows))
    return donors


def labels_of(within: Any, rec: Recording) -> np.ndarray:
    """`(K,)` the label of every sample: those given, or the recording's targets for "targets".

    Raises:
        ValueError: Labels that are not one per sample, or a recording without targets.
    """
    if isinstance(within, str):
        if within != "targets" or rec.targets is None:
            raise ValueError(
                f"within={within!r}: expected one label per sample, or 'targets' with a recording "
                "that has targets"
            )
        within = rec.targets.numpy()
    labels = np.asarray(within)
    if labels.shape != (len(rec),):
        raise ValueError(f"expected {len(rec)} labels, one per sample, got shape {labels.shape}")
    return labels
