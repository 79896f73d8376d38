"""Which donor goes with which context, and the regularities that save work."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from infoflow.recording import Recording


@dataclass(frozen=True, eq=False)
class Pairs:
    """Which donor goes with which context, row by row.

    Attributes:
        donors, contexts: `(R,)` rows of the data set, on the model's device.
        grid: k, if the rows are every donor with the same k contexts, donor by donor; or 0.
        n_samples: K, rows of the data set.
    """

    donors: Tensor
    contexts: Tensor
    grid: int
    n_samples: int

    @cached_property
    def distinct(self) -> tuple[Tensor, Tensor]:
        """Distinct donors and distinct contexts."""
        k = self.grid
        few = (self.donors[::k], self.contexts[:k]) if k else (self.donors, self.contexts)
        return _distinct(few[0], self.n_samples), _distinct(few[1], self.n_samples)

    @cached_property
    def places(self) -> tuple[Tensor, Tensor]:
        """Where each row finds its donor and its context among the distinct ones."""
        donors, contexts = self.distinct
        return (
            _inverse(donors, self.n_samples)[self.donors],
            _inverse(contexts, self.n_samples)[self.contexts],
        )

    @cached_property
    def in_order(self) -> bool:
        """Contexts are consecutive samples, so that a slice takes the place of a gather."""
        return bool((self.contexts.diff() == 1).all())

    def is_grid(self, rows: slice) -> bool:
        """`rows` are whole donors of a grid."""
        return self.grid > 0 and rows.start % self.grid == 0 and rows.stop % self.grid == 0

    def of_donors(self, values: Tensor, rows: slice) -> Tensor:
        """`values` `(K, ...)` of the rows' donors."""
        return values.index_select(0, self.donors[rows])

    def of_contexts(self, values: Tensor, rows: slice) -> Tensor:
        """`values` `(K, ...)` of the rows' contexts; perhaps a view."""
        if self.in_order:
            first = int(self.contexts[0])
            return values[first + rows.start : first + rows.stop]
        return values.index_select(0, self.contexts[rows])


def _distinct(rows: Tensor, n: int) -> Tensor:
    there = torch.zeros(n, dtype=torch.bool, device=rows.device)
    there[rows] = True
    return there.nonzero().ravel()


def _inverse(distinct: Tensor, n: int) -> Tensor:
    place = torch.zeros(n, dtype=torch.long, device=distinct.device)
    place[distinct] = torch.arange(len(distinct), device=distinct.device)
    return place


def make_pairs(rec: Recording, donors: np.ndarray, contexts: np.ndarray) -> Pairs:
    """Those rows of the data set, on the recording's device."""
    return Pairs(
        torch.as_tensor(donors, device=rec.device),
        torch.as_tensor(contexts, device=rec.device),
        grid_of(donors, contexts),
        len(rec),
    )


def grid_of(donors: np.ndarray, contexts: np.ndarray) -> int:
    """k, if the rows are every donor with the same k contexts, donor by donor; 0 if not.

    Examples:
        >>> grid_of(np.repeat([4, 2], 3), np.tile([0, 1, 2], 2))
        3
        >>> grid_of(np.array([4, 4, 2]), np.array([0, 1, 0]))
        0
    """
    changes = np.flatnonzero(donors[1:] != donors[:-1])
    k = int(changes[0]) + 1 if len(changes) else len(donors)
    if k < 2 or len(donors) % k:
        return 0
    same_donor = (donors.reshape(-1, k) == donors[::k, None]).all()
    same_contexts = (contexts.reshape(-1, k) == contexts[:k]).all()
    return k if same_donor and same_contexts else 0


def row_lists(
    rec: Recording, donors: np.ndarray, contexts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Donors and contexts as checked index arrays.

    Raises:
        ValueError: Not equally many, or no rows of the data set.
    """
    donors = np.ascontiguousarray(donors, np.int64)
    contexts = np.ascontiguousarray(contexts, np.int64)
    if len(donors) != len(contexts):
        raise ValueError(
            f"expected one context per donor: {len(donors)} donors, {len(contexts)} contexts"
        )
    for what, rows in (("donors", donors), ("contexts", contexts)):
        if len(rows) and (rows.min() < 0 or rows.max() >= len(rec)):
            raise ValueError(
                f"expected {what} among the {len(rec)} samples, got rows {rows.min()} to "
                f"{rows.max()}"
            )
    return donors, contexts
