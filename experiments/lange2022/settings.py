"""Table 1 of Lange et al. (2022), and how its networks are cut into tasks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

Family = Literal["l2", "l1", "dropout", "untrained"]

MILD_L2 = 1e-5
UNTRAINED_SEED = 1_000_000  # of the first untrained network: none shares a trained one's weights


@dataclass(frozen=True)
class Setting:
    """Regularisation of one network."""

    family: Family
    dropout: float
    l1: float
    l2: float


def table_1() -> list[Setting]:
    """The 30 settings: 9 of L2, 7 of L1, 14 of dropout.

    Examples:
        >>> settings = table_1()
        >>> len(settings), settings[0], settings[-1].dropout
        (30, Setting(family='l2', dropout=0.0, l1=0.0, l2=1e-05), 0.7)
    """
    l2 = [Setting("l2", 0.0, 0.0, _short(x)) for x in np.logspace(-5, -1, 9)]
    l1 = [Setting("l1", 0.0, _short(x), MILD_L2) for x in np.logspace(-5, -2, 7)]
    dropout = [Setting("dropout", _short(p), 0.0, MILD_L2) for p in np.linspace(0.05, 0.7, 14)]
    return l2 + l1 + dropout


def _short(x: float) -> float:
    """Without the last digits, where logspace and linspace leave rounding."""
    return float(f"{x:.12g}")


def tasks(n_seeds: int, n_untrained: int, *, per_task: int = 50) -> list[dict[str, Any]]:
    """Tasks of a sweep: stacks of networks of one seed, seed by seed, so that an interrupted run
    is a whole study of fewer seeds; the untrained networks are spread between the seeds."""
    found: list[dict[str, Any]] = []
    untrained = list(_untrained(n_untrained, per_task))
    for seed in range(n_seeds):
        found += [
            {"first_seed": seed, "networks": [asdict(s) for s in stack]} for stack in _stacks()
        ]
        share = -(-len(untrained) // (n_seeds - seed))
        found += [untrained.pop(0) for _ in range(share)]
    return found + untrained


def _stacks() -> list[list[Setting]]:
    """The 30 settings in four stacks of 7 to 9, the dropout ones alternating."""
    by_family = {name: [s for s in table_1() if s.family == name] for name in ("l2", "l1")}
    dropout = [s for s in table_1() if s.family == "dropout"]
    return [dropout[::2], dropout[1::2], by_family["l2"], by_family["l1"]]


def _untrained(count: int, per_task: int) -> Iterator[dict[str, Any]]:
    nothing = asdict(Setting("untrained", 0.0, 0.0, 0.0))
    for start in range(0, count, per_task):
        size = min(per_task, count - start)
        yield {"first_seed": UNTRAINED_SEED + start, "networks": [nothing] * size}


def percent(family: Family, dropout: float, l1: float, l2: float) -> float:
    """Percent regularisation, the horizontal axis of figure 3: dropout as it is, L2 in logs from
    1e-5 (0 %) to 1e-1 (100 %), L1 from 1e-5 to 1e-2.

    Examples:
        >>> percent("dropout", 0.5, 0, 1e-5), round(percent("l2", 0, 0, 1e-3), 9)
        (50.0, 50.0)
        >>> round(percent("l1", 0, 1e-2, 1e-5), 9)
        100.0
    """
    if family == "dropout":
        return 100 * dropout
    if family == "l2":
        return 25 * (math.log10(l2) + 5)
    if family == "l1":
        return 100 / 3 * (math.log10(l1) + 5)
    return 0.0
