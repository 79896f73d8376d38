"""One code for a group of units: a codebook fixed on the normal run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from infoflow.information.binning import ROUNDING, check_numbers
from infoflow.rounding import snapped

# More rows than this teach k-means nothing about ten centroids, and it takes most of the time.
_ROWS_FOR_KMEANS = 4000
# Squared distances to centroids are differences of larger numbers: nearer than this they tie.
_FINEST = 1e-6


class GroupCoder(ABC):
    """One joint code for a group of units."""

    @property
    @abstractmethod
    def n_codes(self) -> int:
        """Codes are 0 ... n_codes - 1."""

    @abstractmethod
    def encode_counting(self, values: np.ndarray) -> tuple[np.ndarray, int]:
        """Codes `(rows, 1)`, and how many rows are outside what the normal run showed.

        Raises:
            ValueError: A value that is not a number.
        """

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Codes `(rows, 1)`; raises ValueError for a value that is not a number."""
        return self.encode_counting(values)[0]


@dataclass(frozen=True, eq=False)
class Codebook(GroupCoder):
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
        """Squared distances `(rows, c)`; off by rounding."""
        scaled = values.astype(np.float64, copy=False) * self.scale
        norms = (self.centroids**2).sum(1)
        return (scaled**2).sum(1, keepdims=True) - 2 * scaled @ self.centroids.T + norms

    def encode_counting(self, values: np.ndarray) -> tuple[np.ndarray, int]:
        """Out of range is further from every centroid than any row of the normal run."""
        check_numbers(values)
        distances = self._distances(values)
        codes = distances.argmin(1)[:, None]
        nearest = np.sqrt(np.maximum(np.take_along_axis(distances, codes, 1), 0.0))
        slack = ROUNDING * np.sqrt((self.centroids**2).sum(1).max())
        return codes, int((nearest > self.reach + slack).sum())


@dataclass(frozen=True, eq=False)
class Projection(GroupCoder):
    """One joint code for a group of units: on which sides of a few random planes it lies.

    Blunter than a codebook, but drawn without looking for structure.

    Attributes:
        scale: `(n,)` factor applied to each unit before it is projected.
        directions: `(n, d)` normals of the planes.
        medians: `(d,)` where the planes cut the normal run in halves.
        low, high: `(d,)` range of the projections in the normal run.
    """

    scale: np.ndarray
    directions: np.ndarray
    medians: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def n_codes(self) -> int:
        """Two to the number of planes."""
        return 2 ** len(self.medians)

    def encode_counting(self, values: np.ndarray) -> tuple[np.ndarray, int]:
        """Out of range is a projection beyond those of the normal run."""
        check_numbers(values)
        projected = (values.astype(np.float64, copy=False) * self.scale) @ self.directions
        slack = ROUNDING * np.maximum(np.abs(self.low), np.abs(self.high))
        beyond = (projected < self.low - slack) | (projected > self.high + slack)
        codes = (projected > self.medians) @ 2 ** np.arange(len(self.medians))
        return codes[:, None], int(beyond.any(1).sum())


def fit_codebook(
    values: np.ndarray,
    layer_index: np.ndarray,
    codes: int = 10,
    seed: int = 0,
    error: np.ndarray | None = None,
) -> Codebook:
    """A k-means codebook of the group's activations in the normal run.

    Units are scaled by the root mean variance of their layer, so that a group that spans layers
    is not ruled by the layer with the larger activations, while quiet units stay quiet.

    Args:
        values: `(K, n)` activations of the group.
        layer_index: `(n,)` layer of each unit.
        codes: Size of the codebook, at least 2; fewer where there are fewer distinct rows.
        seed: Seed of k-means.
        error: `(n,)` differences that mean nothing (see `rounding_error`); units that change by no
            more are left out of the distances. None: exact values.

    Raises:
        ValueError: Fewer than two codes.
    """
    from sklearn.cluster import KMeans

    given = values
    values, scale = _scaled(values, layer_index, codes, error)
    off = np.zeros(len(scale)) if error is None else np.maximum(error * scale, _FINEST)
    some = np.unique(snapped(values[: 10 * codes], off), axis=0)
    few = len(some) <= codes  # spares most groups the sort
    distinct = np.unique(snapped(values, off), axis=0) if few else values
    if len(distinct) <= codes:
        return Codebook(scale, distinct, 0.0)
    rows = np.random.default_rng(seed).permutation(len(values))[:_ROWS_FOR_KMEANS]
    means = KMeans(codes, n_init="auto", random_state=seed % 2**32).fit(values[rows])
    book = Codebook(scale, np.asarray(means.cluster_centers_, dtype=np.float64), 0.0)
    reach = float(np.sqrt(max(book._distances(given).min(1).max(), 0.0)))
    return Codebook(scale, book.centroids, reach)


def fit_projection(
    values: np.ndarray,
    layer_index: np.ndarray,
    codes: int = 10,
    seed: int = 0,
    error: np.ndarray | None = None,
) -> Projection:
    """Random planes through the median of the group's activations in the normal run.

    Args:
        values, layer_index, seed, error: As for `fit_codebook`.
        codes: Upper limit of the number of codes, at least 2; the largest power of two in it.

    Raises:
        ValueError: Fewer than two codes.
    """
    values, scale = _scaled(values, layer_index, codes, error)
    planes = codes.bit_length() - 1
    directions = np.random.default_rng(seed).normal(size=(values.shape[1], planes))
    projected = np.sort(values @ directions, axis=0)
    middle = len(values) // 2
    medians = (projected[middle - 1] + projected[middle]) / 2
    return Projection(scale, directions, medians, projected[0], projected[-1])


def _scaled(
    values: np.ndarray, layer_index: np.ndarray, codes: int, error: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Values over the root mean variance of their layers, and the factors `(n,)`."""
    if codes < 2:
        raise ValueError(f"expected a codebook of at least 2 codes, got {codes}")
    values = values.astype(np.float64, copy=False)
    variance = values.var(0)
    scale = np.ones(len(variance))
    for layer in np.unique(layer_index):
        own = layer_index == layer
        spread = np.sqrt(variance[own].mean())
        scale[own] = 1 / spread if spread > 0 else 1.0
    if error is not None:
        scale[np.ptp(values, axis=0) <= error] = 0.0  # rounding, which is no distance
    return values * scale, scale


def unique_codes(values: np.ndarray, error: np.ndarray | None = None) -> np.ndarray:
    """Codes `(rows, 1)` that tell all distinct rows apart.

    Args:
        values: `(rows, n)` activations.
        error: `(n,)` differences that mean nothing (see `rounding_error`), at least 1e-5 of the
            unit's largest value.

    Examples:
        >>> unique_codes(np.array([[0.0, 1.0], [2.0, 0.0], [0.0, 1.0]])).ravel().tolist()
        [0, 1, 0]
    """
    coarse = ROUNDING * np.abs(values).max(0)
    off = coarse if error is None else np.maximum(error, coarse)
    return np.unique(snapped(values, off), axis=0, return_inverse=True)[1].reshape(-1, 1)
