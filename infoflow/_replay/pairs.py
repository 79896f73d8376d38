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
        donor_rows, context_rows: `(R,)` rows of the data set.
        grid: k, if the rows are every donor with the same k contexts, donor by donor; or 0.
        n_samples: K, rows of the data set.
        device: The model's.
    """

    donor_rows: np.ndarray
    context_rows: np.ndarray
    grid: int
    n_samples: int
    device: torch.device

    @cached_property
    def donors(self) -> Tensor:
        """`(R,)` on the device."""
        return torch.as_tensor(self.donor_rows, device=self.device)

    @cached_property
    def contexts(self) -> Tensor:
        """`(R,)` on the device."""
        return torch.as_tensor(self.context_rows, device=self.device)

    @cached_property
    def _distinct(self) -> tuple[np.ndarray, np.ndarray]:
        k = self.grid or 1
        contexts = self.context_rows[: self.grid] if self.grid else self.context_rows
        return _present(self.donor_rows[::k], self.n_samples), _present(contexts, self.n_samples)

    @property
    def n_distinct(self) -> int:
        """Distinct donors and distinct contexts, counted together."""
        return sum(int(np.count_nonzero(there)) for there in self._distinct)

    @cached_property
    def distinct(self) -> tuple[Tensor, Tensor]:
        """Distinct donors and distinct contexts."""
        donors, contexts = map(np.flatnonzero, self._distinct)
        return torch.from_numpy(donors).to(self.device), torch.from_numpy(contexts).to(self.device)

    @cached_property
    def places(self) -> tuple[Tensor, Tensor]:
        """Where each row finds its donor and its context among the distinct ones."""
        donors, contexts = (np.cumsum(there) - 1 for there in self._distinct)
        places = donors[self.donor_rows], contexts[self.context_rows]
        return torch.from_numpy(places[0]).to(self.device), torch.from_numpy(places[1]).to(
            self.device
        )

    def is_grid(self, rows: slice) -> bool:
        """`rows` are whole donors of a grid."""
        return self.grid > 0 and rows.start % self.grid == 0 and rows.stop % self.grid == 0

    def of_donors(self, values: Tensor, rows: slice) -> Tensor:
        """`values` `(K, ...)` of the rows' donors."""
        return values.index_select(0, self.donors[rows])

    def of_contexts(self, values: Tensor, rows: slice) -> Tensor:
        """`values` `(K, ...)` of the rows' contexts."""
        return values.index_select(0, self.contexts[rows])


def _present(rows: np.ndarray, n: int) -> np.ndarray:
    there = np.zeros(n, bool)
    there[rows] = True
    return there


def make_pairs(rec: Recording, donors: np.ndarray, contexts: np.ndarray) -> Pairs:
    """Those rows of the data set, on the recording's device.

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
    return Pairs(donors, contexts, grid_of(donors, contexts), len(rec), rec.device)


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
