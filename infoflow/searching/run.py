"""search(): the partition that exchanges least, judged again on fresh samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from infoflow._arguments import door, items, whole
from infoflow.exchanges import ExchangeMeter, PartitionLike, Values
from infoflow.forcing import ForcingLike
from infoflow.information.workers import spread
from infoflow.measured import (
    SEARCH,
    Bins,
    Budget,
    Coding,
    Draws,
    Estimate,
    Objective,
    Pool,
    Weighting,
)
from infoflow.partition import Partition
from infoflow.recording import Recording
from infoflow.searching.checkpoint import Checkpoint, fingerprint
from infoflow.searching.confidence import Confidence
from infoflow.searching.count import how_many
from infoflow.searching.dispatch import run_method
from infoflow.searching.levels import Groups, search_in_levels
from infoflow.searching.log import Callback, EvaluationLog
from infoflow.searching.methods import MOST_UNITS, check_exhaustive
from infoflow.searching.plan import Method, SearchPlan
from infoflow.searching.result import SearchResult, undivided
from infoflow.searching.score import chance, judged, refuse_ignored
from infoflow.searching.space import Space, check_downstream, divided_units, random_partitions
from infoflow.searching.starts import starts_by_name


def _modules(name: str, value: Any) -> Any:
    """A range, a number or None: as many as there are."""
    return value if isinstance(value, range) else whole(2, none=True)(name, value)


@door(n_modules=_modules, confidence=whole(0, 10**4), seeds=items, starts=items)
def search(
    rec: Recording,
    *,
    n_modules: int | range | None = 2,
    method: Method = "genetic",
    weighting: Weighting = "ncut",
    given_context: bool = True,
    objective: Estimate = "codes",
    budget: int = 500,
    samples: int = 50,
    tolerance: float | None = None,
    starts: Iterable[PartitionLike] = (),
    seeds: Sequence[str] = ("unit_flow", "spectral"),
    restarts: int = 1,
    groups: int | None = None,
    donors: Budget = SEARCH.donors,
    contexts: Budget = SEARCH.contexts,
    bins: Bins = 10,
    coding: Coding = "units",
    seed: int = 0,
    pool: Pool = "mean",
    do: ForcingLike = "empirical",
    meter: ExchangeMeter | None = None,
    checkpoint: str | PathLike[str] | None = None,
    callback: Callback | None = None,
    progress: bool = False,
    confidence: int = 0,
    scheduler: str | None = None,
) -> SearchResult:
    """Find the partition whose modules exchange least, and score it.

    The score is the mean weighted exchange of random partitions over that of the best partition.
    The minimum of noisy values is too low, so the winner is measured again on fresh donors and
    contexts before it is reported, and so are the random partitions: both on the same draws. Where
    the search has measured every partition there is, the mean is over all of them.

    Args:
        rec: A recording; units that never change, and units that send and receive nothing
            detectable or next to nothing (`Traffic.silent`), are left out: hardly any exchange
            depends on where they are.
        n_modules: A number from 2 to that of used units; None: as many as `how_many` finds, which
            may be one (no modules); or a `range`, of which the score chooses: partitions into
            different numbers are compared by value ÷ mean of random partitions into as many, of
            equals the finer one. That favours few modules (docs/how_many.md).
        method: "genetic" (module injection, moves, merges and splits, then annealing), "annealing",
            "climbing", "screened" (the unit flows propose, the true measure judges; fewest
            evaluations), "exhaustive" (at most 14 units; the budget does not matter), "sampling"
            (the best of random partitions).
        weighting: Selects on this weighted exchange; "none" nearly always picks one quiet unit.
        given_context: Select on the exchange given the context, or on the plain one (see
            `exchange`).
        objective: How the flow into a module is measured (see `exchange`): of those that take it
            as a whole, "gaussian" is the one to search with.
        budget: Partitions to measure in the search, beside those for the mean.
        samples: Random partitions for the mean, for each number of modules.
        tolerance: Draw more of them until the relative standard error of the mean is this small.
        starts: Partitions to begin with.
        seeds: Further ones: "unit_flow" (Q of the unit flows), "spectral" (their normalised cut),
            "q" (Q of every similarity measure).
        restarts: Chains of "annealing" or populations of "genetic", which share the budget.
            "climbing" starts anew by itself when it is stuck.
        groups: Search in levels: partitions of so many groups of units first, on a third of the
            donors and a quarter of the contexts, then moves of single units; the best few are
            measured on all draws. None: 128 above 1,000 units, which is said; 0: never.
        donors, contexts, bins, coding, seed, pool, do: As for `exchange`.
        meter: Measure with this one, on its draws, instead of a new one; options that would be
            ignored (donors, contexts, bins, coding, pool, do, given_context, objective) are
            then refused.
        checkpoint: A file (.npz) to keep what was measured in. If it exists the search goes on
            from there, and ends bit for bit as if it had never stopped. "climbing" and "sampling"
            may go on with another budget.
        callback: Called with a `Step` after every batch; a true answer ends the search.
        progress: Show a progress bar with the best value so far.
        confidence: Search so many times more, each on other draws and with another seed, to tell
            how sure each unit's module is (`SearchResult.confidence`). Each costs as much as the
            search itself.
        scheduler: Address of a Dask scheduler (`tcp://...`) whose workers run the interventions;
            the answer is the same to the bit. Modules taken as wholes (`objective`) run here.

    Returns:
        A `SearchResult`.

    Raises:
        ValueError: `n_modules` below 2 or above the number of used units, budget, samples,
            restarts or confidence too small, unknown method, weighting or seed, too many
            partitions to enumerate, no recorded unit downstream of another, a checkpoint that is
            damaged or of another network or configuration.
        ConnectionError: The scheduler cannot be reached, has no workers or was lost.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> rec = ifl.record(net, ["0", "2"], torch.randn(60, 4))
        >>> ifl.search(rec, budget=30, samples=10).partition.n_modules
        2
    """
    draws = Draws(donors, contexts, bins, coding, pool, SEARCH.correction, seed, do)
    wanted = Objective(weighting, given_context, objective)
    plan = SearchPlan(
        method, weighting, budget, samples, tolerance, tuple(seeds), restarts, seed, groups
    )
    if confidence < 0 or confidence == 1:
        raise ValueError(f"expected confidence=0 or at least 2 searches, got {confidence}")
    if meter is None:
        meter = ExchangeMeter(rec, draws, wanted)
    else:
        refuse_ignored(meter, draws, wanted)
    given = [meter.checked(p) for p in starts]
    with spread(meter.rec, scheduler):
        found = _searched(meter, n_modules, plan, given, checkpoint, callback, progress)
        again = []
        for number in range(1, confidence + 1):
            other, anew = _redrawn(meter, number), replace(plan, seed=seed + number)
            again.append(_searched(other, n_modules, anew, given, None, None, progress).partition)
    if not confidence:
        return found
    return replace(found, confidence=Confidence.of(found.partition, again))


def _searched(
    meter: ExchangeMeter,
    n_modules: int | range | None,
    plan: SearchPlan,
    given: Sequence[Partition],
    checkpoint: str | PathLike[str] | None,
    callback: Callback | None,
    progress: bool,
) -> SearchResult:
    """One search on the meter's draws; of no modules, where the flows show none."""
    check_downstream(meter)
    count = None
    if n_modules is None:
        count = how_many(meter.rec, seed=plan.seed, meter=meter)
        if count.n_modules < 2:
            return undivided(count, meter, plan.method, plan.weighting)
        n_modules = count.n_modules
    space = _space(n_modules, meter)
    if plan.method == "exhaustive":
        check_exhaustive(space)
        plan = replace(plan, budget=space.count)
    groups = Groups.of(meter, space, plan)
    place = _checkpoint(checkpoint, meter, space, plan, given, groups)
    starts = [*given] if count is None else [*given, count.partition]
    if groups is not None:
        with _bar(plan.budget, progress) as bar:
            found = search_in_levels(meter, space, plan, groups, starts, place, callback, bar)
        return replace(found, count=count)
    random = plan.samples * (space.most - space.least + 1)
    with _bar(random + plan.budget, progress) as bar:
        log = EvaluationLog(
            lambda some: meter.values(some, plan.weighting),
            budget=plan.budget,
            seed=plan.seed,
            size=space.count if len(space.units) <= MOST_UNITS else None,
            checkpoint=place,
            callback=callback,
            ahead=lambda count, best: (bar.update(count), bar.set_postfix(best=f"{best:.4g}")),
        )
        try:
            sampled = _look(log, space, plan, meter, starts)
        finally:
            log.save()
    return replace(_judged(log, space, plan, meter, sampled), count=count)


