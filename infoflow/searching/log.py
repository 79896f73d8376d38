"""EvaluationLog: every partition that a search has measured, within its budget."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from infoflow.exchanges import Values
from infoflow.partition import Partition
from infoflow.searching.checkpoint import Checkpoint, SavedLog

Evaluate = Callable[[Sequence[Partition]], Values]
"""Partitions -> what is minimised and the bits behind it."""


@dataclass(frozen=True, eq=False)
class Step:
    """Where a search stands, for its callback.

    Attributes:
        evaluations: Partitions measured so far.
        left: Evaluations left in the budget.
        best: The best partition so far.
        value: What it exchanges, weighted.
    """

    evaluations: int
    left: int
    best: Partition
    value: float


Callback = Callable[[Step], object]
"""Told after every batch; a true answer ends the search."""


class EvaluationLog:
    """Measures partitions once each, keeps the best, and stops at the budget.

    A search that asks for the same partitions in the same order gets the same answers from the
    log of an earlier run without measuring anything. So resuming is running again: everything that
    a method keeps to itself comes out bit for bit as it was, and the state of the random generator
    at the end of the log is checked to be the one that was saved.

    Args:
        evaluate: Measures partitions.
        budget: Partitions to measure.
        seed: Seed of `rng`, the one source of randomness of a search.
        size: Partitions there are; once all are known the search ends.
        checkpoint: Where the log is kept, and read from if it is there.
        callback: Told after every batch.
        ahead: Told how many partitions were measured and the best value, for a progress bar.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        *,
        budget: int,
        seed: int,
        size: int | None = None,
        checkpoint: Checkpoint | None = None,
        callback: Callback | None = None,
        ahead: Callable[[int, float], object] | None = None,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.known: dict[Partition, float] = {}
        self.bits: dict[Partition, float] = {}
        self.scales: dict[int, float] = {}
        self.best: Partition | None = None
        self.left = budget
        self._evaluate = evaluate
        self._size = size
        self.order: list[Partition] = []  # as they were measured
        self._unscaled: list[float] = []
        self._checkpoint = checkpoint
        self._earlier: SavedLog | None = checkpoint.read() if checkpoint else None
        self._callback = callback
        self._ahead = ahead
        self._state = self._rng_state()
        self._saved = len(self._earlier.values) if self._earlier else 0

    @property
    def trail(self) -> Values:
        """What was measured, in order."""
        return Values(np.array(self._unscaled), np.array([self.bits[p] for p in self.order]))

    @property
    def value(self) -> float:
        """Value of the best partition; inf before there is one."""
        return float("inf") if self.best is None else self.known[self.best]

    def __call__(self, partition: Partition) -> float:
        """Value of one partition; inf once the budget is spent."""
        return self.many([partition])[0]

    def many(self, partitions: Sequence[Partition], *, counted: bool = True) -> list[float]:
        """Values of partitions, the new ones measured together; inf beyond the budget.

        Args:
            partitions: Any of them may be known already.
            counted: False measures outside the budget, and does not make any of them the best.
        """
        new = [p for p in dict.fromkeys(partitions) if p not in self.known]
        if counted:
            new = new[: self.left]
        if new:
            self._enter(new, self._measured(new), counted)
        candidates = partitions
        if self._size is not None and len(self.known) >= self._size and counted:
            self.left, candidates = 0, list(self.known)
        if counted:
            for p in candidates:  # also those that were known, but not as candidates
                self._consider(p)
        if new:
            self._tell(len(new))
        return [self.known.get(p, float("inf")) for p in partitions]

    def rescale(self, scales: dict[int, float]) -> None:
        """From now on values are divided by what random partitions into as many modules have, so
        that those of different numbers of modules compare."""
        self.scales = scales
        self.known = {p: v / scales.get(p.n_modules, 1.0) for p, v in self.known.items()}

    def _consider(self, partition: Partition) -> None:
        value = self.known.get(partition, float("inf"))
        finer = self.best is not None and partition.n_modules > self.best.n_modules
        if self.best is None or value < self.value or (value == self.value and finer):
            self.best = partition

    def _measured(self, new: Sequence[Partition]) -> Values:
        """From the log as far as it goes, then for real."""
        if self._earlier is None:
            return self._evaluate(new)
        logged = self._earlier.replayed(new, len(self.order))
        rest = new[len(logged) :]
        return logged.followed_by(self._evaluate(rest)) if rest else logged

    def _enter(self, new: Sequence[Partition], values: Values, counted: bool) -> None:
        found = zip(new, values.weighted.tolist(), values.bits.tolist(), strict=True)
        for partition, value, bits in found:
            self.known[partition] = value / self.scales.get(partition.n_modules, 1.0)
            self.bits[partition] = bits
            self._unscaled.append(value)
        self.order += new
        self.left -= len(new) if counted else 0
        if self._checkpoint:
            self._state = self._rng_state()
        if self._earlier is not None and len(self.order) == len(self._earlier.values):
            self._earlier.check_state(self._state)

    def _tell(self, count: int) -> None:
        new = len(self.order) - self._saved
        if self._checkpoint and new >= max(self._checkpoint.every, self._saved // 10):
            self.save()
        if self._ahead:
            self._ahead(count, self.value)
        if self._callback and self.best is not None:
            step = Step(len(self.order), self.left, self.best, self.value)
            if self._callback(step):
                self.left = 0

    def save(self) -> None:
        """Write the checkpoint, if there is one and something is new."""
        if self._checkpoint and len(self.order) > self._saved:
            labels = np.array([p.labels for p in self.order], dtype=np.int32)
            self._checkpoint.write(SavedLog(labels, self.trail, self._state))
            self._saved = len(self.order)

    def _rng_state(self) -> str:
        return json.dumps(self.rng.bit_generator.state, sort_keys=True)
