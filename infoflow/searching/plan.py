"""SearchPlan: what a search is told, checked at the door."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from infoflow.measured import Weighting
from infoflow.searching.score import check_sampling
from infoflow.searching.starts import STARTS
from infoflow.units import UnknownName, unknown_name

Method = Literal["genetic", "annealing", "climbing", "screened", "exhaustive", "sampling"]


@dataclass(frozen=True)
class SearchPlan:
    """What a search does, in the words of `search`.

    Raises:
        ValueError: A budget, samples or restarts too small, a tolerance that is not positive, an
            unknown method or seed.
    """

    method: str
    weighting: Weighting
    budget: int
    samples: int
    tolerance: float | None
    seeds: tuple[str, ...]
    restarts: int
    seed: int
    groups: int | None = None

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise UnknownName(unknown_name("method", self.method, get_args(Method)))
        if self.budget < 1:
            raise ValueError(f"expected budget >= 1, got budget={self.budget}")
        if self.restarts < 1:
            raise ValueError(f"expected restarts >= 1, got restarts={self.restarts}")
        whole = isinstance(self.groups, (int, np.integer)) and not isinstance(self.groups, bool)
        if self.groups is not None and not (whole and (self.groups == 0 or self.groups >= 2)):
            raise ValueError(f"expected groups=None, 0 or at least 2, got groups={self.groups!r}")
        check_sampling(self.samples, self.tolerance)
        for name in self.seeds:
            if not isinstance(name, str) or name not in STARTS:
                known = unknown_name("seed", str(name), tuple(STARTS))
                raise UnknownName(f"{known} (partitions to begin with go into starts=)")
