"""ExchangeMeter: many partitions of one recording measured on common random numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property, partial

import numpy as np

from infoflow.exchanges.result import Exchange, Values
from infoflow.exchanges.weighting import (
    Traffic,
    bits_of_one_code,
    measure_traffic,
    of_same_sizes,
    weigh,
)
from infoflow.information.forced import Contributions, ForcedFlow, forced_flows
from infoflow.information.group_flows import GroupSender
from infoflow.information.targets import fit_target
from infoflow.information.unit_flows import Sender, countable
from infoflow.information.workers import workers_of
from infoflow.measured import SCORE, Draws, Objective, Weighting, check_forcing, check_weighting
from infoflow.partition import Partition, PartitionLike, as_partition
from infoflow.recording import Recording

FRESH = 1_000_003  # added to the seed for draws that a search has not seen
BITS = Objective("none")


class ExchangeMeter:
    """Measures partitions of one recording on common donors and contexts.

    All partitions are measured with the same random numbers, so that their differences are
    sharper than their values; partitions seen before come from a cache.

    Args:
        rec: A recording.
        draws: Samples drawn for every intervention, and how targets are coded. With
            `coding="units"` and any correction but "quadratic", codes are counted while an
            intervention runs, and a module is measured once for all partitions it occurs in.
        objective: Which exchange is weighed, and how where a call does not say; by default bits.
            Where `objective.estimate` is not "codes", modules are measured as wholes, and of the
            draws only donors, contexts, pool and seed matter.
        traffic: What the weightings need, if it was computed before, or a function that gives it.
        left_out: `(n,)` bool; units that are in no module.
    """

    def __init__(
        self,
        rec: Recording,
        draws: Draws = SCORE,
        objective: Objective = BITS,
        *,
        traffic: Traffic | Callable[[], Traffic] | None = None,
        left_out: np.ndarray | None = None,
    ) -> None:
        self.rec = rec
        self.draws = draws
        self.objective = objective
        self.donors, self.contexts = draws.rows(len(rec))
        self.left_out = np.zeros(len(rec.units), dtype=bool) if left_out is None else left_out
        self.evaluations = 0
        self._known_traffic = traffic
        together = objective.together
        if together and draws.coding == "joint":
            raise ValueError(
                f"objective={objective.estimate!r} reads no code: leave coding= out, or use "
                "objective='codes'"
            )
        check_forcing(draws, objective)
        self._groups = GroupSender(rec, draws, objective) if together else None
        self._sender = Sender(rec, draws) if not together and countable(draws) else None
        self._measured: dict[Partition, Exchange] = {}
        self._chance: dict[Partition, tuple[float, float]] = {}

    def __call__(
        self,
        partition: PartitionLike,
        weighting: Weighting | None = None,
        *,
        progress: bool = False,
    ) -> Exchange:
        """The exchange of one partition.

        Raises:
            ValueError: Labels of another length, or fewer than two modules of used units.
        """
        weighting = self._named(weighting)
        cleaned = self.checked(partition)
        if cleaned not in self._measured:
            self._measured[cleaned] = self._measure(cleaned, progress)
        plain = self._measured[cleaned]
        if weighting == "none":
            return plain
        flow = plain.flow_given_context if self.given_context else plain.flow
        weighted = self._weighted(weighting, flow, cleaned)
        return replace(plain, weighted=weighted, weighting=weighting)

    def values(
        self, partitions: Sequence[PartitionLike], weighting: Weighting | None = None
    ) -> Values:
        """Weighted exchange and bits of many partitions, without standard errors.

        What `meter(p, weighting)` gives as `.weighted` and `.amount`. Modules are measured
        once for all partitions that they occur in, several in one batch.

        Raises:
            ValueError: As for a single partition.
        """
        weighting = self._named(weighting)
        cleaned = [self.checked(p) for p in partitions]
        which = int(self.given_context)
        if self._groups is None:
            flows = [flow[which] for flow in self.flows(cleaned)]
        else:
            flows = [flow[which] for flow in self._flows_together(self._groups, cleaned, [which])]
        weighted = [self._weighted(weighting, f, p) for f, p in zip(flows, cleaned, strict=True)]
        return Values(np.array(weighted, float), np.array([float(f.sum()) for f in flows]))

    def flows(self, partitions: Sequence[PartitionLike]) -> list[np.ndarray]:
        """Flow between the modules of many partitions, without standard errors.

        Returns:
            For each partition `(2, k, k)` bits, `[0, a, b]` the plain flow from module a to b and
            `[1, a, b]` that given the context; diagonals 0.

        Raises:
            ValueError: As for a single partition.
        """
        cleaned = [self.checked(p) for p in partitions]
        if self._groups is not None:
            return self._flows_together(self._groups, cleaned)
        if self._sender is None:
            measured = [self(p, "none") for p in cleaned]
            return [np.stack([m.flow, m.flow_given_context]) for m in measured]
        sent = iter(self._sender([module for p in cleaned for module in p.modules]))
        found = []
        for partition in cleaned:
            k, used = partition.n_modules, ~partition.unused
            labels = partition.labels[used]
            flow = np.zeros((2, k, k))
            for a in range(k):
                row = next(sent)
                for which, bits in enumerate((row.bits, row.given_context)):
                    flow[which, a] = np.bincount(labels, bits[used], minlength=k)
            found.append(flow)
        self.evaluations += len(cleaned)
        return found

    def _flows_together(
        self, groups: GroupSender, partitions: Sequence[Partition], which: Sequence[int] = (0, 1)
    ) -> list[np.ndarray]:
        """`flows`, modules taken together; only the plain (0) or those given the context (1)."""
        found = [np.zeros((2, p.n_modules, p.n_modules)) for p in partitions]
        asked = [(i, a) for i, p in enumerate(partitions) for a in range(p.n_modules)]
        sources = [partitions[i].modules[a] for i, a in asked]
        targets = [_but(partitions[i].modules, a) for i, a in asked]
        for number, sent in groups(sources, targets):
            i, a = asked[number]
            others = np.arange(partitions[i].n_modules) != a
            for q in which:
                found[i][q, a, others] = [f.given_context if q else f.bits for f in sent]
        self.evaluations += len(partitions)
        return found

    def pointwise(self, partition: PartitionLike, weighting: Weighting) -> Contributions:
        """What each donor in each context contributes to a partition's weighted exchange, up to a
        constant: the standard errors of it and of its differences.

        The weighting is taken as given; "size_z" is not proportional to the exchange."""
        cleaned = self.checked(partition)
        total = Contributions()
        for a, row in enumerate(self._rows(cleaned.modules)):
            for b, sent in row:
                one = np.zeros((cleaned.n_modules,) * 2)
                one[a, b] = 1.0
                terms = sent.known if self.given_context else sent.plain
                total = total + terms * self._weighted(weighting, one, cleaned)
        return total

    def checked(self, partition: PartitionLike) -> Partition:
        """The partition with the recording's unused units at -1.

        Raises:
            ValueError: Labels of another length, or fewer than two modules of used units.
        """
        given = as_partition(partition)
        if len(given) != len(self.rec.units):
            raise ValueError(
                f"expected one label for each of the {len(self.rec.units)} recorded units, "
                f"got {len(given)}"
            )
        cleaned = given.without(self.rec.units.unused | self.left_out)
        if cleaned.n_modules < 2:
            raise ValueError(
                f"exchange needs at least two modules of used units, got {cleaned!r}; with "
                "everything in one module nothing is exchanged by definition and the module "
                "score is undefined"
            )
        return cleaned

    @property
    def given_context(self) -> bool:
        """Whether the exchange given the context is weighed, rather than the plain one."""
        return self.objective.given_context

    @property
    def config(self) -> dict[str, object]:
        """Everything that the values depend on beside the recording, JSON-able."""
        return {
            "donors": self.donors.tolist(),
            "contexts": self.contexts.tolist(),
            "bins": self.draws.bins,
            "coding": self.draws.coding,
            "pool": self.draws.pool,
            "given_context": self.given_context,
            "correction": self.draws.correction,
            **({"objective": self.objective.estimate} if self._groups else {}),
            **({} if self.draws.forcing.plain else {"do": self.draws.forcing.config}),
            **({"direct": True} if self.draws.direct else {}),
            "meter_seed": self.draws.seed,
        }

    def fresh(self) -> ExchangeMeter:
        """The same meter on donors and contexts drawn anew, for values without selection bias; the
        traffic, a divisor only, stays the same."""
        draws = replace(self.draws, seed=self.draws.seed + FRESH)
        return ExchangeMeter(
            self.rec, draws, self.objective, traffic=lambda: self.traffic, left_out=self.left_out
        )

    def within(self, units: np.ndarray) -> ExchangeMeter:
        """The same meter for some of the units as if they were all there is: the others are in no
        module, and stay at what the context gives them."""
        left_out = np.ones(len(self.rec.units), dtype=bool)
        left_out[units] = False
        return ExchangeMeter(
            self.rec,
            self.draws,
            self.objective,
            traffic=None if self._groups else lambda: self.traffic.among(units),
            left_out=left_out,
        )

    @property
    def floor(self) -> float:
        """Bits that one changed code among all runs amounts to: less is not told from nothing."""
        return bits_of_one_code(len(self.donors) * len(self.contexts))

    @cached_property
    def traffic(self) -> Traffic:
        """Unit flows, entropies and connections of the network, for the weightings."""
        known = self._known_traffic
        if known is None:
            return measure_traffic(self.rec, self.draws, self.objective, self.left_out)
        return known if isinstance(known, Traffic) else known()

    def _named(self, weighting: Weighting | None) -> Weighting:
        if weighting is None:
            return self.objective.weighting
        check_weighting(weighting)
        return weighting

    def _weighted(self, weighting: Weighting, flow: np.ndarray, partition: Partition) -> float:
        chance = partial(self._same_size, partition)
        return weigh(weighting, flow, partition, lambda: self.traffic, chance)

    def _measure(self, partition: Partition, progress: bool) -> Exchange:
        modules = partition.modules
        k = len(modules)
        flow, flow_se, given = np.zeros((k, k)), np.zeros((k, k)), np.zeros((k, k))
        plain = known = Contributions()
        full: list[tuple[int, int]] = []
        for a, row in enumerate(self._rows(modules, progress)):
            for b, sent in row:
                full += [(a, b)] if sent.saturated else []
                flow[a, b], flow_se[a, b] = sent.bits, sent.plain.se
                given[a, b] = sent.given_context
                plain, known = plain + sent.plain, known + sent.known
        self.evaluations += 1
        amount = given if self.given_context else flow
        return Exchange(
            partition=partition,
            flow=flow,
            flow_se=flow_se,
            flow_given_context=given,
            bits=float(flow.sum()),
            se=plain.se,
            bits_given_context=float(given.sum()),
            se_given_context=known.se,
            weighted=float(amount.sum()),
            weighting="none",
            given_context=self.given_context,
            coding=self.objective.estimate if self._groups else self.draws.coding,
            saturated=tuple(full),
        )

    def _rows(
        self, modules: tuple[np.ndarray, ...], progress: bool = False
    ) -> Iterable[Iterable[tuple[int, ForcedFlow]]]:
        """What each module sends the others."""
        how, each, workers = (self.draws, self.objective), range(len(modules)), workers_of(self.rec)
        if workers is not None:
            return workers(_row, [(*how, modules, a) for a in each])
        return (self._sent(modules, a, modules[a], progress) for a in each)

    def _sent(
        self, modules: tuple[np.ndarray, ...], a: int, source: np.ndarray, progress: bool
    ) -> Iterable[tuple[int, ForcedFlow]]:
        """What module a sends each other module that it can reach; saturated where the other's
        joint code, or the number of donors, is about all the limit there is."""
        others = [b for b in range(len(modules)) if b != a]
        units = _but(modules, a)
        if self._groups is not None:
            yield from zip(others, self._groups.forced(source, units, progress), strict=True)
            return
        forced, held = source, None
        if self.draws.direct:
            everyone = np.arange(len(self.rec.units))
            held = [np.setdiff1d(everyone, np.append(source, some)) for some in units]
        elif self._sender is not None:
            forced, units = self._sender.reach.narrowed(source, units)
            others = [b for b, some in zip(others, units, strict=True) if len(some)]
            units = [some for some in units if len(some)]
        if not others:
            return
        targets = [fit_target(self.rec, some, self.draws) for some in units]
        found = forced_flows(
            self.rec, source, targets, self.draws, forced=forced, held=held, progress=progress
        )
        yield from zip(others, found, strict=True)

    def _same_size(self, partition: Partition) -> tuple[float, float]:
        first, drawn = of_same_sizes(partition, self.draws.seed)
        if first not in self._chance:
            bits = self.values(list(drawn), "none").bits
            self._chance[first] = float(bits.mean()), float(bits.std(ddof=1))
        return self._chance[first]


def _row(
    rec: Recording, draws: Draws, objective: Objective, modules: tuple[np.ndarray, ...], a: int
) -> list[tuple[int, ForcedFlow]]:
    return list(ExchangeMeter(rec, draws, objective)._sent(modules, a, modules[a], False))


def _but(modules: Sequence[np.ndarray], a: int) -> list[np.ndarray]:
    return [module for b, module in enumerate(modules) if b != a]
