"""What sources send to single units, counted while they are forced: one intervention per source
serves all targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from infoflow._arguments import door, one_of
from infoflow._passes import show_progress
from infoflow._shapes import Float, shaped
from infoflow._warnings import warn
from infoflow.information.binning import UnitBins, code_dtype
from infoflow.information.blocks import Block, blocks
from infoflow.information.donors import Counts, Entropy
from infoflow.information.forced import measured
from infoflow.information.shuffle import information_with_each, shuffled_codes
from infoflow.information.slopes import slope_flows
from infoflow.information.tables import Reach, Reached, by_layers, shares
from infoflow.information.targets import fit_target, normal_codes, pooled
from infoflow.information.workers import few, spread, workers_of
from infoflow.interventions import resample, resample_each
from infoflow.measured import UNIT_FLOW, Budget, Draws, Pool
from infoflow.recording import Recording

_MOST_KEPT = 1 << 23  # numbers in the cache, twice 64 MB


@dataclass(frozen=True, eq=False)
class Sent:
    """Bits from one source to each unit by itself.

    Attributes:
        bits: `(n,)` plain flow; 0 for the source's own units and where nothing can arrive.
        given_context: `(n,)` the same with the context known.
    """

    bits: np.ndarray
    given_context: np.ndarray


@dataclass(eq=False)
class _Counter:
    """Codes and counts what some units of a layer do; the table of codes is never built."""

    bins: UnitBins
    inside: np.ndarray
    counts: Counts

    def add(self, values: np.ndarray) -> None:
        codes = np.empty((len(values), len(self.inside)), code_dtype(self.bins.n_codes))
        self.bins.encode_into(values, codes, inside=self.inside)
        self.counts.add(codes)


class Sender:
    """Measures what sources send, unit by unit, many sources in one batch.

    Where targets are coded unit by unit, the flow to a module is the sum over its units, so a
    module is measured once for all the partitions it occurs in: a partition that differs from
    known ones by a moved unit costs two interventions however many modules it has.

    Args:
        rec: A recording.
        draws: Donors and contexts, the same for all sources, and how targets are coded.

    Raises:
        ValueError: Draws that cannot be counted while an intervention runs (see `countable`).
    """

    def __init__(self, rec: Recording, draws: Draws) -> None:
        everyone = fit_target(rec, np.arange(len(rec.units)), draws).coder
        if not isinstance(everyone, UnitBins) or draws.correction == "quadratic":
            raise ValueError("expected bins unit by unit and a correction other than 'quadratic'")
        self.rec = rec
        self.draws = draws
        self.common = None if draws.forcing.of_source else blocks(rec, draws)
        self.observed = None
        if draws.forcing.marginal == "observed":
            normal = normal_codes(rec, fit_target(rec, np.arange(len(rec.units)), draws))
            self.observed = shares(normal, everyone.n_codes)
        self.estimator: Entropy = draws.correction
        self.bins = everyone
        self.interventions = 0
        self._kept: dict[bytes, Sent] = {}
        self.reach = Reach(rec)

    def __call__(self, sources: Sequence[np.ndarray], progress: bool = False) -> list[Sent]:
        """What each source sends; those measured before come from a cache."""
        unknown = {s.tobytes(): s for s in sources if s.tobytes() not in self._kept}
        missing = list(unknown.values())
        for names, numbers in by_layers(self.rec, missing).items():
            members = [missing[i] for i in numbers]
            for source, sent in zip(members, self._spread(names, members, progress), strict=True):
                self._kept[source.tobytes()] = sent
        self.interventions += len(missing)
        found = [self._kept[s.tobytes()] for s in sources]
        while len(self._kept) * len(self.rec.units) > _MOST_KEPT:
            del self._kept[next(iter(self._kept))]  # the oldest
        return found

    def _spread(
        self, names: tuple[str, ...], sources: list[np.ndarray], progress: bool
    ) -> list[Sent]:
        """`_measure`, a few sources on each worker if there are any."""
        workers = workers_of(self.rec)
        if workers is None:
            return self._measure(names, sources, progress)
        tasks = [(self.draws, names, some) for some in few(sources)]
        return [sent for answer in workers(_sent_by, tasks) for sent in answer]

    def _measure(
        self, names: tuple[str, ...], sources: list[np.ndarray], progress: bool
    ) -> list[Sent]:
        """Sources that lie in the same layers, run together."""
        n = len(self.rec.units)
        found = [Sent(np.zeros(n), np.zeros(n)) for _ in sources]
        reach = self.reach(names)
        if not reach.layers:
            return found
        if self.common is None:
            for source, sent in zip(sources, found, strict=True):
                for block in blocks(self.rec, self.draws, source):
                    self._run(block, reach, [source], [sent], progress)
            return found
        for block in self.common:
            self._run(block, reach, sources, found, progress)
        return found

    def _run(
        self, block: Block, reach: Reached, sources: list[np.ndarray], found: list[Sent], bar: bool
    ) -> None:
        """Adds what sources send in one block to what they send in all."""
        put_in = self.rec.units.indices(list(reach.sources))
        counting, counters = -1, {}
        live = [np.intersect1d(source, put_in) for source in sources]
        for number, seen in self._runs(block, live, reach, bar):
            if number != counting:
                self._close(counters, found[counting], block)
                counting, counters = number, self._counters(sources[number], reach, block)
            self._count(counters, seen)
        self._close(counters, found[counting], block)

    def _runs(
        self, block: Block, sources: list[np.ndarray], reach: Reached, progress: bool
    ) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """Number of a source, and what was observed, rows in order."""
        m, k = len(block.donors), len(block.contexts)
        rows = np.repeat(block.donors, k), np.tile(block.contexts, m)
        if block.values is None:
            runs = resample_each(self.rec, sources, *rows, reach.layers, progress=progress)
            yield from ((number, seen) for number, _, seen in runs)
            return
        for number, source in enumerate(sources):
            runs = resample(self.rec, source, *rows, reach.layers, values=block.values)
            yield from ((number, seen) for _, seen in runs)

    def _counters(self, source: np.ndarray, reach: Reached, block: Block) -> dict[str, _Counter]:
        counters = {}
        m, k = len(block.donors), len(block.contexts)
        for name in reach.layers:
            units = np.setdiff1d(self.rec.units.indices(name), source)
            units = units[~self.rec.units.unused[units]]
            if len(units):
                bins = self.bins.take(units)
                samples = self.rec[name][0, 0].numel() if self.draws.pool == "positions" else 1
                counts = Counts.empty(m, k * samples, len(units), bins.n_codes)
                counters[name] = _Counter(bins, units - self.rec.units.offsets[name], counts)
        return counters

    def _count(self, counters: Mapping[str, _Counter], seen: Mapping[str, Tensor]) -> None:
        for name, counter in counters.items():
            counter.add(pooled(seen[name], self.draws.pool).numpy())

    def _close(self, counters: Mapping[str, _Counter], sent: Sent, block: Block) -> None:
        for name, counter in counters.items():
            units = counter.inside + self.rec.units.offsets[name]
            observed = None if self.observed is None else self.observed[units]
            bits, given_context = counter.counts.bits(self.estimator, observed)
            sent.bits[units] += block.share * bits
            sent.given_context[units] += block.share * given_context


def _sent_by(
    rec: Recording, draws: Draws, names: tuple[str, ...], sources: list[np.ndarray]
) -> list[Sent]:
    return Sender(rec, draws)._measure(names, sources, False)


def countable(draws: Draws) -> bool:
    """Whether flows with these draws can be counted unit by unit while an intervention runs."""
    weighted = draws.forcing.values == "uniform" and draws.donors == "all"
    plain = draws.correction != "quadratic" and not weighted and not draws.direct
    return draws.coding == "units" and draws.bins != "unique" and plain


@door(method=one_of(("measured", "gradient")))
@shaped
def unit_flow(
    rec: Recording,
    *,
    given_context: bool = False,
    donors: Budget = UNIT_FLOW.donors,
    contexts: Budget = UNIT_FLOW.contexts,
    bins: int = 10,
    seed: int = 0,
    pool: Pool = "mean",
    direct: bool = False,
    method: Literal["measured", "gradient"] = "measured",
    scheduler: str | None = None,
    progress: bool = False,
) -> Float[np.ndarray, "units units"]:
    """I(do(i); j) in bits for every ordered pair of recorded units.

    A warning says where no unit's code follows any other unit, and all flows are 0.

    Plainly, unit by unit: one shuffled pass over the data set with unit i's values permuted, and
    the mutual information of the two binned units. Most single units send less than this
    estimator can tell from nothing (its noise is about (bins - 1)² / (2 K ln 2) bits before
    correction), so pictures and proxies use `given_context=True`: E_x H(j | context x) under
    do(i), from donors × contexts.

    Args:
        rec: A recording.
        given_context: Flow given the context rather than plain.
        donors, contexts: Samples drawn for the flow given the context.
        bins: Bins per unit.
        seed: Seed of permutations and draws; every unit uses the same ones.
        pool: Positions are averaged ("mean"), "max", or each a sample ("positions").
        direct: All other recorded units are held at what they are on the context, so that nothing
            is relayed by them; always from donors × contexts.
        method: "gradient" takes the flow given the context from slopes: of the network's linear
            expansion around each context, one backward pass a unit (see `slope_flows`). As near the
            truth as 30 donors × 30 contexts measured, at a fraction of their time (docs/scale.md).
        scheduler: Address of a Dask scheduler (`tcp://...`) whose workers run the interventions;
            the answer is the same to the bit.
        progress: Show a progress bar over units.

    Returns:
        `(n, n)` float64; `[i, j]` is what i sends j. The diagonal, unused units and pairs without
        an effect are exactly 0.

    Raises:
        ValueError: Fewer than two bins, donors or contexts; direct flows where a layer is called
            several times; with "gradient" the plain flow, `direct`, another `pool` or a scheduler.
        ConnectionError: The scheduler cannot be reached, has no workers or was lost.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> rec = ifl.record(net, ["1", "2"], torch.randn(50, 4))
        >>> F = ifl.unit_flow(rec)
        >>> F.shape, bool((F[3:] == 0).all())  # the last layer sends nothing back
        ((5, 5), True)
    """
    draws = Draws(donors, contexts, bins, "units", pool, "auto", seed, direct=direct)
    if method == "gradient" and (not given_context or scheduler is not None):
        raise ValueError(
            "method='gradient' gives the flow given the context, and runs here: expected "
            f"given_context=True and no scheduler, got {given_context} and {scheduler!r}"
        )
    if method == "gradient":
        return slope_flows(rec, draws)
    with spread(rec, scheduler):
        flows = single_flows(rec, draws, given_context=given_context, progress=progress)
    if not flows.any():
        layers = ", ".join(map(repr, rec.units.layers))
        warn(
            f"unit_flow: forcing a unit of {layers} changes the code of no other recorded unit, so "
            "all flows are 0: record layers that follow one another"
        )
    return flows


def single_flows(
    rec: Recording, draws: Draws, *, given_context: bool, progress: bool = False
) -> np.ndarray:
    """`(n, n)` what `unit_flow` measures; plain flows are all corrected with "auto"."""
    flows = np.zeros((len(rec.units),) * 2)
    singles = [np.array([i]) for i in np.flatnonzero(~rec.units.unused)]
    workers, how = workers_of(rec), (draws, given_context)
    if workers is None:
        return _single_flows(rec, singles, *how, progress)
    for some in workers(_single_flows, [(some, *how) for some in few(singles)]):
        flows += some
    return flows


def _single_flows(
    rec: Recording,
    singles: list[np.ndarray],
    draws: Draws,
    given_context: bool,
    progress: bool = False,
) -> np.ndarray:
    """`(n, n)` what those units send, the other rows 0."""
    n, used = len(rec.units), ~rec.units.unused
    flows = np.zeros((n, n))
    if draws.direct:
        return _direct_flows(rec, draws, singles, given_context, progress)
    if given_context or not draws.forcing.plain:
        for source, sent in zip(singles, Sender(rec, draws)(singles, progress), strict=True):
            flows[source] = sent.given_context if given_context else sent.bits
        return flows
    everyone = fit_target(rec, np.arange(n), draws)
    normal = normal_codes(rec, everyone)
    for source in show_progress(singles, progress, "unit flow"):
        put_in, seen = shuffled_codes(rec, source, everyone)
        moved = (seen != normal).any(0) & used
        moved[source] = False
        flows[source, moved] = information_with_each(put_in, seen[:, moved], draws.binning.n_codes)
    return flows


def _direct_flows(
    rec: Recording, draws: Draws, singles: list[np.ndarray], given_context: bool, progress: bool
) -> np.ndarray:
    """`(n, n)` flows with all units but the source and the target's layer held: units of a layer
    that is called once do not move each other."""
    if any(site.call == "all" for site in rec.units.sites):
        raise ValueError(
            "direct flows of single units are not built for layers that are called several times, "
            "whose units move each other: use flow(..., direct=True), or Site(..., call=0)"
        )
    n, reach = len(rec.units), Reach(rec)
    flows = np.zeros((n, n))
    for source in show_progress(singles, progress, "direct unit flow"):
        (own,) = rec.units.by_layer(source)
        for name in reach((own,)).layers:
            layer = rec.units.indices(name)
            units = np.setdiff1d(layer[~rec.units.unused[layer]], source)
            if not len(units) or (name == own and rec.units.site(name).basis is None):
                continue
            held = np.setdiff1d(np.arange(n), np.append(layer, source))
            target, parts = fit_target(rec, units, draws), blocks(rec, draws, source)
            for m in measured(rec, source, [target], parts, held=[held])[0]:
                bits = m.result.given_context if given_context else m.result.bits
                flows[source, units] += m.share * bits
    return flows
