"""Codes: continuous activations as a few discrete symbols, fixed on the normal run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np

Coding = Literal["joint", "units"]
Bins = int | Literal["unique"]


# Single precision has steps of 1.2e-7; a sum of a few hundred terms is off by some of them.
ROUNDING = 1e-5
_NOT_A_NUMBER = (
    "a target unit is not a number (NaN) under the intervention and has no code; check the "
    "network for overflow, log or division at values it does not normally see"
)


class Coder(Protocol):
    """Turns activations `(rows, n)` into codes `(rows, columns)` of the smallest integer type."""

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
        raise ValueError(_NOT_A_NUMBER)


def check_codes(codes: np.ndarray, n_codes: int) -> None:
    """Refuse codes that are not the integers 0 ... n_codes - 1.

    Raises:
        ValueError: Another type, or a value outside that range.
    """
    if not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(f"expected integer codes, got {codes.dtype}; bin the activations first")
    if codes.size and (codes.min() < 0 or codes.max() >= n_codes):
        raise ValueError(f"expected codes 0 ... {n_codes - 1}, got {codes.min()} ... {codes.max()}")


def code_dtype(n_codes: int) -> np.dtype:
    """The smallest unsigned integers that hold the codes."""
    return np.min_scalar_type(n_codes - 1)


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

    @cached_property
    def _single(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._prepared(np.dtype(np.float32))

    @cached_property
    def _double(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._prepared(np.dtype(np.float64))

    def _prepared(self, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Edges `(bins - 1, n)` and the range widened by rounding, for values of that type.

        An edge is rounded down to the type: then value > edge says the same as in float64.
        """
        edges = self.edges.T.astype(dtype)
        above = edges > self.edges.T
        edges[above] = np.nextafter(edges[above], dtype.type(-np.inf))
        slack = ROUNDING * np.maximum(np.abs(self.low), np.abs(self.high))
        low, high = (self.low - slack).astype(dtype), (self.high + slack).astype(dtype)
        return np.ascontiguousarray(edges), low, high

    def encode_into(self, values: np.ndarray, places: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Write the codes of `values` `(rows, n)` to the columns `places` of `out`.

        Returns:
            `(n,)` number of values outside the range of the normal run, by more than rounding.

        Raises:
            ValueError: A value that is not a number.
        """
        from infoflow.information._histograms import encode_units

        if values.dtype != np.float32:
            values = values.astype(np.float64, copy=False)
        edges, low, high = self._single if values.dtype == np.float32 else self._double
        outside = np.zeros(values.shape[1], dtype=np.int32)
        values = np.ascontiguousarray(values)
        if encode_units(values, edges, self.zero, low, high, places, out, outside):
            raise ValueError(_NOT_A_NUMBER)
        return outside

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Codes `(rows, n)`; values beyond the range go to the end bins.

        Raises:
            ValueError: A value that is not a number.
        """
        out = np.empty(values.shape, dtype=code_dtype(self.n_codes))
        self.encode_into(values, np.arange(values.shape[1]), out)
        return out

    def out_of_range(self, values: np.ndarray) -> float:
        """Share of values outside the range of the normal run, by more than rounding."""
        out = np.empty(values.shape, dtype=code_dtype(self.n_codes))
        return float(self.encode_into(values, np.arange(values.shape[1]), out).sum() / out.size)

    def take(self, columns: np.ndarray) -> UnitBins:
        """The bins of some of the units."""
        return UnitBins(
            self.edges[columns],
            self.zero[columns],
            self.low[columns],
            self.high[columns],
            self.n_codes,
        )

    @staticmethod
    def joined(parts: Sequence[UnitBins]) -> UnitBins:
        """The bins of several groups side by side."""
        n_codes = max(part.n_codes for part in parts)
        edges = [
            np.pad(p.edges, ((0, 0), (0, n_codes - 1 - p.edges.shape[1])), constant_values=np.inf)
            for p in parts
        ]
        return UnitBins(
            np.concatenate(edges),
            np.concatenate([p.zero for p in parts]),
            np.concatenate([p.low for p in parts]),
            np.concatenate([p.high for p in parts]),
            n_codes,
        )


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
    values = values.astype(np.float64, copy=False)  # midpoints of float32 need another bit
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
