"""Partition: which module each unit belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from infoflow._arguments import door, integers, items, whole
from infoflow.saving import Saved

if TYPE_CHECKING:
    import pandas as pd


class HasPartition(Protocol):
    """A result that holds a partition, as `Modules` and `SearchResult` do."""

    @property
    def partition(self) -> Partition: ...


class Partition(Saved):
    """Labels over units: one integer per unit, -1 for an unused unit. Immutable and hashable.

    Labels are canonical: modules are numbered by their first unit, so two labellings of the same
    modules are equal, hash alike and can be cached. The labels that were given are kept in `names`,
    by which tables name the modules.

    Args:
        labels: `(n,)` integers, -1 (any negative) for unused units.

    Raises:
        ValueError: Not a one-dimensional array of integers.

    Examples:
        >>> p = Partition([7, 7, -1, 2])
        >>> p.labels.tolist(), p.n_modules, [m.tolist() for m in p.modules]
        ([0, 0, -1, 1], 2, [[0, 1], [3]])
        >>> p.names, p == Partition([0, 0, -1, 5])
        ((7, 2), True)
    """

    __slots__ = ("__dict__", "_labels", "_names")

    def __init__(self, labels: Iterable[int] | np.ndarray) -> None:
        raw = integers("labels, one for each unit", labels)
        canonical = np.full(len(raw), -1, dtype=np.int64)
        used = raw >= 0
        self._names = np.arange(0)
        if used.any():
            values, first, inverse = np.unique(raw[used], return_index=True, return_inverse=True)
            rank = np.empty(len(first), dtype=np.int64)
            order = np.argsort(first)
            rank[order] = np.arange(len(first))
            self._names = values[order]
            canonical[used] = rank[inverse.ravel()]
        canonical.setflags(write=False)
        self._labels = canonical

    @classmethod
    @door(n=whole(0), modules=items)
    def from_modules(cls, modules: Sequence[Sequence[int] | np.ndarray], n: int) -> Partition:
        """The partition of `n` units with these modules; units in none of them are unused.

        Raises:
            ValueError: A unit in two modules, or out of range.

        Examples:
            >>> Partition.from_modules([[0, 2], [3]], 4).labels.tolist()
            [0, -1, 0, 1]
        """
        labels = np.full(n, -1)
        for label, units in enumerate(modules):
            index = integers(f"units of module {label}", units)
            if index.size and (index.min() < 0 or index.max() >= n):
                raise ValueError(f"module {label} names a unit outside 0..{n - 1}")
            if (labels[index] >= 0).any() or len(set(index.tolist())) < len(index):
                raise ValueError(f"module {label} has a unit twice, or one of an earlier module")
            labels[index] = label
        return cls(labels)

    @property
    def labels(self) -> np.ndarray:
        """`(n,)` canonical labels, read-only."""
        return self._labels

    @property
    def names(self) -> tuple[int, ...]:
        """The label that each module was given, in the order of `modules`."""
        return tuple(self._names.tolist())

    @property
    def given(self) -> np.ndarray:
        """`(n,)` the labels as they were given; -1 for unused units."""
        return np.append(self._names, -1)[self._labels]

    @cached_property
    def modules(self) -> tuple[np.ndarray, ...]:
        """Index array of each module, in label order."""
        return tuple(np.flatnonzero(self._labels == m) for m in range(self.n_modules))

    @property
    def n_modules(self) -> int:
        """Number of modules, unused units not counted."""
        return int(self._labels.max(initial=-1)) + 1

    @cached_property
    def sizes(self) -> np.ndarray:
        """`(n_modules,)` units in each module."""
        return np.bincount(self._labels[self._labels >= 0], minlength=self.n_modules)

    @property
    def n_effective(self) -> float:
        """Effective number of modules, exp(entropy of module sizes) (Lange et al. 2022, eq. 8).

        Examples:
            >>> Partition([0, 0, 1, 1]).n_effective
            2.0
        """
        if self.n_modules == 0:
            return 0.0
        share = self.sizes / self.sizes.sum()
        return float(np.exp(-(share * np.log(share)).sum()))

    @property
    def unused(self) -> np.ndarray:
        """`(n,)` bool: units in no module."""
        return self._labels < 0

    @property
    def said_unused(self) -> str:
        """`", 3 unused"`, or nothing where all are used: for a `repr`."""
        count = int(self.unused.sum())
        return f", {count} unused" if count else ""

    def restrict(self, units: Sequence[int] | np.ndarray) -> Partition:
        """The partition of those units alone, in the order given."""
        return Partition(self.given[np.asarray(units)])

    def embed(self, units: Sequence[int] | np.ndarray, n: int) -> Partition:
        """This partition carried to `n` units, of which `units` are the ones it labels."""
        labels = np.full(n, -1)
        labels[np.asarray(units)] = self.given
        return Partition(labels)

    def shuffled(self, rng: np.random.Generator, units: np.ndarray | None = None) -> Partition:
        """The modules of some units (None: of all used ones) dealt to them anew; all module sizes
        stay.

        Examples:
            >>> p = Partition([0, 0, 1, 1, 1, -1]).shuffled(np.random.default_rng(0))
            >>> sorted(p.sizes.tolist()), p.unused.tolist()
            ([2, 3], [False, False, False, False, False, True])
        """
        among = np.flatnonzero(~self.unused) if units is None else units
        labels = self.given
        labels[among] = rng.permutation(labels[among])
        return Partition(labels)

    def without(self, unused: np.ndarray) -> Partition:
        """The same partition with the units where `unused` is True set to -1."""
        return Partition(np.where(unused, -1, self.given))

    def to_frame(self) -> pd.DataFrame:
        """One row a unit: `unit` and its `module`, by the label it was given (-1: unused)."""
        import pandas as pd

        return pd.DataFrame({"unit": np.arange(len(self)), "module": self.given})

    def __len__(self) -> int:
        return len(self._labels)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Partition) and np.array_equal(self._labels, other._labels)

    def __hash__(self) -> int:
        return hash(self._labels.tobytes())

    def __repr__(self) -> str:
        sizes = ", ".join(map(str, sorted(self.sizes.tolist(), reverse=True)[:12]))
        more = ", ..." if self.n_modules > 12 else ""
        return (
            f"Partition({len(self)} units in {self.n_modules} modules of {sizes}{more}"
            f"{self.said_unused})"
        )


PartitionLike = Partition | HasPartition | Iterable[int]
"""What is taken wherever a partition is: one, a result that holds one, or labels."""


def as_partition(value: PartitionLike, n: int | None = None) -> Partition:
    """`value` as a partition, of `n` units if that is said.

    Raises:
        TypeError: Neither a partition, nor a result that holds one, nor labels.
        ValueError: Labels of another number of units, or no integers.

    Examples:
        >>> as_partition([3, 3, 1]).names
        (3, 1)
    """
    held = value if isinstance(value, Partition) else getattr(value, "partition", None)
    if not isinstance(held, Partition):
        if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable):
            raise TypeError(
                "expected a partition: a Partition, a result that holds one (Modules, "
                f"SearchResult), or one integer label per unit; got {type(value).__name__}"
            )
        held = Partition(value)
    if n is not None and len(held) != n:
        raise ValueError(f"expected a partition of {n} units, got one of {len(held)}")
    return held
