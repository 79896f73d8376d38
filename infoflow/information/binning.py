"""Codes: continuous activations as a few discrete symbols, fixed on the normal run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

Coding = Literal["joint", "units"]
Bins = int | Literal["unique"]


# Single precision has steps of 1.2e-7; a sum of a few hundred terms is off by some of them.
ROUNDING = 1e-5


class Coder(Protocol):
    """Turns activations `(rows, n)` into codes `(rows, columns)`."""

    @property
    def n_codes(self) -> int:
        """Symbols are 0 ... n_codes - 1."""
        ...

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Codes `(rows, columns)` of activations `(rows, n)`."""
        ...

    def out_of_range(self, values: np.ndarray) -> float:
        """Share of the values that lie outside what the normal run showed."""
        ...


def check_numbers(values: np.ndarray) -> None:
    """Refuse activations that have no code.

    Raises:
        ValueError: A value that is not a number.
    """
    if np.isnan(values).any():
        raise ValueError(
            "a target unit is not a number (NaN) under the intervention and has no code; check "
            "the network for overflow, log or division at values it does not normally see"
        )


@dataclass(frozen=True, eq=False)
class UnitBins:
    """Each unit binned by itself: one bin for exact zero, quantiles of the rest.

    Attributes:
        edges: `(n, bins - 1)`; code = number of edges below the value, unused edges are +inf.
        zero: `(n,)` bool; the unit has a bin of its own for exact zero (code 0).
        low, high: `(n,)` range in the normal run.
        n_codes: Number of bins.
    """

    edges: np.ndarray
    zero: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n_codes: int

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Codes `(rows, n)`; values beyond the range go to the end bins.

        Raises:
            ValueError: A value that is not a number.
        """
        check_numbers(values)
        codes = np.zeros(values.shape, dtype=np.int64)
        for edge in self.edges.T:
            codes += values > edge
        codes += self.zero  # nonzero values of a unit with a zero bin start at 1
        codes[self.zero & (values == 0)] = 0
        return codes

    def out_of_range(self, values: np.ndarray) -> float:
        """Share of values outside the range of the normal run, by more than rounding."""
        slack = ROUNDING * np.maximum(np.abs(self.low), np.abs(self.high))
        return float(((values < self.low - slack) | (values > self.high + slack)).mean())


def fit_unit_bins(values: np.ndarray, bins: int = 10) -> UnitBins:
    """Bins for each column of the normal run's activations.

    A unit that is exactly zero on some sample, as ReLU units are, gets a bin for zero and
    `bins - 1` quantile bins of the rest; another unit gets `bins` quantile bins. Edges lie halfway
    between neighbouring observed values, so that rounding in a forward pass cannot move a value
    across one. A unit with few distinct values gets fewer bins.

    Args:
        values: `(K, n)` activations in the normal run.
        bins: Bins per unit, at least 2. The yardstick post uses ten.

    Raises:
        ValueError: Fewer than two bins.

    Examples:
        >>> import numpy as np
        >>> coder = fit_unit_bins(np.array([[0.0], [0.0], [1.0], [2.0]]), bins=3)
        >>> coder.encode(np.array([[0.0], [0.9], [5.0]])).ravel().tolist()
        [0, 1, 2]
    """
    if bins < 2:
        raise ValueError(f"expected at least 2 bins, got {bins}")
    n = values.shape[1]
    edges = np.full((n, bins - 1), np.inf)
    zero = (values == 0).any(0)
    for unit in range(n):
        column = values[:, unit]
        rest = column[column != 0] if zero[unit] else column
        found = _quantile_edges(rest, bins - int(zero[unit]))
        edges[unit, : len(found)] = found
    return UnitBins(edges, zero, values.min(0), values.max(0), bins)


def _quantile_edges(column: np.ndarray, bins: int) -> np.ndarray:
    levels = np.unique(column)
    if len(levels) < 2 or bins < 2:
        return np.empty(0)
    halfway = (levels[:-1] + levels[1:]) / 2
    if len(levels) <= bins:
        return halfway
    cuts = np.quantile(column, np.arange(1, bins) / bins)
    return np.unique(halfway[np.clip(np.searchsorted(halfway, cuts), 0, len(halfway) - 1)])


@dataclass(frozen=True, eq=False)
class Codebook:
    """One joint code for a group of units: the nearest of a few centroids.

    Information about the code is a lower bound of information about the group (data processing).

    Attributes:
        scale: `(n,)` factor applied to each unit before distances are taken.
        centroids: `(c, n)` in scaled coordinates.
        reach: Largest distance to a centroid in the normal run.
    """

    scale: np.ndarray
    centroids: np.ndarray
    reach: float

    @property
    def n_codes(self) -> int:
        """Number of centroids."""
        return len(self.centroids)

    def _distances(self, values: np.ndarray) -> np.ndarray:
        """Squared distances `(rows, c)`; off by rounding, which `out_of_range` allows for."""
        scaled = values.astype(np.float64, copy=False) * self.scale
        norms = (self.centroids**2).sum(1)
        return (scaled**2).sum(1, keepdims=True) - 2 * scaled @ self.centroids.T + norms

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Codes `(rows, 1)`.

        Raises:
            ValueError: A value that is not a number.
        """
        check_numbers(values)
        return self._distances(values).argmin(1)[:, None]

    def out_of_range(self, values: np.ndarray) -> float:
        """Share of rows further from every centroid than any row of the normal run."""
        nearest = np.sqrt(np.maximum(self._distances(values).min(1), 0.0))
        slack = ROUNDING * np.sqrt((self.centroids**2).sum(1).max())
        return float((nearest > self.reach + slack).mean())


