"""What is measured, said once: how samples are drawn and coded, which exchange is weighed, and
what chance would have given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from infoflow._arguments import check_fields, numbers, one_of, real, told, whole
from infoflow.forcing import Forcing, ForcingLike, as_forcing
from infoflow.saving import Saved
from infoflow.units import UnknownName, unknown_name

if TYPE_CHECKING:
    import pandas as pd

Budget = int | Literal["all"]
Coding = Literal["joint", "units"]
Pool = Literal["mean", "max", "positions"]
Estimator = Literal["none", "miller_madow", "panzeri_treves", "grassberger", "chao_shen"]
Correction = Literal["auto", "quadratic"] | Estimator
Weighting = Literal[
    "none",
    "min_size",
    "pairs",
    "min_entropy",
    "cut_connections",
    "conductance",
    "ncut",
    "size_null",
    "size_z",
]
Estimate = Literal["codes", "cells", "kernel", "gaussian"]
WEIGHTINGS: tuple[str, ...] = get_args(Weighting)
CORRECTIONS: tuple[str, ...] = ("auto", "quadratic", *get_args(Estimator))


@dataclass(frozen=True)
class Binning:
    """How single units are cut into bins; a plain number n of bins means `Binning(n)`.

    Attributes:
        count: Bins per unit, at least 2; also the size of a group's joint codebook.
        kind: "quantiles": one bin for exact zero where a unit has it, as ReLU units do, and
            quantiles of the rest. "frequency": quantiles of all values. "width": equal widths
            between the extremes.
        group: Joint code of a group: "kmeans", or "projection" on random directions.
        edges: Edges of your own, the same for every unit, ascending; a value's code is the number
            of edges below it. `count` and `kind` are then of no account.

    Raises:
        ValueError: Fewer than two bins, an unknown kind or group, or edges that do not ascend.

    Examples:
        >>> Binning(edges=(0.0, 1.0)).n_codes
        3
    """

    count: int = 10
    kind: Literal["quantiles", "frequency", "width"] = "quantiles"
    group: Literal["kmeans", "projection"] = "kmeans"
    edges: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        check_fields(
            self,
            count=whole(2, 10**6),
            kind=one_of(("quantiles", "frequency", "width"), "kind of bins"),
            group=one_of(("kmeans", "projection"), "code"),
        )
        if self.edges is None:
            return
        edges = numbers("edges", self.edges)
        if edges.ndim != 1 or not edges.size or not (np.diff(edges) > 0).all():
            raise ValueError(f"edges: expected numbers in ascending order, got {told(self.edges)}")
        object.__setattr__(self, "edges", tuple(edges.tolist()))

    @property
    def n_codes(self) -> int:
        """Number of codes of a unit."""
        return self.count if self.edges is None else len(self.edges) + 1


Bins = int | Literal["unique"]
BinsLike = Bins | Binning


def _bins(name: str, value: Any) -> BinsLike:
    """A `Binning`, a number of bins, or "unique"."""
    return value if isinstance(value, Binning) else whole(2, 10**6, texts=("unique",))(name, value)


@dataclass(frozen=True)
class Draws:
    """Which samples an intervention is run on, and how what is seen becomes codes and bits.

    Attributes:
        donors, contexts: Samples drawn for every intervention (at most all there are), or "all".
        bins: Bins per unit, size of a group's codebook, a `Binning`, or "unique".
        coding: "joint": one code for a group; "units": one per unit, their bits summed.
        pool: Positions are averaged ("mean"), "max", or each a sample ("positions").
        correction: Bias correction (see `table_flow`).
        seed: Of draws, codebooks and permutations.
        do: The distribution of what a source is set to (see `Forcing`).
        direct: All recorded units that are neither source nor target are held at what they are on
            the context.

    Raises:
        ValueError: Fewer than two donors, contexts or bins, a seed that is no integer of at least
            0, or an unknown option.

    Examples:
        >>> Draws(donors=1)
        Traceback (most recent call last):
        ...
        ValueError: donors: expected an integer of at least 2 or 'all', got 1
    """

    donors: Budget = 200
    contexts: Budget = 100
    bins: BinsLike = 10
    coding: Coding = "joint"
    pool: Pool = "mean"
    correction: Correction = "auto"
    seed: int = 0
    do: ForcingLike = "empirical"
    direct: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "do", as_forcing(self.do))
        check_fields(
            self,
            bins=_bins,
            coding=one_of(get_args(Coding)),
            pool=one_of(get_args(Pool)),
            correction=one_of(CORRECTIONS),
        )

    @property
    def binning(self) -> Binning:
        """The bins in full; raises ValueError for "unique"."""
        return self.bins if isinstance(self.bins, Binning) else Binning(self.bins)  # type: ignore[arg-type]

    @property
    def forcing(self) -> Forcing:
        """`do` in full."""
        return as_forcing(self.do)

    def rows(self, n: int, rng: np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Rows of donors and of contexts in a data set of n samples, do="empirical"."""
        rng = np.random.default_rng(self.seed) if rng is None else rng
        return drawn(np.arange(n), self.donors, rng), drawn(np.arange(n), self.contexts, rng)


