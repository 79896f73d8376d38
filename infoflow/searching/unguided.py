"""Unguided searches: every partition, the ground truth for the others, or random ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from infoflow.partition import Partition
from infoflow.searching.log import EvaluationLog
from infoflow.searching.space import Space

MOST_UNITS = 14
MOST_PARTITIONS = 120_000


def check_exhaustive(space: Space) -> None:
    """Refuse a space that is too large to enumerate.

    Raises:
        ValueError: More than 14 units, or more than 120,000 partitions.
    """
    n = len(space.units)
    if n > MOST_UNITS or space.count > MOST_PARTITIONS:
        raise ValueError(
            f"{n} units have {space.count:.3g} partitions into {space.least} to {space.most} "
            f"modules: method='exhaustive' takes at most {MOST_UNITS} units and "
            f"{MOST_PARTITIONS:,} partitions; use method='genetic', or fix n_modules"
        )


def exhaustive(log: EvaluationLog, space: Space, batch: int = 64) -> None:
    """Measure all partitions of the space."""
    everything = space.all()
    while log.left and (some := list(islice(everything, batch))):
        log.many(some)


def sampling(
    log: EvaluationLog, space: Space, starts: Sequence[Partition], batch: int = 16
) -> None:
    """Measure random partitions until the budget is spent, or no new ones turn up."""
    log.many(list(starts))
    fruitless = 0
    while log.left and fruitless < 50:
        before = log.left
        log.many([space.random(log.rng) for _ in range(min(batch, log.left))])
        fruitless = fruitless + 1 if log.left == before else 0
