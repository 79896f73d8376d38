"""How the flow depends on the code that the target is read through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from infoflow.information.donors import table_flow, two_way_se
from infoflow.information.entropy import miller_madow_bits
from infoflow.information.tables import code_tables
from infoflow.information.targets import disjoint, fit_target, normal_codes
from infoflow.measured import FLOW, Binning, Budget, Coding, Correction, Draws, Pool
from infoflow.recording import Recording
from infoflow.units import UnitsLike

if TYPE_CHECKING:
    import pandas as pd


def resolution_sweep(
    rec: Recording,
    source: UnitsLike,
    target: UnitsLike,
    *,
    counts: Sequence[int] = (2, 4, 6, 10, 16, 32),
    binning: Binning | None = None,
    coding: Coding = "joint",
    donors: Budget = FLOW.donors,
    contexts: Budget = FLOW.contexts,
    correction: Correction = "auto",
    pool: Pool = "mean",
    seed: int = 0,
) -> pd.DataFrame:
    """Flow from one set of runs, read through codes of several sizes.

    A finer code shows more, up to where there are too many cells for the contexts: then the value
    is all correction. Where the curve is still rising, the bits are a lower bound and no more.

    Args:
        rec: A recording.
        source, target: Units, as for `flow`.
        counts: Bins per unit, or sizes of the joint codebook.
        binning: What else to keep of the code; its count is replaced.
        coding, donors, contexts, correction, pool, seed: As for `flow`. Single source units are
            measured by donors and contexts, too.

    Returns:
        One row per size: count, bits, se, bits_given_context, entropy (of the code in the normal
        run, columns summed: no flow exceeds it), cells_per_sample.

    Raises:
        ValueError: As for `flow`.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> rec = ifl.record(net, ["1", "2"], torch.randn(80, 4))
        >>> sweep = resolution_sweep(rec, "1", "2", counts=(2, 4), donors=20, contexts=20)
        >>> sweep["count"].tolist()
        [2, 4]
    """
    import pandas as pd

    sent, seen = disjoint(rec, source, target)
    base = binning or Binning()
    draws = Draws(donors, contexts, base, coding, pool, correction, seed)
    targets = [
        fit_target(rec, seen, replace(draws, bins=replace(base, count=count))) for count in counts
    ]
    tables = code_tables(rec, sent, targets, *draws.rows(len(rec)))
    found = []
    for count, table in zip(counts, tables, strict=True):
        result = table_flow(table.codes, table.n_codes, estimator=correction)
        normal = normal_codes(rec, table.target)
        found.append(
            {
                "count": count,
                "bits": float(result.bits.sum()),
                "se": two_way_se(result.pointwise),
                "bits_given_context": float(result.given_context.sum()),
                "entropy": sum(float(miller_madow_bits(np.bincount(c))) for c in normal.T),
                "cells_per_sample": result.cells_per_sample,
            }
        )
    return pd.DataFrame(found)
