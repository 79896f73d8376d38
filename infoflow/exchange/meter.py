"""ExchangeMeter: many partitions of one recording measured on common random numbers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from infoflow.exchange.result import Exchange
from infoflow.exchange.weighting import Traffic, Weighting, check_weighting, weigh
from infoflow.information.binning import Bins, Coding
from infoflow.information.donors import TableFlow, table_flow, two_way_se
from infoflow.information.entropy import miller_madow_bits
from infoflow.information.tables import (
    Pool,
    Target,
    code_tables,
    draw_rows,
    fit_target,
    normal_codes,
)
from infoflow.information.unit_flow import unit_flow
from infoflow.partition import Partition
from infoflow.record import Recording

PartitionLike = Partition | Iterable[int]


class ExchangeMeter:
    """Measures partitions of one recording on common donors and contexts.

    All partitions are measured with the same random numbers, so that their differences are
    sharper than their values; partitions seen before come from a cache.

    Args:
        rec: A recording.
        donors, contexts: Samples drawn for every intervention.
        bins: Bins per unit, or size of a module's codebook.
        coding: "units": sum over the target's single units; "joint": one code per target module.
        seed: Seed of the draws.
        pool: What to do with positions.
        given_context: Weigh the exchange given the context rather than the plain one.
        traffic: What the weightings need, if it was computed before.
    """

    def __init__(
        self,
        rec: Recording,
        *,
        donors: int = 100,
        contexts: int = 50,
        bins: Bins = 10,
        coding: Coding = "units",
        seed: int = 0,
        pool: Pool = "mean",
        given_context: bool = True,
        traffic: Traffic | None = None,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.rec = rec
        self.coding: Coding = coding
        self.bins: Bins = bins
        self.seed = seed
        self.pool: Pool = pool
        self.given_context = given_context
        self.donors = draw_rows(rec, donors, "donors", rng)
        self.contexts = draw_rows(rec, contexts, "contexts", rng)
        self.evaluations = 0
        self._targets: dict[bytes, Target] = {}
        self._measured: dict[tuple[Partition, str], Exchange] = {}
        self._traffic = traffic

    def __call__(
        self, partition: PartitionLike, weighting: Weighting = "none", *, progress: bool = False
    ) -> Exchange:
        """The exchange of one partition.

        Raises:
            ValueError: Labels of another length, or fewer than two modules of used units.
        """
        check_weighting(weighting)
        cleaned = self.checked(partition)
        known = self._measured.get((cleaned, weighting))
        if known is not None:
            return known
        plain = self._measured.get((cleaned, "none")) or self._measure(cleaned, progress)
        self._measured[cleaned, "none"] = plain
        if weighting == "none":
            return plain
        weighted = weigh(
            weighting,
            plain.flow_given_context if self.given_context else plain.flow,
            cleaned,
            lambda: self.traffic,
            lambda: self._same_size_mean(cleaned),
        )
        result = Exchange(**{**vars(plain), "weighted": weighted, "weighting": weighting})
        self._measured[cleaned, weighting] = result
        return result

    def checked(self, partition: PartitionLike) -> Partition:
        """The partition with the recording's unused units at -1.

        Raises:
            ValueError: Labels of another length, or fewer than two modules of used units.
        """
        given = partition if isinstance(partition, Partition) else Partition(partition)
        if len(given) != len(self.rec.units):
            raise ValueError(
                f"expected one label for each of the {len(self.rec.units)} recorded units, "
                f"got {len(given)}"
            )
        cleaned = given.without(self.rec.units.unused)
        if cleaned.n_modules < 2:
            raise ValueError(
                f"exchange needs at least two modules of used units, got {cleaned!r}; with "
                "everything in one module nothing is exchanged by definition and the module "
                "score is undefined"
            )
        return cleaned

    def fresh(self) -> ExchangeMeter:
        """The same meter on donors and contexts drawn anew, for values without selection bias."""
        return ExchangeMeter(
            self.rec,
            donors=len(self.donors),
            contexts=len(self.contexts),
            bins=self.bins,
            coding=self.coding,
            seed=self.seed + 1_000_003,
            pool=self.pool,
            given_context=self.given_context,
            traffic=self._traffic,
        )

    @property
    def resolution(self) -> float:
        """Bits that one changed code among all donors and contexts amounts to."""
        runs = len(self.donors) * len(self.contexts)
        return float(np.log2(runs) / runs)

    @property
    def traffic(self) -> Traffic:
        """Unit flows, entropies and connections of the network, for the weightings."""
        if self._traffic is None:
            self._traffic = self._measure_traffic()
        return self._traffic

    def _measure_traffic(self) -> Traffic:
        rec = self.rec
        bins = self.bins if isinstance(self.bins, int) else 10
        flows = unit_flow(
            rec, given_context=True, donors=30, contexts=30, bins=bins, seed=self.seed
        )
        everyone = fit_target(rec, np.arange(len(rec.units)), bins=bins, coding="units")
        entropy = np.array(
            [float(miller_madow_bits(np.bincount(c))) for c in normal_codes(rec, everyone).T]
        )
        layer = rec.units.layer_index
        reach = np.zeros((len(rec.units.sites),) * 2, dtype=bool)
        sender, receiver = np.nonzero(flows > 0)
        reach[layer[sender], layer[receiver]] = True
        return Traffic(flows, entropy, reach[layer[:, None], layer])

    def _target(self, units: np.ndarray) -> Target:
        key = units.tobytes()
        if key not in self._targets:
            self._targets[key] = fit_target(
                self.rec,
                units,
                bins=self.bins,
                coding=self.coding,
                pool=self.pool,
                seed=self.seed,
            )
        return self._targets[key]

    def _measure(self, partition: Partition, progress: bool) -> Exchange:
        modules = partition.modules
        k = len(modules)
        flow, flow_se, given = np.zeros((k, k)), np.zeros((k, k)), np.zeros((k, k))
        plain_sum = context_sum = np.zeros(1)
        for a, source in enumerate(modules):
            for b, result in self._sent(modules, a, source, progress):
                flow[a, b] = result.bits.sum()
                flow_se[a, b] = two_way_se(result.pointwise)
                given[a, b] = result.given_context.sum()
                plain_sum = plain_sum + result.pointwise
                context_sum = context_sum + result.pointwise_given_context
        self.evaluations += 1
        amount = given if self.given_context else flow
        return Exchange(
            partition=partition,
            flow=flow,
            flow_se=flow_se,
            flow_given_context=given,
            bits=float(flow.sum()),
            se=two_way_se(plain_sum),
            bits_given_context=float(given.sum()),
            se_given_context=two_way_se(context_sum),
            weighted=float(amount.sum()),
            weighting="none",
            given_context=self.given_context,
            coding=self.coding,
        )

    def _sent(
        self, modules: tuple[np.ndarray, ...], a: int, source: np.ndarray, progress: bool
    ) -> Iterable[tuple[int, TableFlow]]:
        others = [b for b in range(len(modules)) if b != a]
        targets = [self._target(modules[b]) for b in others]
        tables = code_tables(
            self.rec,
            source,
            targets,
            self.donors,
            self.contexts,
            pool=self.pool,
            progress=progress,
        )
        for b, table in zip(others, tables, strict=True):
            yield b, table_flow(table.codes, table.n_codes)

    def _same_size_mean(self, partition: Partition, samples: int = 20) -> float:
        rng = np.random.default_rng(self.seed)
        used = np.flatnonzero(partition.labels >= 0)
        total = 0.0
        for _ in range(samples):
            labels = partition.labels.copy()
            labels[used] = rng.permutation(labels[used])
            total += self(labels).amount
        return total / samples
