"""The strongest similarities of each unit, where a matrix of all pairs is too large."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from infoflow._safety import evaluating
from infoflow.clustering.sparse import SparseSimilarity
from infoflow.recording import Recording
from infoflow.unit_similarity.probes import probed_rows
from infoflow.unit_similarity.request import How, chosen, make_request

_BLOCK = 2**24  # similarities that are looked at together


@torch.inference_mode(False)
def strongest_similarities(
    rec: Recording,
    measure: str,
    *,
    neighbours: int = 50,
    layers: str | Sequence[str] | None = None,
    eps: float = 1e-12,
    probes: int = 8,
    seed: int = 0,
    progress: bool = False,
) -> SparseSimilarity:
    """Of each unit its most similar others, and the sum of its similarities to all.

    As `similarity` (`cov` exactly, `i_sens` and `o_sens` by probes), block by block: all pairs are
    computed, few are kept. A pair is kept if it is among the strongest of either unit.

    Args:
        rec: A recording.
        measure: `cov`, `i_sens`, `o_sens` or one of these with `_norm`.
        neighbours: How many of each unit are kept.
        layers: As for `similarity`.
        eps: ε of eq. 5.
        probes, seed: As for `similarity`; of integer inputs `i_sens` starts at their embedding.
        progress: Show a progress bar.

    Returns:
        What `find_modules` takes.

    Raises:
        ValueError: Another measure (`hess` is no product of one matrix with itself), fewer than one
            neighbour, or what `similarity` refuses.

    Examples:
        >>> import torch, infoflow as ifl
        >>> rec = ifl.record(torch.nn.Sequential(torch.nn.Linear(3, 6)), "0", torch.randn(20, 3))
        >>> S = strongest_similarities(rec, "cov_norm", neighbours=2)
        >>> S.matrix.shape, len(S.strength)
        ((6, 6), 6)
    """
    (wanted,) = chosen(measure)
    if wanted.base not in ("cov", "i_sens", "o_sens"):
        raise ValueError(
            f"expected 'cov', 'i_sens' or 'o_sens' (or one with '_norm'), got {measure!r}: for "
            "others, similarity(...) gives the matrix of all pairs"
        )
    if neighbours < 1:
        raise ValueError(f"expected at least one neighbour of each unit, got {neighbours}")
    how = How("probes", probes, seed)
    names = [layers] if isinstance(layers, str) else list(layers or rec.units.layers)
    request = make_request(rec, names, frozenset({wanted.base}), across=True, embedded=True)
    if wanted.base == "cov":
        units = rec.matrix(names)
        rows = torch.from_numpy((units - units.mean(0)).T / (len(rec) - 1) ** 0.5)
    else:
        with evaluating(rec.model):
            rows = probed_rows(request, how.probes, how.seed, progress=progress)
    if not bool(rows.isfinite().all()):
        raise ValueError(f"{measure!r} is not finite: a derivative overflowed or is undefined")
    return _strongest(rows, neighbours, eps if wanted.normalised else None)


def _strongest(rows: Tensor, neighbours: int, eps: float | None) -> SparseSimilarity:
    """Of S = |X Xᵀ|, with `eps` divided by the roots of its diagonal."""
    import scipy.sparse as sp

    n = len(rows)
    count = min(neighbours, n - 1)
    root = torch.linalg.vector_norm(rows, dim=1)
    strength, kept, to = np.zeros(n), np.zeros((n, count)), np.zeros((n, count), np.int64)
    size = max(_BLOCK // n, 1)
    for start in range(0, n, size):
        block = (rows[start : start + size] @ rows.T).abs()
        if eps is not None:
            block /= (root[start : start + size, None] * root).clamp_min(eps)
        own = slice(start, start + len(block))
        block[torch.arange(len(block)), torch.arange(own.start, own.stop)] = 0
        strength[own] = block.double().sum(1).numpy()
        values, places = block.topk(count, dim=1)
        kept[own], to[own] = values.double().numpy(), places.numpy()
    sources = np.repeat(np.arange(n), count)
    matrix = sp.csr_array((kept.ravel(), (sources, to.ravel())), shape=(n, n))
    matrix.eliminate_zeros()
    return SparseSimilarity(sp.csr_array(matrix.maximum(matrix.T)), strength)
