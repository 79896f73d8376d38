"""SearchPlan: what a search is told, checked at the door."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from infoflow._arguments import check_fields, one_of, whole
from infoflow.measured import Weighting
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
        check_fields(self, method=one_of(get_args(Method)), groups=whole(0, none=True))
        if self.groups == 1:
            raise ValueError("groups: expected None, 0 or at least 2, got 1")
        for name in self.seeds:
            if not isinstance(name, str) or name not in STARTS:
                known = unknown_name("name of a start", name, tuple(STARTS))
                raise UnknownName(f"seeds: {known} (partitions to begin with go into starts=)")