def fit_codebook(
    values: np.ndarray, layer_index: np.ndarray, codes: int = 10, seed: int = 0
) -> Codebook:
    """A k-means codebook of the group's activations in the normal run.

    Units are scaled by the root mean variance of their layer, so that a group that spans layers
    is not ruled by the layer with the larger activations, while quiet units stay quiet.

    Args:
        values: `(K, n)` activations of the group.
        layer_index: `(n,)` layer of each unit.
        codes: Size of the codebook, at least 2; fewer where there are fewer distinct rows.
        seed: Seed of k-means.

    Raises:
        ValueError: Fewer than two codes.
    """
    from sklearn.cluster import KMeans

    if codes < 2:
        raise ValueError(f"expected a codebook of at least 2 codes, got {codes}")
    variance = values.var(0)
    scale = np.ones(len(variance))
    for layer in np.unique(layer_index):
        own = layer_index == layer
        spread = np.sqrt(variance[own].mean())
        scale[own] = 1 / spread if spread > 0 else 1.0
    scaled = values * scale
    distinct = np.unique(scaled, axis=0)
    if len(distinct) <= codes:
        return Codebook(scale, distinct, 0.0)
    means = KMeans(codes, n_init="auto", random_state=seed).fit(scaled)
    book = Codebook(scale, np.asarray(means.cluster_centers_, dtype=np.float64), 0.0)
    reach = float(np.sqrt(max(book._distances(values).min(1).max(), 0.0)))
    return Codebook(scale, book.centroids, reach)


def unique_codes(values: np.ndarray, decimals: int = 5) -> np.ndarray:
    """Codes `(rows, 1)` that tell all distinct rows apart, values rounded to `decimals`.

    Examples:
        >>> unique_codes(np.array([[0.0, 1.0], [2.0, 0.0], [0.0, 1.0]])).ravel().tolist()
        [0, 1, 0]
    """
    rounded = np.round(values, decimals) + 0.0  # -0.0 and 0.0 are one value
    return np.unique(rounded, axis=0, return_inverse=True)[1].reshape(-1, 1)
