"""Rank correlations within strata, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_FEWEST = 4  # partitions in a stratum that is worth ranking
_BOOTSTRAPS = 200


@dataclass(frozen=True, eq=False)
class Stratum:
    """Things to rank.

    Attributes:
        x: `(P, m)` P predictors of m things.
        y: `(Q, m)` Q quantities.
        kind: Strata of one kind are averaged before kinds are.
    """

    x: np.ndarray
    y: np.ndarray
    kind: str = ""


@dataclass(frozen=True, eq=False)
class RankCorrelation:
    """Averages over strata, each `(P, Q)`; nan where nothing could be ranked.

    Attributes:
        spearman, kendall: Correlations (Kendall's tau-b).
        low, high: 95 % interval of `spearman` from resampling the things within each stratum.
        n: Things ranked.
    """

    spearman: np.ndarray
    kendall: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: int


def rank_correlation(strata: Sequence[Stratum], *, seed: int = 0) -> RankCorrelation:
    """Spearman's and Kendall's correlation of predictors with quantities within strata, averaged
    over the strata of a kind and then over kinds.

    Args:
        strata: With equally many predictors and quantities; strata with fewer than four things
            are left out.
        seed: Of the 200 bootstrap samples.

    Raises:
        ValueError: No strata.

    Examples:
        >>> s = Stratum(np.array([[1.0, 2, 3, 4]]), np.array([[1.0, 2, 4, 3]]))
        >>> found = rank_correlation([s])
        >>> found.spearman.round(3).tolist(), found.kendall.round(3).tolist()
        ([[0.8]], [[0.667]])
    """
    if not strata:
        raise ValueError("expected at least one stratum")
    rng = np.random.default_rng(seed)
    shape = len(strata[0].x), len(strata[0].y)
    large = [s for s in strata if s.x.shape[1] >= _FEWEST]
    if not large:
        nothing = np.full(shape, np.nan)
        return RankCorrelation(nothing, nothing, nothing, nothing, 0)
    kinds = [s.kind for s in large]
    sizes = [s.x.shape[1] for s in large]
    whole = [(s, np.arange(m)[None]) for s, m in zip(large, sizes, strict=True)]
    drawn = [(s, rng.integers(m, size=(_BOOTSTRAPS, m))) for s, m in zip(large, sizes, strict=True)]
    low, high = _percentiles(_averaged([_correlated(*one, _ranks) for one in drawn], kinds))
    return RankCorrelation(
        spearman=_averaged([_correlated(*one, _ranks) for one in whole], kinds)[..., 0],
        kendall=_averaged([_correlated(*one, _signs) for one in whole], kinds)[..., 0],
        low=low,
        high=high,
        n=sum(sizes),
    )


def _correlated(
    stratum: Stratum, index: np.ndarray, scored: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """`(P, Q, B)` of B choices of things `(B, m)`."""
    x, y = (_of_length_one(scored(values[:, index])) for values in (stratum.x, stratum.y))
    return np.einsum("pbm,qbm->pqb", x, y)


def _ranks(values: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    ranks = rankdata(values, axis=-1)
    return ranks - ranks.mean(-1, keepdims=True)


def _signs(values: np.ndarray) -> np.ndarray:
    """Which of two things is larger, for every pair."""
    signs = np.sign(values[..., :, None] - values[..., None, :])
    return signs.reshape(*values.shape[:-1], -1)


def _of_length_one(scores: np.ndarray) -> np.ndarray:
    """nan where all things are equal."""
    length = np.linalg.norm(scores, axis=-1, keepdims=True)
    return np.where(length > 0, scores / np.where(length > 0, length, 1.0), np.nan)


def _averaged(found: Sequence[np.ndarray], kinds: Sequence[str]) -> np.ndarray:
    """Over strata within each kind, then over kinds, as far as they are known."""
    of_kind = []
    for kind in dict.fromkeys(kinds):
        of_kind.append(_mean([f for f, k in zip(found, kinds, strict=True) if k == kind]))
    return _mean(of_kind)


def _mean(arrays: Sequence[np.ndarray]) -> np.ndarray:
    stacked = np.stack(arrays)
    known = np.isfinite(stacked)
    count = known.sum(0)
    total = np.where(known, stacked, 0.0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _percentiles(boot: np.ndarray) -> Iterator[np.ndarray]:
    """2.5 and 97.5 % along the last axis, of what is known."""
    flat = boot.reshape(-1, boot.shape[-1])
    for level in (2.5, 97.5):
        at = [
            np.percentile(r[np.isfinite(r)], level) if np.isfinite(r).any() else np.nan
            for r in flat
        ]
        yield np.array(at).reshape(boot.shape[:-1])
