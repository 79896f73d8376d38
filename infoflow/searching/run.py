"""search(): the partition that exchanges least, judged again on fresh samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from infoflow.exchanges import ExchangeMeter, PartitionLike, Values
from infoflow.forcing import ForcingLike
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
from infoflow.searching.annealing import annealing, climbing
from infoflow.searching.checkpoint import Checkpoint, fingerprint
from infoflow.searching.flow_cut import FlowCut
from infoflow.searching.genetic import genetic
from infoflow.searching.log import Callback, EvaluationLog
from infoflow.searching.result import SearchResult
from infoflow.searching.sampling import random_partitions
from infoflow.searching.score import chance, check_sampling, judged
from infoflow.searching.space import Space, check_downstream, divided_units
from infoflow.searching.starts import STARTS, starts_by_name
from infoflow.searching.surrogate import screened
from infoflow.searching.unguided import MOST_UNITS, check_exhaustive, exhaustive, sampling
from infoflow.units import UnknownName, unknown_name

Method = Literal["genetic", "annealing", "climbing", "screened", "exhaustive", "sampling"]
_MOST_FREE = 8


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
        n_modules: A number from 2 to that of used units, a `range`, or None: 2 to 8. Partitions
            into different numbers of modules are compared by value ÷ mean of random partitions
            into as many, so the score chooses; of equals the finer one.
        method: "genetic" (module injection, moves, merges and splits, then annealing), "annealing",
            "climbing", "screened" (the unit flows propose, the true measure judges; fewest
            evaluations), "exhaustive" (at most 14 units; the budget does not matter), "sampling"
            (the best of random partitions).
        weighting: Selects on this weighted exchange; "none" nearly always picks one quiet unit.
        given_context: Select on the exchange given the context, or on the plain one (see
            `exchange`).
        objective: How the flow into a module is measured (see `exchange`).
        budget: Partitions to measure in the search, beside those for the mean.
        samples: Random partitions for the mean, for each number of modules.
        tolerance: Draw more of them until the relative standard error of the mean is this small.
        starts: Partitions to begin with.
        seeds: Further ones: "unit_flow" (Q of the unit flows), "spectral" (their normalised cut),
            "q" (Q of every similarity measure).
        restarts: Chains of "annealing" or populations of "genetic", which share the budget.
            "climbing" starts anew by itself when it is stuck.
        donors, contexts, bins, coding, seed, pool, do: As for `exchange`.
        meter: Measure with this one, on its draws, instead of a new one; options that would be
            ignored (donors, contexts, bins, coding, pool, do, given_context, objective) are
            then refused.
        checkpoint: A file (.npz) to keep what was measured in. If it exists the search goes on
            from there, and ends bit for bit as if it had never stopped. "climbing" and "sampling"
            may go on with another budget.
        callback: Called with a `Step` after every batch; a true answer ends the search.
        progress: Show a progress bar with the best value so far.

    Returns:
        A `SearchResult`.

    Raises:
        ValueError: `n_modules` below 2 or above the number of used units, budget, samples or
            restarts too small, unknown method, weighting or seed, too many partitions to
            enumerate, no recorded unit downstream of another, a checkpoint that is damaged or of
            another network or configuration.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> rec = ifl.record(net, ["0", "2"], torch.randn(60, 4))
        >>> ifl.search(rec, budget=30, samples=10).partition.n_modules
        2
    """
    draws = Draws(donors, contexts, bins, coding, pool, SEARCH.correction, seed, do)
    wanted = Objective(weighting, given_context, objective)
    _check(method, budget, samples, tolerance, restarts, seeds)
    if meter is None:
        meter = ExchangeMeter(rec, draws, wanted)
    else:
        _refuse_ignored(meter, draws, wanted)
    space = _space(rec, n_modules, meter)
    if method == "exhaustive":
        check_exhaustive(space)
        budget = space.count
    plan = SearchPlan(method, weighting, budget, samples, tolerance, tuple(seeds), restarts, seed)
    given = [meter.checked(p) for p in starts]
    place = _checkpoint(checkpoint, rec, meter, space, plan, given)
    random = samples * (space.most - space.least + 1)
    with _bar(random + budget, progress) as bar:
        log = EvaluationLog(
            lambda some: meter.values(some, weighting),
            budget=budget,
            seed=seed,
            size=space.count if len(space.units) <= MOST_UNITS else None,
            checkpoint=place,
            callback=callback,
            ahead=lambda count, best: (bar.update(count), bar.set_postfix(best=f"{best:.4g}")),
        )
        try:
            sampled = _look(log, space, plan, meter, given)
        finally:
            log.save()
    return _judged(log, space, plan, meter, sampled)


