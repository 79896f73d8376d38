"""Columns of the table of partitions: how much modules depend on each other in the normal run, and
how well they cut the graph of weights."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from infoflow.measured import Null
from infoflow.partition import Partition, PartitionLike, as_partition
from infoflow.recording import Recording
from infoflow.searching.proxy import ncut
from infoflow.searching.starts import normalised_cut

if TYPE_CHECKING:
    import pandas as pd

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


_SHUFFLES = 30


def weight_cuts(
    labels: Mapping[str, Partition],
    graph: np.ndarray,
    layer: np.ndarray,
    *,
    k: int,
    seed: int,
) -> pd.DataFrame:
    """Normalised cut of the weights by each partition, and its z-score against the best spectral
    cuts into k modules of networks with the same weights in other places.

    Args:
        labels: Partitions by name.
        graph: `(n, n)` |W| between consecutive layers, as `weights` has it.
        layer: `(n,)` layer of every unit.
        k: Modules of the shuffled networks' cuts; partitions into another number have no z-score.
        seed: Of the shuffles.

    Returns:
        Columns `weight_cut`, `weight_cut_z`, a row a partition. Negative: a better cut than
        shuffled networks allow.

    Source: Filan et al., Clusterability in neural networks, 2021.
    """
    import pandas as pd

    divided = next(iter(labels.values())).unused if labels else np.zeros(len(graph), dtype=bool)
    null = shuffled_cuts(graph * np.outer(~divided, ~divided), layer, k, seed=seed)
    rows = {}
    for name, partition in labels.items():
        value = ncut(graph, partition) if partition.n_modules >= 2 else float("nan")
        like = partition.n_modules == k and len(null) > 1
        z = Null(value, null).z if like else float("nan")
        rows[name] = {"weight_cut": value, "weight_cut_z": z}
    return pd.DataFrame.from_dict(rows, orient="index")


def shuffled_cuts(
    graph: np.ndarray, layer: np.ndarray, k: int, *, n: int = _SHUFFLES, seed: int = 0
) -> np.ndarray:
    """`(n,)` normalised cut of the best spectral cut into k modules, the weights between every two
    layers dealt anew to pairs of units that have any link; shorter where some cannot be cut.

    Examples:
        >>> tracks = np.kron([[0.0, 1], [1, 0]], np.kron(np.eye(2), np.ones((4, 4))) + 0.1)
        >>> layer = np.repeat([0, 1], 8)
        >>> bool((shuffled_cuts(tracks, layer, 2, n=5) > 0.5).all())
        True
    """
    rng = np.random.default_rng(seed)
    linked = graph.any(0)
    found = []
    for _ in range(n):
        dealt = np.zeros_like(graph)
        for a in np.unique(layer):
            for b in np.unique(layer[layer > a]):
                rows, columns = (np.flatnonzero((layer == x) & linked) for x in (a, b))
                block = graph[np.ix_(rows, columns)]
                dealt[np.ix_(rows, columns)] = rng.permutation(block.ravel()).reshape(block.shape)
        dealt += dealt.T
        cut = normalised_cut(dealt, k, seed)
        if cut is not None:
            found.append(ncut(dealt, cut))
    return np.array(found)
