"""search(): the partition that exchanges least, judged again on fresh samples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from infoflow.exchange import Exchange, ExchangeMeter, PartitionLike
from infoflow.exchange.weighting import Weighting, check_weighting
from infoflow.information.binning import Bins, Coding
from infoflow.information.tables import Pool
from infoflow.partition import Partition
from infoflow.record import Recording
from infoflow.search.genetic import genetic_search
from infoflow.search.sampling import random_partitions
from infoflow.search.score import ModuleScore, score_against

if TYPE_CHECKING:
    import pandas as pd

Method = Literal["genetic", "sampling"]


@dataclass(frozen=True, eq=False)
class SearchResult:
    """The best partition found, what it exchanges, and how that compares with chance.

    Attributes:
        partition: The best partition.
        exchange: Its exchange on donors and contexts that the search did not see.
        score: The module score.
        trail: `(evaluations, 3)`: weighted value, bits, best weighted value so far.
        evaluations: Partitions measured.
        method: How it was searched.
    """

    partition: Partition
    exchange: Exchange
    score: ModuleScore
    trail: np.ndarray
    evaluations: int
    method: str

    @property
    def history(self) -> pd.DataFrame:
        """One row per evaluation: `weighted`, `bits`, `best` (smallest weighted so far)."""
        import pandas as pd

        return pd.DataFrame(self.trail, columns=["weighted", "bits", "best"])

    def to_frame(self) -> pd.DataFrame:
        """The score's row."""
        return self.score.to_frame()

    def __repr__(self) -> str:
        return f"SearchResult({self.partition!r}, {self.exchange!r}, {self.score!r})"


def search(
    rec: Recording,
    *,
    n_modules: int = 2,
    method: Method = "genetic",
    weighting: Weighting = "conductance",
    given_context: bool = True,
    budget: int = 500,
    samples: int = 50,
    starts: Iterable[PartitionLike] = (),
    donors: int = 60,
    contexts: int = 40,
    bins: Bins = 10,
    coding: Coding = "units",
    seed: int = 0,
    pool: Pool = "mean",
    meter: ExchangeMeter | None = None,
    progress: bool = False,
) -> SearchResult:
    """Find the partition into `n_modules` whose modules exchange least, and score it.

    The score is the mean weighted exchange of random partitions over that of the best partition.
    The minimum of noisy values is too low, so the winner is measured again on fresh donors and
    contexts before it is reported.

    Args:
        rec: A recording; units that never change are left out.
        n_modules: Number of modules, 2 to the number of used units.
        method: "genetic", or "sampling" (the best of random partitions).
        weighting: Selects on this weighted exchange; "none" nearly always picks one quiet unit.
        given_context: Select on the exchange given the context, or on the plain one (see
            `exchange`).
        budget: Partitions to measure in the search.
        samples: Random partitions for the mean (part of the budget of "sampling").
        starts: Partitions to begin with, for example those of Q.
        donors, contexts, bins, coding, seed, pool: As for `exchange`.
        meter: Measure with this one (its settings apply) instead of a new one.
        progress: Show a progress bar.

    Returns:
        A `SearchResult`.

    Raises:
        ValueError: `n_modules` below 2 or above the number of used units, budget or samples too
            small, unknown method or weighting.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> rec = ifl.record(net, ["0", "2"], torch.randn(60, 4))
        >>> ifl.search(rec, budget=30, samples=10).partition.n_modules
        2
    """
    used = _checked(rec, n_modules, method, weighting, budget, samples)
    if meter is None:
        meter = ExchangeMeter(
            rec,
            donors=donors,
            contexts=contexts,
            bins=bins,
            coding=coding,
            seed=seed,
            pool=pool,
            given_context=given_context,
        )
    trail: list[tuple[float, float]] = []
    with _bar(budget + samples, progress) as bar:

        def objective(partition: Partition) -> float:
            measured = meter(partition, weighting)
            trail.append((measured.weighted, measured.amount))
            bar.update()
            bar.set_postfix(best=f"{min(w for w, _ in trail):.4g}")
            return measured.weighted

        drawn = list(islice(random_partitions(used, n_modules, seed), samples))
        sampled = np.array([objective(p) for p in drawn])
        raw = np.array([bits for _, bits in trail])
        best = _look(
            method, objective, used, n_modules, budget, seed, drawn, sampled, meter, starts
        )
    winner = meter.fresh()(best, weighting)
    score = score_against(sampled, raw, winner, meter.resolution)
    values = np.array(trail)
    steps = np.column_stack([values, np.minimum.accumulate(values[:, 0])])
    return SearchResult(best, winner, score, steps, len(trail), method)


def _look(
    method: str,
    objective: Any,
    used: np.ndarray,
    n_modules: int,
    budget: int,
    seed: int,
    drawn: list[Partition],
    sampled: np.ndarray,
    meter: ExchangeMeter,
    starts: Iterable[PartitionLike],
) -> Partition:
    best = drawn[int(sampled.argmin())]
    given = [meter.checked(p) for p in starts]
    if method == "sampling":
        more = islice(random_partitions(used, n_modules, seed + 1), max(budget - len(given), 0))
        pool = [*given, *more]
        values = [objective(p) for p in pool]
        ahead = int(np.argmin(values)) if values else -1
        return pool[ahead] if values and values[ahead] < sampled.min() else best
    return genetic_search(
        objective, used, n_modules, budget=budget, seed=seed, starts=[*given, best]
    )


def _checked(
    rec: Recording, n_modules: int, method: str, weighting: str, budget: int, samples: int
) -> np.ndarray:
    check_weighting(weighting)
    if method not in ("genetic", "sampling"):
        raise ValueError(f"unknown method {method!r}: expected 'genetic' or 'sampling'")
    used = ~rec.units.unused
    if not 2 <= n_modules <= used.sum():
        raise ValueError(
            f"n_modules={n_modules} is out of reach: {int(used.sum())} of {len(used)} recorded "
            "units are used; expected 2 to that many"
        )
    if budget < 1 or samples < 2:
        raise ValueError(
            f"expected budget >= 1 and samples >= 2, got budget={budget}, samples={samples}"
        )
    return used


def _bar(total: int, progress: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=total, desc="search", leave=False, disable=not progress)
