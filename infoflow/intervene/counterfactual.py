"""A whole data set with the source's tie to the input broken."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from infoflow.intervene.resample import resample
from infoflow.record import Recording
from infoflow.units import UnitsLike


def counterfactual(
    rec: Recording,
    source: UnitsLike,
    *,
    observe: str,
    seed: int = 0,
    progress: bool = False,
) -> Tensor:
    """One pass over the data set with the source's tie to the input broken.

    Every sample runs with the source units set to what they were on another sample, drawn by one
    permutation of the whole data set; all source units, in whatever layers, take their values
    from the same donor.

    Args:
        rec: A recording.
        source: Flat unit indices, or `{layer: indices}`.
        observe: The layer whose activations to return.
        seed: Seed of the permutation.
        progress: Show a progress bar.

    Returns:
        Activations of `observe`, `(K, units[, positions])`, row k being context k.

    Raises:
        KeyError: `observe` was not recorded.
        ValueError: Source units empty, repeated or out of range.

    Source: "yardstick for modularity", section on counterfactual passes.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> rec = ifl.record(net, ["1", "2"], torch.randn(10, 4))
        >>> ifl.counterfactual(rec, {"1": [0]}, observe="2").shape
        torch.Size([10, 2])
    """
    rec.units.site(observe)
    donors = np.random.default_rng(seed).permutation(len(rec))
    runs = resample(rec, source, donors, np.arange(len(rec)), [observe], progress=progress)
    return torch.cat([seen[observe] for _, seen in runs])
