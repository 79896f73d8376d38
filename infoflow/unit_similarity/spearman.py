"""Rank correlation of activations, for comparison with the eight measures of the paper."""

from __future__ import annotations

import numpy as np

from infoflow.recording import Recording


def spearman(rec: Recording, names: list[str]) -> np.ndarray:
    """Spearman's ρ of every two units over the samples; ties share their mean rank.

    Returns:
        `(n, n)` float64, signed; the rows of a unit that never changes are 0.

    Examples:
        >>> import torch, infoflow as ifl
        >>> x = torch.tensor([[0.0, 8.0, 1.0], [1.0, 1.0, 1.0], [2.0, 0.0, 1.0]])
        >>> net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(3, 1))
        >>> spearman(ifl.record(net, ["0"], x), ["0"]).round(12)
        array([[ 1., -1.,  0.],
               [-1.,  1.,  0.],
               [ 0.,  0.,  0.]])
    """
    from scipy.stats import rankdata

    ranks = rankdata(rec.matrix(names), axis=0)
    centred = ranks - ranks.mean(0)
    length = np.sqrt((centred**2).sum(0))
    unit = centred / np.where(length > 0, length, 1)
    return unit.T @ unit