def check_correction(correction: str) -> None:
    """Raises UnknownName for a name that is not in `CORRECTIONS`."""
    if correction not in CORRECTIONS:
        raise UnknownName(unknown_name("correction", correction, CORRECTIONS))


def drawn(rows: np.ndarray, count: Budget, rng: np.random.Generator) -> np.ndarray:
    """So many of the rows, without replacement; "all": all of them, in order."""
    return rows if count == "all" else rows[rng.permutation(len(rows))[: int(count)]]


# One flow, or the flows between the modules of one partition: run once, so drawn in full. "auto"
# is the best correction there is for a number by itself.
FLOW = Draws()
# Values that are compared, in exchanges, searches and scores, all have Miller-Madow; a sum over
# units steers a search well, and costs little since it is counted while an intervention runs.
EXCHANGE = replace(FLOW, coding="units", correction="miller_madow")
# A score or a table of proxies measures some hundred partitions.
SCORE = replace(EXCHANGE, donors=100, contexts=50)
# A search measures hundreds of them, and its winner again on fresh draws.
SEARCH = replace(EXCHANGE, donors=60, contexts=40)
# Every single unit is a source: n interventions. Given the context, one-unit flows are large.
UNIT_FLOW = replace(EXCHANGE, donors=50, contexts=50)
# The same as a divisor only, where errors of single flows average out over a module's units.
TRAFFIC = replace(EXCHANGE, donors=30, contexts=30)


@dataclass(frozen=True)
class Objective:
    """Which exchange is compared.

    Exchange, search and compare weigh the flow given the context: a single unit's plain flow is
    mostly too small to measure, and a search on it ends with one quiet unit as a module. `flow`
    reports both; `module_flow` and `unit_flow` show the plain flow, the quantity of the yardstick
    post, unless `given_context=True` is asked for.

    Attributes:
        weighting: What the exchange is divided by (see `infoflow.exchanges.weighting.weigh`).
        given_context: Weigh the exchange given the context, or the plain one.
        estimate: How the flow into a module is measured; the `objective=` of `exchange`, `search`,
            `module_score` and `compare`. "codes": from codes, as `Draws.coding` says: by default
            summed over the module's units, so that what several say counts for each. The others
            take its units together, on their rank scales (see `GroupFlow`). "cells" counts joint
            cells; "kernel" blurs the outcomes and is a lower bound of what is then left; both are
            log2 of the donors at most. "gaussian" is an upper bound of the same, by the covariance
            of the outcomes, and goes on growing with the module.
        resolution: Bins a unit of all but "codes": differences of about one in so many of a
            unit's range, on its rank scale, are told apart.

    Raises:
        ValueError: An unknown weighting or objective, or a resolution below 1.
    """

    weighting: Weighting = "ncut"
    given_context: bool = True
    estimate: Estimate = "codes"
    resolution: float = 3

    def __post_init__(self) -> None:
        check_fields(
            self,
            weighting=one_of(WEIGHTINGS),
            estimate=one_of(get_args(Estimate), "objective"),
            resolution=real(1),
        )

    @property
    def together(self) -> bool:
        """Whether a module's units are taken together rather than coded."""
        return self.estimate != "codes"


