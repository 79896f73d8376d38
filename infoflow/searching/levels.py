"""Search of a large network in levels: partitions of groups of units, then moves of single units.

A search by moves of single units needs some measurements for each of them. Groups of units that
send each other much mostly belong together, so that a partition of some hundred groups is nearly as
good; what is left is a matter of single units, which the unit flows propose and the true measure
judges, many at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from infoflow._warnings import warn
from infoflow.exchanges import ExchangeMeter
from infoflow.exchanges.weighting import MOST_MEASURED, Traffic
from infoflow.measured import Budget
from infoflow.partition import Partition
from infoflow.searching.checkpoint import Checkpoint
from infoflow.searching.dispatch import run_method
from infoflow.searching.flow_cut import FlowCut
from infoflow.searching.log import Callback, EvaluationLog, Step
from infoflow.searching.plan import SearchPlan
from infoflow.searching.result import SearchResult
from infoflow.searching.score import judged
from infoflow.searching.space import Space, random_partitions
from infoflow.searching.starts import (
    completed,
    normalised_cut,
    q_modules,
    spectral_cut,
    symmetric,
    unit_flow_modules,
)

_GROUPS = 128
_FINE = 32  # evaluations for single units
_ROUNDS = 6
_FINALISTS = 4  # measured on all draws
_RANDOM = (
    6  # random partitions: of thousands of units they are much alike, and the score has its se
)


@dataclass(frozen=True, eq=False)
class Groups:
    """Units that are moved together.

    Attributes:
        labels: `(n,)` group of each unit; -1 outside the space.
        count: Number of groups.
    """

    labels: np.ndarray
    count: int

    @classmethod
    def of(cls, meter: ExchangeMeter, space: Space, plan: SearchPlan) -> Groups | None:
        """As many groups as the plan says, by the normalised cut of the unit flows; None where
        single units are searched."""
        wanted, n = plan.groups, len(space.units)
        if wanted is None:
            wanted = _GROUPS if n > MOST_MEASURED else 0
        if plan.method in ("exhaustive", "sampling") or not max(space.most, 1) < wanted < n:
            return None
        found = normalised_cut(symmetric(meter.traffic.unit_flow, space), wanted, plan.seed)
        if found is None:
            return None
        if plan.groups is None:
            warn(
                f"search: {n} units are searched as {found.n_modules} groups, then unit by unit, "
                "on fewer draws than what is judged at the end; groups=0 searches single units"
            )
        return cls(completed(found, space.used).labels, found.n_modules)

    def units(self, partition: Partition) -> Partition:
        """A partition of the groups as one of the units."""
        return Partition(np.where(self.labels < 0, -1, partition.labels[self.labels]))

    def fitted(self, partition: Partition) -> Partition:
        """A partition of the units as one of the groups: each where most of it is."""
        inside = (self.labels >= 0) & ~partition.unused
        member = np.zeros((self.count, partition.n_modules))
        np.add.at(member, (self.labels[inside], partition.labels[inside]), 1)
        return Partition(member.argmax(1))

    def traffic(self, traffic: Traffic) -> Traffic:
        """Flows between groups: sums of those between their units."""
        member = (self.labels[:, None] == np.arange(self.count)).astype(np.float64)
        flow = member.T @ traffic.unit_flow @ member
        connected = member.T @ traffic.connected @ member > 0
        own = member.T @ traffic.per_unit
        return Traffic(flow, member.T @ traffic.entropy, connected, traffic.floor, own)


def search_in_levels(
    meter: ExchangeMeter,
    space: Space,
    plan: SearchPlan,
    groups: Groups,
    given: Sequence[Partition],
    place: Checkpoint | None,
    callback: Callback | None,
    bar: Any,
) -> SearchResult:
    """The best partition met, judged on fresh draws.

    Args:
        meter: Measures what is decided at the end.
        space: Partitions of the units.
        plan: What is searched, and how.
        groups: Units that are moved together at first.
        given: Partitions of the units to begin with.
        place: Where the log of the groups' search is kept.
        callback: Told after every batch of that.
        bar: Moved on by every evaluation.
    """
    quick = _quick(meter)

    def told(step: Step) -> object:
        return callback and callback(replace(step, best=groups.units(step.best)))

    log = EvaluationLog(
        lambda some: quick.values([groups.units(p) for p in some], plan.weighting),
        budget=max(plan.budget - _FINE, 1),
        seed=plan.seed,
        checkpoint=place,
        callback=told,
        ahead=lambda count, _best: bar.update(count),
    )
    try:
        _search_groups(log, space, plan, groups, meter, given)
    finally:
        log.save()
    if log.best is None:
        raise ValueError("the callback ended the search before it had measured any partition")
    fine = EvaluationLog(
        lambda some: quick.values(some, plan.weighting), budget=_FINE, seed=plan.seed
    )
    fine.scales = log.scales
    best_of_groups = sorted(log.known, key=log.known.__getitem__)[:_FINALISTS]
    firsts = [groups.units(p) for p in best_of_groups]
    _move_units(fine, firsts, FlowCut(meter.traffic, plan.weighting))
    finalists = sorted(fine.known, key=fine.known.__getitem__)[:_FINALISTS]
    values = meter.values(finalists, plan.weighting).weighted
    scale = np.array([log.scales.get(p.n_modules, 1.0) for p in finalists])
    best = finalists[int((values / scale).argmin())]
    others = list(islice(random_partitions(space.used, best.n_modules, plan.seed), _RANDOM))
    winner, score = judged(meter.fresh(), best, others, plan.weighting)
    trail = log.trail.followed_by(fine.trail)
    so_far = np.minimum.accumulate(trail.weighted)
    steps = np.column_stack([trail.weighted, trail.bits, so_far])
    visited = (*(groups.units(p) for p in log.order), *fine.order)
    return SearchResult(
        best, winner, score, steps, visited, len(steps), plan.method, plan.weighting
    )


def _search_groups(
    log: EvaluationLog,
    space: Space,
    plan: SearchPlan,
    groups: Groups,
    meter: ExchangeMeter,
    given: Sequence[Partition],
) -> None:
    coarse = Space(np.ones(groups.count, dtype=bool), space.least, space.most)
    traffic = groups.traffic(meter.traffic)
    means = {}
    for k in range(coarse.least, coarse.most + 1):
        drawn = list(islice(random_partitions(coarse.used, k, plan.seed), _RANDOM))
        means[k] = float(np.mean(log.many(drawn, counted=False)))
    if len(means) > 1 and plan.weighting != "size_z":
        log.rescale({k: m for k, m in means.items() if np.isfinite(m) and m > 0})
    starts = [groups.fitted(p) for p in given]
    for name in plan.seeds:
        if name == "q":
            starts += [groups.fitted(p) for p in q_modules(meter.rec, space, plan.seed)]
        else:
            find = unit_flow_modules if name == "unit_flow" else spectral_cut
            starts += find(traffic, coarse, plan.seed)
    fitted = [p for start in starts if (p := coarse.fitted(completed(start, coarse.used)))]
    run_method(log, coarse, plan, traffic, [*dict.fromkeys(fitted)])


def _move_units(log: EvaluationLog, firsts: Sequence[Partition], proxy: FlowCut) -> None:
    """From the best of the first partitions on: of the moves of single units that the unit flows
    call better, the best half, quarter and so on are made together, and what is best is kept."""
    log.many(firsts)
    for _ in range(_ROUNDS):
        start = log.best
        if start is None or log.left <= 0:
            return
        around = proxy.around(start)[:, : start.n_modules]
        inside = np.flatnonzero(~start.unused)
        to = around[inside].argmin(1)
        gain = proxy(start) - around[inside, to]
        order = np.argsort(-gain, kind="stable")[: int((gain > 0).sum())]
        counts = sorted({len(order) >> halved for halved in range(1, 7)} - {0})
        moved = []
        for count in counts:
            labels = start.labels.copy()
            labels[inside[order[:count]]] = to[order[:count]]
            if len(np.unique(labels[labels >= 0])) == start.n_modules:
                moved.append(Partition(labels))
        log.many(moved)
        if log.best == start:
            return


def _quick(meter: ExchangeMeter) -> ExchangeMeter:
    """The same meter on a third of the donors and a quarter of the contexts."""
    count = len(meter.rec)

    def some(budget: Budget, share: int, least: int) -> int:
        whole = count if budget == "all" else min(int(budget), count)
        return min(whole, max(whole // share, least))

    donors = some(meter.draws.donors, 3, 12)
    draws = replace(meter.draws, donors=donors, contexts=some(meter.draws.contexts, 4, 8))
    return ExchangeMeter(
        meter.rec,
        draws,
        meter.objective,
        traffic=lambda: meter.traffic,
        left_out=meter.left_out,
    )
