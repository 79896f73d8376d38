"""Confidence: which units are with whom whenever the search is made again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from infoflow.partition import Partition
from infoflow.saving import Saved

if TYPE_CHECKING:
    import pandas as pd

SURE = 0.9
"""Share of searches that makes a unit's module sure."""


@dataclass(frozen=True, eq=False)
class Confidence(Saved):
    """How sure each unit's module is, from searches on independent draws with other seeds.

    Attributes:
        partition: The partition whose modules are meant: that of the search itself.
        together: `(n, n)` share of the further searches with both units in one module; nan where
            either is in none of the partition's modules.
        n_modules: Modules that each further search found.
    """

    partition: Partition
    together: np.ndarray
    n_modules: tuple[int, ...]

    @classmethod
    def of(cls, partition: Partition, again: Sequence[Partition]) -> Confidence:
        """From a partition and those of further searches.

        Examples:
            >>> again = [Partition([0, 0, 1, 1]), Partition([0, 0, 0, 1])]
            >>> Confidence.of(Partition([0, 0, 1, 1]), again).unit.tolist()
            [1.0, 1.0, 0.5, 0.5]
        """
        labels = np.array([p.labels for p in again])
        same = (labels[:, :, None] == labels[:, None, :]) & (labels[:, :, None] >= 0)
        together = same.mean(0)
        together[partition.unused] = together[:, partition.unused] = np.nan
        return cls(partition, together, tuple(p.n_modules for p in again))

    @cached_property
    def with_module(self) -> np.ndarray:
        """`(n, k)` mean of `together` over the other units of each module; nan for a unit alone
        in it, and for unused units."""
        member = np.eye(self.partition.n_modules)[self.partition.labels]
        member[self.partition.unused] = 0.0
        known = np.nan_to_num(self.together)
        others = member.sum(0) - member
        summed = known @ member - np.diag(known)[:, None] * member
        shares = np.divide(summed, others, out=np.full_like(summed, np.nan), where=others > 0)
        shares[self.partition.unused] = np.nan
        return shares

    @property
    def unit(self) -> np.ndarray:
        """`(n,)` share of the further searches in which a unit is with another of its own module;
        nan for unused units and modules of one."""
        labels = self.partition.labels
        return np.where(labels < 0, np.nan, self.with_module[np.arange(len(labels)), labels])

    @property
    def core(self) -> Partition:
        """The partition without units whose module is not sure (below 0.9): they are at -1."""
        return self.partition.without(~(self.unit >= SURE))

    @property
    def nowhere(self) -> np.ndarray:
        """`(n,)` bool: used units that are with any module's units in less than half of the
        searches."""
        most = np.max(np.nan_to_num(self.with_module), axis=1, initial=0.0)
        return ~self.partition.unused & ~np.isnan(self.unit) & (most < 0.5)

    def to_frame(self) -> pd.DataFrame:
        """One row a unit: `unit`, `module` (-1: unused), `confidence`, `sure`, `nowhere`."""
        import pandas as pd

        return pd.DataFrame(
            {
                "unit": np.arange(len(self.together)),
                "module": self.partition.labels,
                "confidence": self.unit,
                "sure": ~self.core.unused,
                "nowhere": self.nowhere,
            }
        )

    def __repr__(self) -> str:
        used = int((~self.partition.unused).sum())
        return (
            f"Confidence({int((~self.core.unused).sum())} of {used} units sure, "
            f"{int(self.nowhere.sum())} nowhere, {len(self.n_modules)} searches)"
        )
