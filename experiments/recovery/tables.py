"""Means over families, their intervals, and the two decisions of the protocol, from the rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from experiments.recovery.families import BESIDE, family_of
from experiments.recovery.methods import METHODS

Question = Literal["given", "free"]
DRAWS = 2000
SEARCHES = tuple(f"search {o}" for o in ("codes", "gaussian", "kernel", "cells"))
SLOWEST = 5.0  # times "codes", of an objective that could be the default


@dataclass(frozen=True, eq=False)
class Scores:
    """One score of many methods on many networks.

    Attributes:
        values: `(networks, methods)`.
        family: `(networks,)` names.
        methods: Names of the columns.
    """

    values: np.ndarray
    family: np.ndarray
    methods: list[str]

    def of(self, method: str) -> np.ndarray:
        """`(networks,)` of one method."""
        return self.values[:, self.methods.index(method)]

    def means(self) -> dict[str, float]:
        """Mean over families of the mean over their networks, by method."""
        each = [self.values[self.family == f].mean(0) for f in np.unique(self.family)]
        return dict(zip(self.methods, np.mean(each, axis=0).tolist(), strict=True))

    def best(self, methods: Iterable[str] | None = None, owner: str = "") -> str:
        """The method of largest mean: of some, or of one owner, or of all."""
        means = self.means()
        chosen = [m for m in (methods or means) if owner in ("", METHODS[m].owner)]
        return max(chosen, key=means.__getitem__)

    def drawn(self) -> np.ndarray:
        """`(DRAWS, methods)` the same of networks drawn anew within families."""
        rng = np.random.default_rng(0)
        total = np.zeros((DRAWS, len(self.methods)))
        families = np.unique(self.family)
        for family in families:
            own = self.values[self.family == family]
            counts = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), size=DRAWS)
            total += counts @ own / len(own)
        return total / len(families)

    def only(self, *families: str) -> Scores:
        """Of some families."""
        chosen = np.isin(self.family, families)
        return Scores(self.values[chosen], self.family[chosen], self.methods)


def scores(
    rows: Any,
    question: Question,
    held_out: bool,
    score: str = "ari",
    *,
    among: Sequence[str] = (),
) -> Scores:
    """The scores of one question on one side of the split, of networks that all methods have seen;
    families that enter no mean are left out.

    A refusal counts as an answer of one module. Left out are methods that never answer, and those
    that have seen less than nine tenths of the networks.

    Args:
        rows: As they are saved.
        question: Whether k was given.
        held_out: Odd numbers, or even ones.
        score: "ari" or "element".
        among: These methods only, whatever they have seen.
    """
    rows = rows[~rows["family"].isin(BESIDE)]
    rows = rows[(rows["number"] % 2 == 1) == held_out]
    if question == "given":
        rows = rows[rows["k"] > 1]
    seen = rows.pivot(index="network", columns="method", values="units").notna()
    chosen = [m for m in METHODS if m in (among or seen.columns[seen.mean() >= 0.9])]
    networks = seen.index[seen[chosen].all(axis=1)]
    table = rows.pivot(index="network", columns="method", values=f"{score}_{question}")
    table = table.loc[networks, chosen].dropna(axis=1, how="all")
    family = np.array([family_of(name) for name in table.index])
    single = rows[rows["k"] == 1]["network"]
    one = np.where(table.index.isin(single), 1.0, 0.0)[:, None]
    return Scores(np.where(table.isna(), one, table), family, [*table.columns])


def interval(draws: np.ndarray) -> tuple[float, float]:
    """95 %, of the draws."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


@dataclass(frozen=True)
class Difference:
    """A paired difference of two methods' means, with its 95 % interval."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, found: Scores, one: str, other: str) -> Difference:
        """Of `one` less `other`."""
        draws = found.drawn()
        a, b = found.methods.index(one), found.methods.index(other)
        mean = float(found.means()[one] - found.means()[other])
        return cls(mean, *interval(draws[:, a] - draws[:, b]))

    def __str__(self) -> str:
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


@dataclass(frozen=True)
class Recommendation:
    """What README recommends for a question, by the protocol's rule.

    Attributes:
        ours: The package's own method of largest mean on tuning networks.
        other: Other people's of largest mean on held-out ones.
        difference: Of the two on held-out networks.
        method: The one recommended.
    """

    ours: str
    other: str
    difference: Difference
    method: str

    @property
    def leads(self) -> bool:
        """Whether ours is shown to lead."""
        return self.difference.low > 0


def recommendation(rows: Any, question: Question) -> Recommendation:
    """The protocol's first decision."""
    tuning, held = (scores(rows, question, side) for side in (False, True))
    ours, other = tuning.best(owner="ours"), held.best(owner="others")
    difference = Difference.of(held, ours, other)
    return Recommendation(ours, other, difference, ours if difference.low > 0 else tuning.best())


@dataclass(frozen=True)
class Default:
    """The protocol's second decision: another objective than "codes"?

    Attributes:
        candidate: The objective of largest mean on tuning networks.
        difference: Its mean less that of "codes", held-out networks.
        worse: Families in which the interval of the difference is wholly below 0.
        slower: Its median time over that of "codes".
    """

    candidate: str
    difference: Difference
    worse: dict[str, Difference]
    slower: float

    @property
    def changes(self) -> bool:
        """Whether all three conditions hold."""
        return self.difference.low > 0 and not self.worse and self.slower <= SLOWEST


def default_objective(rows: Any) -> Default:
    """The protocol's second decision."""
    tuning, held = (scores(rows, "given", side, among=SEARCHES) for side in (False, True))
    candidate = tuning.best(SEARCHES[1:])
    each = {
        f: Difference.of(held.only(f), candidate, "search codes") for f in np.unique(held.family)
    }
    seconds = rows[rows["number"] % 2 == 1].pivot(
        index="network", columns="method", values="seconds_given"
    )
    times = seconds[[*SEARCHES]].dropna().median()
    return Default(
        candidate,
        Difference.of(held, candidate, "search codes"),
        {str(f): d for f, d in each.items() if d.high < 0},
        float(times[candidate] / times["search codes"]),
    )
