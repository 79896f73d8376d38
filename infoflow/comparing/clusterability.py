"""How well partitions cut the graph of weights, against networks whose weights are shuffled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from infoflow.measured import Null
from infoflow.partition import Partition
from infoflow.searching.proxy import ncut
from infoflow.searching.starts import normalised_cut

if TYPE_CHECKING:
    import pandas as pd

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
