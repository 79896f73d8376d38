"""The module score: mean exchange of random partitions over that of the best one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from itertools import islice
from operator import add
from typing import TYPE_CHECKING

import numpy as np

from infoflow._arguments import door, one_of
from infoflow._warnings import warn
from infoflow.exchanges import Exchange, ExchangeMeter, PartitionLike, Values
from infoflow.forcing import ForcingLike
from infoflow.measured import SCORE, SEARCH, WEIGHTINGS, Draws, Estimate, Objective, Weighting
from infoflow.partition import Partition
from infoflow.recording import Recording
from infoflow.saving import Saved
from infoflow.searching.space import mean_and_se, random_partitions

if TYPE_CHECKING:
    import pandas as pd

_FOR_ERROR = 6  # random partitions whose runs are looked at one by one


@dataclass(frozen=True)
class ModuleScore(Saved):
    """How much less the best partition's modules exchange than those of a random partition.

    Attributes:
        mean: Mean weighted exchange of random partitions, on the same donors and contexts as
            `minimum`.
        se: Its standard error over random partitions; 0 where all that there are were measured.
        n_samples: Partitions it rests on.
        minimum: Weighted exchange of the best partition. After a search, on fresh draws.
        floor: Detection floor of `minimum` in the same weighted units (bits under "size_z"): two
            standard errors, at least what one changed code among all runs amounts to.
        weighting: Weighting of all of these.
        raw_mean, raw_minimum: The same two in bits, unweighted.
        given_context: Whether those bits are given the context, or plain.
        ratio_se: Standard error of `ratio` over donors, contexts and random partitions, what the
            weighting divides by taken as given; nan where it was not asked for, inf with `ratio`.
    """

    mean: float
    se: float
    n_samples: int
    minimum: float
    floor: float
    weighting: str
    raw_mean: float
    raw_minimum: float
    given_context: bool
    ratio_se: float = float("nan")

    @property
    def compared(self) -> tuple[float, float]:
        """Mean and minimum that the ratios rest on: weighted, but in bits under "size_z", whose
        values have no zero to divide from."""
        if self.weighting == "size_z":
            return self.raw_mean, self.raw_minimum
        return self.mean, self.minimum

    @property
    def ratio(self) -> float:
        """mean / minimum, the score of the yardstick post; inf where nothing is exchanged."""
        mean, minimum = self.compared
        return float("inf") if minimum <= 0 else mean / minimum  # nan of one module stays

    @property
    def log_ratio(self) -> float:
        """log2((mean + floor) / (minimum + floor)): finite also for isolated modules."""
        mean, minimum = self.compared
        return float(np.log2((mean + self.floor) / (max(minimum, 0.0) + self.floor)))

    @property
    def bounded(self) -> float:
        """1 - minimum / mean: 1 for isolated modules, 0 for no better than random."""
        mean, minimum = self.compared
        return 1 - max(minimum, 0.0) / mean if mean > 0 else 0.0

    @property
    def isolated(self) -> bool:
        """The best partition's exchange cannot be told from nothing."""
        return self.compared[1] <= self.floor

    def to_frame(self) -> pd.DataFrame:
        """One row with every attribute and derived value."""
        import pandas as pd

        derived = {
            "ratio": self.ratio,
            "log_ratio": self.log_ratio,
            "bounded": self.bounded,
            "isolated": self.isolated,
        }
        return pd.DataFrame([{**derived, **asdict(self)}])

    def __repr__(self) -> str:
        tail = ", isolated" if self.isolated else ""
        error = f" ± {self.ratio_se:.2g}" if np.isfinite(self.ratio_se) else ""
        return (
            f"ModuleScore(ratio {self.ratio:.3g}{error}, mean {self.mean:.4g} ± {self.se:.2g} over "
            f"{self.n_samples} random partitions, minimum {self.minimum:.4g}, "
            f"{self.weighting}{tail})"
        )