def check_weighting(weighting: str) -> None:
    """Raises UnknownName for a name that is not in `WEIGHTINGS`."""
    if weighting not in WEIGHTINGS:
        raise UnknownName(unknown_name("weighting", weighting, WEIGHTINGS))


def check_forcing(draws: Draws, objective: Objective) -> None:
    """Refuse what a source cannot be set to where flows to several targets are added.

    Raises:
        ValueError: Capacity, the observed marginal where the exchange given the context is
            weighed, or an objective that has been built for the default only.
    """
    do = draws.forcing
    if do.values == "capacity":
        raise ValueError(
            "do='capacity' is for flow: an exchange adds flows to several modules, and each has a "
            "distribution of its own under which most is sent"
        )
    if do.marginal == "observed" and objective.given_context:
        raise ValueError(
            "marginal='observed' is for the plain flow, and the exchange given the context is "
            "weighed: pass given_context=False"
        )
    if objective.together and not (do.plain and not draws.direct):
        raise ValueError(
            f"objective={objective.estimate!r} takes donors as they come: use objective='codes' "
            f"with do={do} and direct={draws.direct}"
        )


@dataclass(frozen=True, eq=False)
class Null(Saved):
    """A value beside draws of what it is where there is nothing.

    Attributes:
        observed: The value.
        values: `(N,)` draws under the null.
        smaller_is_better: Small values, rather than large ones, speak against the null.
        what: The value's name, and how the null was made.

    Examples:
        >>> null = Null(3.0, np.array([0.0, 1.0, 2.0]))
        >>> null.p_value, null.z
        (0.25, 2.0)
    """

    observed: float
    values: np.ndarray
    smaller_is_better: bool = False
    what: str = "value"

    @property
    def p_value(self) -> float:
        """Share of draws at least as extreme, counting the observed one among them (add-one)."""
        # A tie that rounding breaks would make "nothing at all" significant.
        slack = 1e-12 * max(1.0, abs(self.observed))
        sign = -1.0 if self.smaller_is_better else 1.0
        reached = int((sign * self.values >= sign * self.observed - slack).sum())
        return (1 + reached) / (1 + len(self.values))

    @property
    def mean(self) -> float:
        """Mean of the draws."""
        return float(self.values.mean())

    @property
    def std(self) -> float:
        """Standard deviation of the draws; 0 for a single one."""
        return float(self.values.std(ddof=1)) if len(self.values) > 1 else 0.0

    @property
    def z(self) -> float:
        """Standard deviations of the null from its mean to the value; 0 if both are the same
        constant."""
        excess = self.observed - self.mean
        if self.std > 0:
            return excess / self.std
        return float(np.copysign(np.inf, excess)) if abs(excess) > 1e-12 else 0.0

    @property
    def floor(self) -> float:
        """Detection floor: the 95th percentile of the draws."""
        return float(np.quantile(self.values, 0.95))

    def to_frame(self) -> pd.DataFrame:
        """One row per draw."""
        import pandas as pd

        return pd.DataFrame({self.what: self.values})

    def __repr__(self) -> str:
        low, high = np.percentile(self.values, [5, 95])
        return (
            f"Null({self.what}: {self.observed:.4g}, null {low:.4g} to {high:.4g} "
            f"(5 to 95 %), p = {self.p_value:.3g})"
        )
