"""Counts of the codes of one layer's units, chunk by chunk, and the bits they amount to."""

from __future__ import annotations

import numpy as np

from infoflow.information.binning import UnitBins
from infoflow.information.codes import NOT_A_NUMBER


class Counter:
    """Codes and counts what some units of a layer do under every donor and context.

    Nothing is kept but counts: the table of codes is never built.

    Args:
        bins: Of those units.
        inside: `(T,)` their columns in the layer.
        m, k: Number of donors and contexts.
    """

    def __init__(self, bins: UnitBins, inside: np.ndarray, m: int, k: int) -> None:
        t, cells = len(inside), len(inside) * bins.n_codes
        self.bins = bins
        self.inside = inside
        self.m = m
        self.seen = 0
        self.first = np.zeros((k, t), np.int32)
        self.row = np.zeros(cells, np.int32)
        self.columns = np.zeros((k, cells), np.int32)
        self.mixture = np.zeros((2, cells), np.int64)
        self.sums = np.zeros((2, t))
        self.changed = np.zeros(t, np.bool_)

    def add(self, values: np.ndarray) -> None:
        """Count one chunk of rows `(rows, width)`; rows come donor by donor.

        Raises:
            ValueError: A value that is not a number.
        """
        from infoflow.exchanges._kernel import count_rows

        if values.dtype != np.float32:
            values = values.astype(np.float64, copy=False)
        counts = self.first, self.row, self.columns, self.mixture, self.sums, self.changed
        edges = self.bins.prepared(values.dtype)[0]
        if count_rows(values, self.inside, edges, self.bins.zero, self.seen, *counts):
            raise ValueError(NOT_A_NUMBER)
        self.seen += len(values)

    def bits(self) -> tuple[np.ndarray, np.ndarray]:
        """`(T,)` bits and bits given the context."""
        from infoflow.exchanges._kernel import bits_of_counts

        return bits_of_counts(self.columns, self.mixture, self.sums, self.changed, self.m)
