"""What the modules of a partition send each other when each in turn is forced to change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

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
from infoflow.weighting import Traffic, Weighting, check_weighting, weigh

if TYPE_CHECKING:
    import pandas as pd

PartitionLike = Partition | Iterable[int]


@dataclass(frozen=True, eq=False)
class Exchange:
    """Information that the modules of one partition exchange.

    Attributes:
        partition: The partition measured, unused units at -1.
        flow: `(k, k)` bits; `[a, b]` is flow(a → b). Diagonal 0.
        flow_se: `(k, k)` standard errors.
        flow_given_context: `(k, k)` the same with the context known.
        bits: Sum over ordered pairs of different modules.
        se: Standard error of `bits`.
        bits_given_context, se_given_context: The same with the context known.
        weighted: The exchange under the weighting, in the quantity that `given_context` names.
        weighting: Its name.
        given_context: `weighted` rests on `bits_given_context` (True) or on `bits`.
        coding: How target modules were coded ("units" or "joint").
    """

    partition: Partition
    flow: np.ndarray
    flow_se: np.ndarray
    flow_given_context: np.ndarray
    bits: float
    se: float
    bits_given_context: float
    se_given_context: float
    weighted: float
    weighting: str
    given_context: bool
    coding: str

    @property
    def amount(self) -> float:
        """The quantity that is weighted, in bits: given the context or plain."""
        return self.bits_given_context if self.given_context else self.bits

    @property
    def amount_se(self) -> float:
        """Standard error of `amount`."""
        return self.se_given_context if self.given_context else self.se

    def to_frame(self) -> pd.DataFrame:
        """One row per ordered pair of modules: source, target, bits, se, bits_given_context."""
        import pandas as pd

        k = len(self.flow)
        pairs = [(a, b) for a in range(k) for b in range(k) if a != b]
        return pd.DataFrame(
            {
                "source": [a for a, _ in pairs],
                "target": [b for _, b in pairs],
                "bits": [self.flow[p] for p in pairs],
                "se": [self.flow_se[p] for p in pairs],
                "bits_given_context": [self.flow_given_context[p] for p in pairs],
            }
        )

    def __repr__(self) -> str:
        return (
            f"Exchange({self.bits:.4f} ± {self.se:.4f} bits among {len(self.flow)} modules, "
            f"given context {self.bits_given_context:.4f}, "
            f"{self.weighting}-weighted {self.weighted:.4g})"
        )


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


def exchange(
    rec: Recording,
    partition: PartitionLike,
    *,
    weighting: Weighting = "conductance",
    given_context: bool = True,
    donors: int = 200,
    contexts: int = 100,
    bins: Bins = 10,
    coding: Coding = "units",
    seed: int = 0,
    pool: Pool = "mean",
    progress: bool = False,
) -> Exchange:
    """Information exchanged by the modules of a partition: Σ over a ≠ b of flow(a → b), in bits.

    Each module in turn is forced to its values on donor samples, in every layer it lies in, and
    the codes of all other modules are observed: one intervention per module serves all targets.
    Modules may span layers, and send and receive.

    Args:
        rec: A recording.
        partition: A `Partition` or labels `(n,)` over the recorded units; -1 is left out, and so
            are units that never change over the data.
        weighting: What to divide by (see `infoflow.weighting.weigh`).
        given_context: Weigh the exchange given the context (default) or the plain one. A single
            unit's plain flow is mostly too small to measure, and a search on it ends with one
            quiet unit as a module; given the context it is not.
        donors, contexts: Samples drawn for every intervention.
        bins: Bins per unit, or size of a module's codebook.
        coding: "units": summed over the target's single units (shared information counts for each
            of them); "joint": one code per target module, a lower bound.
        seed: Seed of the draws.
        pool: What to do with positions.
        progress: Show a progress bar.

    Returns:
        An `Exchange`: bits, standard error, module × module matrix, weighted value.

    Raises:
        ValueError: Labels of another length, fewer than two modules, unknown weighting.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> rec = ifl.record(net, ["0", "2"], torch.randn(50, 4))
        >>> ex = ifl.exchange(rec, [0, 0, 0, 1, 1])
        >>> ex.flow.shape, float(ex.flow[1, 0])  # outputs send nothing back
        ((2, 2), 0.0)
    """
    check_weighting(weighting)
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
    return meter(partition, weighting, progress=progress)


def module_flow(
    rec: Recording,
    partition: PartitionLike,
    *,
    given_context: bool = False,
    donors: int = 200,
    contexts: int = 100,
    bins: Bins = 10,
    coding: Coding = "joint",
    seed: int = 0,
    pool: Pool = "mean",
    progress: bool = False,
) -> pd.DataFrame:
    """Flow between the modules of a partition: row a, column b is flow(a → b) in bits.

    Args and errors as for `exchange`; `given_context=True` gives the flow with the context known.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> rec = ifl.record(net, ["0", "2"], torch.randn(50, 4))
        >>> ifl.module_flow(rec, [0, 0, 0, 1, 1]).shape
        (2, 2)
    """
    import pandas as pd

    result = exchange(
        rec,
        partition,
        weighting="none",
        donors=donors,
        contexts=contexts,
        bins=bins,
        coding=coding,
        seed=seed,
        pool=pool,
        progress=progress,
    )
    values = result.flow_given_context if given_context else result.flow
    names = pd.RangeIndex(len(values), name="module")
    return pd.DataFrame(values, index=names.rename("source"), columns=names.rename("target"))
