"""How much modules depend on each other in the normal run, whoever sends what."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from infoflow.partition import PartitionLike, as_partition
from infoflow.recording import Recording

_MOST_SAMPLES = 400


def module_cka(rec: Recording, partition: PartitionLike, seed: int = 0) -> float:
    """Mean over pairs of modules of the centred kernel alignment of their activations, 0 to 1.

    CKA = HSIC(K, L) / √(HSIC(K, K) HSIC(L, L)) of Gaussian kernels of median width over units
    standardised one by one, HSIC without bias: on average 0 for modules that are independent. At
    most 400 samples.

    Args:
        rec: A recording.
        partition: Of its units; at least two modules.
        seed: Of the samples.

    Source: Kornblith et al. 2019; Song et al. 2012 for the estimator without bias.

    Examples:
        >>> import torch, infoflow as ifl
        >>> x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
        >>> rec = ifl.record(torch.nn.Sequential(torch.nn.Identity()), "0", x.repeat(1, 2))
        >>> round(module_cka(rec, [0, 0, 0, 0, 1, 1, 1, 1]), 6)
        1.0
        >>> abs(module_cka(rec, [0, 0, 1, 1, 0, 0, 1, 1])) < 0.05
        True
    """
    found = as_partition(partition, len(rec.units))
    if found.n_modules < 2:
        raise ValueError(f"expected at least two modules, got {found!r}")
    values = rec.matrix()
    if len(values) > _MOST_SAMPLES:
        values = values[np.random.default_rng(seed).permutation(len(values))[:_MOST_SAMPLES]]
    spread = values.std(0)
    values = (values - values.mean(0)) / np.where(spread > 0, spread, 1.0)
    kernels = [_kernel(values[:, module]) for module in found.modules]
    own = [_hsic(kernel, kernel) for kernel in kernels]
    each = [
        _hsic(kernels[a], kernels[b]) / np.sqrt(own[a] * own[b]) if min(own[a], own[b]) > 0 else 0.0
        for a, b in combinations(range(found.n_modules), 2)
    ]
    return float(np.mean(each))


def _kernel(values: np.ndarray) -> np.ndarray:
    """Gaussian kernel of median width, its diagonal at zero."""
    squares = (values**2).sum(1)
    apart = np.maximum(squares[:, None] + squares - 2 * values @ values.T, 0.0)
    between = apart[~np.eye(len(apart), dtype=bool)]
    width = float(np.median(between)) or 1.0
    kernel = np.exp(-apart / width)
    np.fill_diagonal(kernel, 0.0)
    return kernel


def _hsic(k: np.ndarray, m: np.ndarray) -> float:
    """HSIC without bias, of kernels whose diagonals are zero (Song et al. 2012, equation 5)."""
    n = len(k)
    sums = k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 * (k.sum(0) @ m.sum(0)) / (n - 2)
    return float(((k * m).sum() + sums) / (n * (n - 3)))
