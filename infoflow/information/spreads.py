"""Flow into a group of units taken together: how far apart its outcomes lie, in bits."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from infoflow._shapes import Real, shaped

_MOST_PAIRS = 1 << 22
LN2 = float(np.log(2))


Spread = Callable[[np.ndarray, float], np.ndarray]
"""`(S, P, n)` sets of P outcomes, and the width of a bin, to `(S, P)` bits, whose mean over a set
is how much it is spread out."""


class GroupFlow:
    """What a group of units, taken together, tells about the donor, at a stated resolution.

    With h(·) the spread of a set of outcomes in bits (an entropy, less that of the noise which
    stands for the resolution),

        given the context   mean_k h(outcomes of all donors in context k)
        plain               mean_s h(outcomes of a set s) - mean_m h(outcomes of donor m)

    where a set s takes from every context the outcome of another donor, so that both spreads in
    the difference are of K outcomes and what is missed for want of outcomes is missed in both.
    Each is worked out when it is asked for.

    Args:
        ranks: `(M, K, n)` outcomes of the n units, each on a scale on which its values in the
            normal run are spread evenly from 0 to 1.
        spread: h; see `kernel_spread` and `gaussian_spread`.
        width: Differences of about that size are told apart.

    Examples:
        >>> xor = np.array([[[0.0], [1.0]], [[1.0], [0.0]]])
        >>> round(GroupFlow(xor, kernel_spread, 0.1).given_context, 6)
        1.0
    """

    @shaped
    def __init__(
        self, ranks: Real[np.ndarray, "donors contexts units"], spread: Spread, width: float
    ) -> None:
        self._ranks = ranks
        self._spread = spread
        self._width = width
        self._still = bool((ranks == ranks[:1]).all())  # then exactly 0, without rounding

    @cached_property
    def pointwise(self) -> np.ndarray:
        """`(M, K)` contributions to `bits`, their mean; their scatter gives its standard error."""
        m, k, _ = self._ranks.shape
        contexts = np.arange(k)
        order = np.random.default_rng(0).permutation(m)  # a data set may be sorted
        mixed = order[(np.arange(m)[:, None] + contexts) % m], contexts  # every run is in one set
        plain = -self._of(self._ranks)
        plain[mixed] += self._of(self._ranks[mixed])
        return plain

    @cached_property
    def pointwise_given_context(self) -> np.ndarray:
        """`(M, K)` contributions to `given_context`."""
        return self._of(self._ranks.transpose(1, 0, 2)).T

    @property
    def bits(self) -> float:
        """The plain flow."""
        return float(self.pointwise.mean())

    @property
    def given_context(self) -> float:
        """The flow with the context known."""
        return float(self.pointwise_given_context.mean())

    def _of(self, sets: np.ndarray) -> np.ndarray:
        """`(S, P)` spread of sets `(S, P, n)`, a few at a time."""
        if self._still:
            return np.zeros(sets.shape[:2])
        step = max(1, _MOST_PAIRS // sets.shape[1] ** 2)
        parts = [self._spread(sets[i : i + step], self._width) for i in range(0, len(sets), step)]
        return np.concatenate(parts).astype(np.float64)


def cells_spread(sets: np.ndarray, width: float) -> np.ndarray:
    """Entropy of the joint cells that the outcomes are seen in, unit scales cut into bins.

    With many units every outcome has a cell of its own: then it is log2 of their number.

    Examples:
        >>> four = np.array([[[0.1, 0.9], [0.2, 0.8], [0.9, 0.9], [0.8, 0.1]]])
        >>> float(cells_spread(four, 1 / 3).mean())
        1.5
    """
    cells = np.floor(sets / width + 1e-6).astype(np.int64)
    odd = np.random.default_rng(0).integers(-(2**62), 2**62, size=sets.shape[2])
    names = (cells * odd).sum(2)  # modulo 2^64: two cells share a name once in 10^18 pairs
    return pairwise((names[:, :, None] == names[:, None]).astype(np.float64))


def kernel_spread(sets: np.ndarray, width: float) -> np.ndarray:
    """Pairwise estimate of the entropy of a mixture, less that of its Gaussian components.

    h = -mean_i log2 mean_j exp(-|z_i - z_j|² / 8σ²), σ = width / √12 being the standard deviation
    of a value within a bin. It is a lower bound (Kolchinsky and Tracey 2017, eq. 10, with the
    Bhattacharyya distance) of what the outcomes, each blurred by noise σ, tell about which of them
    it was; log2 of their number at most. With two outcomes far apart it is 1 bit.

    Examples:
        >>> float(kernel_spread(np.array([[[0.0], [1.0]]]), 0.1).mean())
        1.0
    """
    sets = sets - sets.mean(1, keepdims=True)
    square = (sets**2).sum(2)
    apart = square[:, :, None] + square[:, None] - 2 * sets @ sets.transpose(0, 2, 1)
    return pairwise(np.exp(np.minimum(apart * (-1.5 / width**2), 0.0)))


def pairwise(alike: np.ndarray) -> np.ndarray:
    """`(S, P)` bits of likenesses `(S, P, P)` between 0 and 1: -log2 of their means and, for
    standard errors, the influence of each outcome on the others' (mean 0)."""
    share = alike.mean(2)
    influence = (alike @ (1 / share)[:, :, None])[:, :, 0] / alike.shape[2] - 1
    return -(np.log(share) + influence) / LN2


def gaussian_spread(sets: np.ndarray, width: float) -> np.ndarray:
    """½ log2 det(1 + Σ / σ²), Σ the covariance of the outcomes and σ = width / √12.

    An upper bound of what the outcomes, each blurred by noise σ, tell about which of them it was:
    no distribution with that covariance has more entropy. It grows with every unit, and knows no
    number of outcomes that it cannot exceed.

    Examples:
        >>> one = np.array([[[0.0], [1.0]]])
        >>> two = np.array([[[0.0, 0.0], [1.0, 1.0]]])
        >>> bool(gaussian_spread(two, 0.1).mean() < 1.2 * gaussian_spread(one, 0.1).mean())
        True
    """
    count, n = sets.shape[1:]
    sets = (sets - sets.mean(1, keepdims=True)) * (np.sqrt(12) / width)
    turned = sets.transpose(0, 2, 1)
    if n <= count:
        noisy = turned @ sets / (count - 1) + np.eye(n)
        distance = (sets * np.linalg.solve(noisy, turned).transpose(0, 2, 1)).sum(2)
    else:  # the same, by as many outcomes instead of units
        gram = sets @ turned
        noisy = gram / (count - 1) + np.eye(count)
        distance = np.linalg.solve(noisy, gram).diagonal(axis1=1, axis2=2)
    bits = np.linalg.slogdet(noisy)[1] / (2 * LN2)
    return bits[:, None] + (distance - distance.mean(1, keepdims=True)) / (2 * LN2)


SPREADS: dict[str, Spread] = {
    "cells": cells_spread,
    "kernel": kernel_spread,
    "gaussian": gaussian_spread,
}