def _look(
    log: EvaluationLog,
    space: Space,
    plan: SearchPlan,
    meter: ExchangeMeter,
    given: Sequence[Partition],
) -> dict[int, Values]:
    """Search; returns what random partitions into each number of modules exchange."""

    def measure(some: Sequence[Partition]) -> Values:
        weighted = log.many(some, counted=False)
        return Values(np.array(weighted), np.array([log.bits[p] for p in some]))

    sampled = {
        k: chance(
            measure,
            random_partitions(space.used, k, plan.seed),
            samples=plan.samples,
            tolerance=plan.tolerance,
        )
        for k in range(space.least, space.most + 1)
    }
    drawn = sorted(log.known, key=log.known.__getitem__)
    if len(sampled) > 1 and plan.weighting != "size_z":
        means = {k: float(values.weighted.mean()) for k, values in sampled.items()}
        log.rescale({k: m for k, m in means.items() if np.isfinite(m) and m > 0})
        drawn = sorted(log.known, key=log.known.__getitem__)
    starts = [p for p in map(space.fitted, given) if p is not None]
    starts += starts_by_name(plan.seeds, meter, space, plan.seed)
    run_method(log, space, plan, meter.traffic, [*dict.fromkeys([*starts, *drawn[:1]])])
    return sampled