@dataclass(frozen=True)
class SearchPlan:
    """What a search does, as `search` is told."""

    method: str
    weighting: Weighting
    budget: int
    samples: int
    tolerance: float | None
    seeds: tuple[str, ...]
    restarts: int
    seed: int


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
    _run(log, space, plan, meter, [*dict.fromkeys([*starts, *drawn[:1]])])
    return sampled


def _run(
    log: EvaluationLog,
    space: Space,
    plan: SearchPlan,
    meter: ExchangeMeter,
    starts: Sequence[Partition],
) -> None:
    finite = np.array([v for v in log.known.values() if np.isfinite(v)])
    spread = float(finite.std()) if len(finite) > 1 else 1.0
    if plan.method == "genetic":
        genetic(log, space, starts, spread=spread, restarts=plan.restarts)
    elif plan.method == "annealing":
        annealing(log, space, starts, spread=spread, restarts=plan.restarts)
    elif plan.method == "climbing":
        climbing(log, space, starts)
    elif plan.method == "screened":
        screened(log, space, starts, FlowCut(meter.traffic, plan.weighting), spread=spread)
    elif plan.method == "exhaustive":
        exhaustive(log, space)
    else:
        sampling(log, space, starts)


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


def _space(rec: Recording, n_modules: int | range | None, meter: ExchangeMeter) -> Space:
    used = ~rec.units.unused & ~meter.left_out
    least, most = _numbers(n_modules, int(used.sum()))
    if not 2 <= least <= most <= used.sum():
        raise ValueError(
            f"n_modules={n_modules} is out of reach: {int(used.sum())} of {len(used)} recorded "
            "units are used; expected 2 to that many"
        )
    check_downstream(meter)
    return Space(divided_units(meter, most), least, most)


def _numbers(n_modules: int | range | None, n: int) -> tuple[int, int]:
    if n_modules is None:
        return 2, max(min(_MOST_FREE, n), 2)
    if isinstance(n_modules, range):
        if n_modules.step != 1 or not len(n_modules):
            raise ValueError(f"expected a range of consecutive numbers of modules, got {n_modules}")
        return n_modules.start, n_modules.stop - 1
    return n_modules, n_modules


def _check(
    method: str,
    budget: int,
    samples: int,
    tolerance: float | None,
    restarts: int,
    seeds: Sequence[str],
) -> None:
    if method not in get_args(Method):
        raise UnknownName(unknown_name("method", method, get_args(Method)))
    if budget < 1:
        raise ValueError(f"expected budget >= 1, got budget={budget}")
    if restarts < 1:
        raise ValueError(f"expected restarts >= 1, got restarts={restarts}")
    check_sampling(samples, tolerance)
    for name in seeds:
        if not isinstance(name, str) or name not in STARTS:
            known = unknown_name("seed", str(name), tuple(STARTS))
            raise UnknownName(f"{known} (partitions to begin with go into starts=)")


def _refuse_ignored(meter: ExchangeMeter, draws: Draws, objective: Objective) -> None:
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


def _checkpoint(
    path: str | PathLike[str] | None,
    rec: Recording,
    meter: ExchangeMeter,
    space: Space,
    plan: SearchPlan,
    given: Sequence[Partition],
) -> Checkpoint | None:
    if path is None:
        return None
    config: dict[str, object] = {
        **fingerprint(rec),
        **meter.config,
        "n_modules": [space.least, space.most],
        "searched_units": np.flatnonzero(space.used).tolist(),
        "starts": [p.labels.tolist() for p in given],
        **{key: value for key, value in vars(plan).items() if key != "budget"},
    }
    if plan.method in ("annealing", "genetic", "screened"):  # their temperatures depend on it
        config["budget"] = plan.budget
    return Checkpoint(Path(path), config)


def _bar(total: int, progress: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=total, desc="search", leave=False, disable=not progress)
