"""SearchPlan: what a search is told, checked at the door."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from infoflow.exchanges import ExchangeMeter
from infoflow.measured import SEARCH, Draws, Objective, Weighting
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


def refuse_ignored(meter: ExchangeMeter, draws: Draws, objective: Objective) -> None:
    """Options that are neither a search's defaults nor what the meter has would be ignored."""
    asked = {**vars(draws), **_told(objective)}
    own = {**vars(meter.draws), **_told(meter.objective)}
    default = {**vars(SEARCH), **_told(Objective())}
    names = ("donors", "contexts", "bins", "coding", "pool", "do", "given_context", "objective")
    for name in names:
        if asked[name] not in (default[name], own[name]):
            raise ValueError(
                f"meter= is given and has {name}={own[name]!r}: {name}={asked[name]!r} would be "
                "ignored; leave it out, or give the meter these draws"
            )


def _told(objective: Objective) -> dict[str, object]:
    return {"given_context": objective.given_context, "objective": objective.estimate}