def judged(
    meter: ExchangeMeter,
    best: Partition,
    others: Sequence[Partition],
    weighting: Weighting,
    *,
    complete: bool = False,
) -> tuple[Exchange, ModuleScore]:
    """The exchange of `best` and its score against others, all on the same donors and contexts.

    What the draws do to all partitions alike cancels in the ratio, and its standard error knows:
    it rests on the differences between `best` and some of the others, run by run.

    Args:
        meter: Measures; after a search, on draws that the search has not seen.
        best: The partition to score.
        others: Partitions into as many modules.
        weighting: Of the exchange.
        complete: They are all that there are, rather than a sample.
    """
    values, measured = meter.values(others, weighting), meter(best, weighting)
    if measured.saturated and meter.objective.together:
        warn(
            f"objective={meter.objective.estimate!r} tells all donors apart between the modules "
            "found, and is then least where everything goes one way, as between layers: use "
            "objective='gaussian', or more donors="
        )
    score = score_against(values, measured, meter.floor)
    score = replace(score, se=0.0) if complete else score
    mean, minimum = score.compared
    if not (minimum > 0 and np.isfinite(mean)):
        return measured, replace(score, ratio_se=float("inf"))
    linear: Weighting = "none" if weighting == "size_z" else weighting
    some = others[:: -(-len(others) // _FOR_ERROR)]
    random = reduce(add, (meter.pointwise(p, linear) for p in some)) * (1 / len(some))
    draws = (random + meter.pointwise(best, linear) * (-mean / minimum)).se
    sampling = (
        0.0 if complete else mean_and_se(values.bits if linear == "none" else values.weighted)[1]
    )
    return measured, replace(score, ratio_se=float(np.hypot(draws, sampling)) / minimum)


def score_against(sampled: Values, best: Exchange, floor: float) -> ModuleScore:
    """The score of `best` against random partitions.

    Args:
        sampled: What random partitions exchange, under the same weighting.
        best: The exchange of the partition to score.
        floor: Bits that one changed code amounts to.
    """
    mean, se = mean_and_se(sampled.weighted)
    raw_mean = float(sampled.bits.mean())
    if best.weighting == "size_z":
        per_bit = 1.0
    elif best.amount > 0 and np.isfinite(best.weighted):
        per_bit = best.weighted / best.amount
    else:
        per_bit = mean / raw_mean if raw_mean > 0 else 1.0
    return ModuleScore(
        mean=mean,
        se=se,
        n_samples=len(sampled),
        minimum=best.weighted,
        floor=max(2 * best.amount_se, floor) * per_bit,
        weighting=best.weighting,
        raw_mean=raw_mean,
        raw_minimum=best.amount,
        given_context=best.given_context,
    )


def chance(
    measure: Callable[[Sequence[Partition]], Values],
    drawn: Iterator[Partition],
    *,
    samples: int,
    tolerance: float | None,
    most: int = 2000,
) -> Values:
    """What random partitions exchange: as many as the mean needs.

    Args:
        measure: Measures partitions.
        drawn: Random partitions.
        samples: At least so many.
        tolerance: Draw on until the standard error of the mean weighted value is at most this
            share of the mean; None stops at `samples`.
        most: Give up here.
    """
    values = measure(list(islice(drawn, samples)))
    while tolerance is not None and len(values) < most:
        mean, se = mean_and_se(values.weighted)
        if se <= tolerance * abs(mean):
            break
        # as many again, or the few that are missing if the spread stays as it is
        missing = len(values) * min((se / max(tolerance * abs(mean), 1e-100)) ** 2 - 1, 1.0)
        more = max(2, min(int(missing), most - len(values)))
        values = values.followed_by(measure(list(islice(drawn, more))))
    return values


@door(weighting=one_of(WEIGHTINGS))
def module_score(
    rec: Recording,
    partition: PartitionLike,
    *,
    weighting: Weighting = "ncut",
    objective: Estimate = "codes",
    samples: int = 50,
    tolerance: float | None = None,
    seed: int = 0,
    do: ForcingLike = "empirical",
    meter: ExchangeMeter | None = None,
) -> ModuleScore:
    """The module score of any partition: of Q's, of a planted one, of one by hand.

    score = mean exchange of random partitions into as many modules ÷ exchange of this one, both
    on the same donors and contexts (yardstick post).

    Args:
        rec: A recording.
        partition: A `Partition` or labels; unused units are left out.
        weighting: Of the exchange.
        objective: How the flow into a module is measured (see `exchange`).
        samples: Random partitions, at least.
        tolerance: Draw on until the relative standard error of the mean is this small.
        seed: Of the random partitions.
        do: What a module is set to, as for `exchange`.
        meter: Measures; by default one of 100 donors and 50 contexts.

    Raises:
        ValueError: Labels of another length, fewer than two modules, samples < 2, a tolerance
            that is not positive.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> rec = ifl.record(net, ["0", "2"], torch.randn(60, 4))
        >>> module_score(rec, [0, 0, 1, 1, 0, 1], tolerance=0.05).se < 0.06
        True
    """
    if meter is None:
        draws = replace(SCORE, seed=seed, do=do)
        meter = ExchangeMeter(rec, draws, Objective(weighting, estimate=objective))
    else:
        asked = Objective(weighting, meter.given_context, objective)
        refuse_ignored(meter, replace(SCORE, do=do), asked, SCORE)
    cleaned = meter.checked(partition)
    used, k = ~cleaned.unused, cleaned.n_modules
    values = chance(
        lambda some: meter.values(some, weighting),
        random_partitions(used, k, seed),
        samples=samples,
        tolerance=tolerance,
    )
    drawn = list(islice(random_partitions(used, k, seed), len(values)))
    return judged(meter, cleaned, drawn, weighting)[1]


def refuse_ignored(
    meter: ExchangeMeter, draws: Draws, objective: Objective, defaults: Draws = SEARCH
) -> None:
    """Options that are neither the defaults nor what the meter has would be ignored."""
    asked = {**vars(draws), **_told(objective)}
    own = {**vars(meter.draws), **_told(meter.objective)}
    default = {**vars(defaults), **_told(Objective())}
    names = ("donors", "contexts", "bins", "coding", "pool", "do", "given_context", "objective")
    for name in names:
        if asked[name] not in (default[name], own[name]):
            raise ValueError(
                f"meter= is given and has {name}={own[name]!r}: {name}={asked[name]!r} would be "
                "ignored; leave it out, or give the meter these draws"
            )


def _told(objective: Objective) -> dict[str, object]:
    return {"given_context": objective.given_context, "objective": objective.estimate}