def _judged(
    log: EvaluationLog,
    space: Space,
    plan: SearchPlan,
    meter: ExchangeMeter,
    sampled: dict[int, Values],
) -> SearchResult:
    if log.best is None:
        raise ValueError("the callback ended the search before it had measured any partition")
    best = log.best
    known = [p for p in log.known if p.n_modules == best.n_modules]
    complete = len(log.known) == space.count
    count = len(sampled[best.n_modules])
    drawn = random_partitions(space.used, best.n_modules, plan.seed)
    others = known if complete else list(islice(drawn, count))
    winner, score = judged(meter.fresh(), best, others, plan.weighting, complete=complete)
    trail = log.trail
    best_so_far = np.minimum.accumulate(trail.weighted)
    steps = np.column_stack([trail.weighted, trail.bits, best_so_far])
    visited = tuple(log.order)
    return SearchResult(
        best, winner, score, steps, visited, len(steps), plan.method, plan.weighting
    )


def _space(n_modules: int | range, meter: ExchangeMeter) -> Space:
    used = ~meter.rec.units.unused & ~meter.left_out
    least, most = _numbers(n_modules)
    if not 2 <= least <= most <= used.sum():
        raise ValueError(
            f"n_modules={n_modules} is out of reach: {int(used.sum())} of {len(used)} recorded "
            "units are used; expected 2 to that many"
        )
    return Space(divided_units(meter, most), least, most)


def _numbers(n_modules: int | range) -> tuple[int, int]:
    if isinstance(n_modules, range):
        if n_modules.step != 1 or not len(n_modules):
            raise ValueError(f"expected a range of consecutive numbers of modules, got {n_modules}")
        return n_modules.start, n_modules.stop - 1
    return n_modules, n_modules


def _checkpoint(
    path: str | PathLike[str] | None,
    meter: ExchangeMeter,
    space: Space,
    plan: SearchPlan,
    given: Sequence[Partition],
    groups: Groups | None,
) -> Checkpoint | None:
    if path is None:
        return None
    config: dict[str, object] = {
        **fingerprint(meter.rec),
        **meter.config,
        "n_modules": [space.least, space.most],
        "searched_units": np.flatnonzero(space.used).tolist(),
        "starts": [p.labels.tolist() for p in given],
        **{key: value for key, value in vars(plan).items() if key != "budget"},
    }
    if groups is not None:
        config["of_groups"] = groups.labels.tolist()
    if plan.method in ("annealing", "genetic", "screened"):  # their temperatures depend on it
        config["budget"] = plan.budget
    return Checkpoint(Path(path), config)


def _redrawn(meter: ExchangeMeter, number: int) -> ExchangeMeter:
    """The same meter on other donors and contexts, its traffic measured anew as well."""
    draws = replace(meter.draws, seed=meter.draws.seed + number)
    redrawn = ExchangeMeter(meter.rec, draws, meter.objective)
    inside = np.flatnonzero(~meter.left_out)
    return redrawn.within(inside) if meter.left_out.any() else redrawn


def _bar(total: int, progress: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=total, desc="search", leave=False, disable=not progress)
