"""Codes: continuous activations as a few discrete symbols, fixed on the normal run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from infoflow.measured import Binning
from infoflow.rounding import levels, rounding_error

# Single precision has steps of 1.2e-7; a sum of a few hundred terms is off by some of them.
ROUNDING = 1e-5


NOT_A_NUMBER = (
    "a target unit is not a number (NaN) under the intervention and has no code; check the "
    "network for overflow, log or division at values it does not normally see"
)


def check_numbers(values: np.ndarray) -> None:
    """Refuse activations that have no code.

    Raises:
        ValueError: A value that is not a number.
    """
    if np.isnan(values).any():
        raise ValueError(NOT_A_NUMBER)


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
    """The smallest unsigned integers that hold the codes, for tables of millions of them."""
    return np.min_scalar_type(n_codes - 1)


@dataclass(frozen=True, eq=False)
class UnitBins:
    """Each unit binned by itself.

    Attributes:
        edges: `(n, n_codes - 1)`; code = number of edges below the value, unused edges are +inf.
        zero: `(n,)` the unit has a bin of its own (code 0) for zero, and for what rounding may
            have made of it: all that is this near. -1 where it has none.
        low, high: `(n,)` range in the normal run.
        n_codes: Number of bins.
    """

    edges: np.ndarray
    zero: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n_codes: int

    @cached_property
    def _prepared(self) -> dict[np.dtype, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        return {}

    def prepared(self, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Edges `(bins - 1, n)` and the range `(n,)`, `(n,)`, widened by rounding, as the kernels
        compare them with values of that type, float32 or float64.

        An edge is rounded down to the type: then value > edge says the same as in float64.
        """
        if dtype in self._prepared:
            return self._prepared[dtype]
        edges = self.edges.T.astype(dtype)
        above = edges > self.edges.T
        edges[above] = np.nextafter(edges[above], dtype.type(-np.inf))
        slack = ROUNDING * np.maximum(np.abs(self.low), np.abs(self.high))
        low, high = (self.low - slack).astype(dtype), (self.high + slack).astype(dtype)
        self._prepared[dtype] = np.ascontiguousarray(edges), low, high
        return self._prepared[dtype]

    def encode_into(
        self,
        values: np.ndarray,
        out: np.ndarray,
        *,
        inside: np.ndarray | None = None,
        places: np.ndarray | None = None,
    ) -> np.ndarray:
        """Write the codes of the columns `inside` of `values` `(rows, width)` to the columns
        `places` of `out`; by default the first n of each.

        Returns:
            `(n,)` number of values outside the range of the normal run, by more than rounding.

        Raises:
            ValueError: A value that is not a number.
        """
        from infoflow.information._histograms import encode_units

        if values.dtype != np.float32:
            values = values.astype(np.float64, copy=False)
        edges, low, high = self.prepared(values.dtype)
        outside = np.zeros(len(self.zero), dtype=np.int32)
        each = np.arange(len(self.zero))
        inside, places = each if inside is None else inside, each if places is None else places
        values = np.ascontiguousarray(values)
        if encode_units(values, inside, edges, self.zero, low, high, places, out, outside):
            raise ValueError(NOT_A_NUMBER)
        return outside

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Codes `(rows, n)`; values beyond the range go to the end bins.

        Raises:
            ValueError: A value that is not a number.
        """
        out = np.empty(values.shape, dtype=code_dtype(self.n_codes))
        self.encode_into(values, out)
        return out.astype(np.int64)

    def take(self, columns: np.ndarray) -> UnitBins:
        """The bins of some of the units."""
        low, high = self.low[columns], self.high[columns]
        return UnitBins(self.edges[columns], self.zero[columns], low, high, self.n_codes)

    @staticmethod
    def joined(parts: Sequence[UnitBins]) -> UnitBins:
        """The bins of several groups side by side."""
        n_codes = max(part.n_codes for part in parts)
        edges = [
            np.pad(p.edges, ((0, 0), (0, n_codes - 1 - p.edges.shape[1])), constant_values=np.inf)
            for p in parts
        ]
        rest = zip(*((p.zero, p.low, p.high) for p in parts), strict=True)
        zero, low, high = (np.concatenate(part) for part in rest)
        return UnitBins(np.concatenate(edges), zero, low, high, n_codes)


def fit_unit_bins(
    values: np.ndarray, bins: int | Binning = 10, error: np.ndarray | None = None
) -> UnitBins:
    """Bins for each column of the normal run's activations.

    By default, a unit that is exactly zero on some sample, as ReLU units are, gets a bin for zero
    and `bins - 1` quantile bins of the rest; another unit gets `bins` quantile bins. Edges lie
    halfway between neighbouring observed levels, so that rounding in a forward pass cannot move a
    value across one. A unit with few levels gets fewer bins.

    Args:
        values: `(K, n)` activations in the normal run.
        bins: Bins per unit, at least 2, or a `Binning`. The yardstick post uses ten.
        error: `(n,)` differences that mean nothing (see `rounding_error`, the default).

    Raises:
        ValueError: Fewer than two bins.

    Examples:
        >>> import numpy as np
        >>> coder = fit_unit_bins(np.array([[0.0], [0.0], [1.0], [2.0]]), bins=3)
        >>> coder.encode(np.array([[0.0], [0.9], [5.0]])).ravel().tolist()
        [0, 1, 2]
    """
    how = bins if isinstance(bins, Binning) else Binning(bins)
    if error is None:
        error = rounding_error(torch.from_numpy(np.ascontiguousarray(values)))
    values = values.astype(np.float64, copy=False)  # midpoints of float32 need another bit
    n = values.shape[1]
    low, high = values.min(0), values.max(0)
    edges = np.full((n, how.n_codes - 1), np.inf)
    zero = np.full(n, -1.0)
    for unit in range(n):
        column = values[:, unit]
        if how.edges is not None:
            found = np.array(how.edges)
        elif how.kind == "width":
            found = _width_edges(column, how.count, error[unit])
        else:
            if how.kind == "quantiles" and (column == 0).any():
                zero[unit] = _width_of_zero(column, error[unit])
            rest = column[np.abs(column) > zero[unit]]
            found = _quantile_edges(rest, how.count - int(zero[unit] >= 0), error[unit])
        edges[unit, : len(found)] = found
    return UnitBins(edges, zero, low, high, how.n_codes)


def _width_of_zero(column: np.ndarray, error: float) -> float:
    """How far rounding takes a unit's zeros: `error`, where more than one value is that near."""
    return error if ((column != 0) & (np.abs(column) <= error)).sum() > 1 else 0.0


def _quantile_edges(column: np.ndarray, bins: int, error: float) -> np.ndarray:
    low, high = levels(column, error)
    if len(low) < 2 or bins < 2:
        return np.empty(0)
    halfway = (high[:-1] + low[1:]) / 2
    if len(low) <= bins:
        return halfway
    cuts = np.quantile(column, np.arange(1, bins) / bins)
    return np.unique(halfway[np.clip(np.searchsorted(halfway, cuts), 0, len(halfway) - 1)])


def _width_edges(column: np.ndarray, bins: int, error: float) -> np.ndarray:
    """Edges at equal distances; one that falls on an observed value moves halfway to the next."""
    low, high = levels(column, error)
    if len(low) < 2:
        return np.empty(0)
    edges = np.linspace(low[0], high[-1], bins + 1)[1:-1]
    slack = ROUNDING * np.abs(column).max()
    below = np.searchsorted(low, edges + slack, side="right") - 1
    on_level = (high[below] >= edges - slack) & (low[below] <= edges + slack)
    halfway = (high[:-1] + low[1:]) / 2
    return np.unique(np.where(on_level, halfway[np.minimum(below, len(halfway) - 1)], edges))
