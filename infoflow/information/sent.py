"""What a source sends to every unit outside it, unit by unit, counted while it is forced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from infoflow.information.binning import UnitBins
from infoflow.information.codes import code_dtype
from infoflow.information.donors import Counts, Entropy
from infoflow.information.targets import fit_target, pooled
from infoflow.interventions.fold import resample_each
from infoflow.interventions.prepare import replay_for
from infoflow.measured import Draws
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


@dataclass(frozen=True, eq=False)
class Reached:
    """What an intervention on some layers can move.

    Attributes:
        layers: Layers whose units outside the source can move.
        sources: Layers where what the source is set to matters to any of these.
    """

    layers: tuple[str, ...]
    sources: tuple[str, ...]


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
        donors, contexts = draws.rows(len(rec))
        self.rec = rec
        self.rows = np.repeat(donors, len(contexts)), np.tile(contexts, len(donors))
        self.shape = len(donors), len(contexts)
        self.draws = draws
        self.estimator: Entropy = draws.correction
        self.bins = everyone
        self.interventions = 0
        self._kept: dict[bytes, Sent] = {}
        self._reach: dict[tuple[str, ...], Reached] = {}

    def __call__(self, sources: Sequence[np.ndarray], progress: bool = False) -> list[Sent]:
        """What each source sends; those measured before come from a cache."""
        missing = {s.tobytes(): s for s in sources if s.tobytes() not in self._kept}
        groups: dict[tuple[str, ...], list[np.ndarray]] = {}
        for source in missing.values():
            groups.setdefault(tuple(self.rec.units.by_layer(source)), []).append(source)
        for names, members in groups.items():
            for source, sent in zip(members, self._measure(names, members, progress), strict=True):
                self._kept[source.tobytes()] = sent
        self.interventions += len(missing)
        found = [self._kept[s.tobytes()] for s in sources]
        while len(self._kept) * len(self.rec.units) > _MOST_KEPT:
            del self._kept[next(iter(self._kept))]  # the oldest
        return found

    def narrowed(
        self, source: np.ndarray, targets: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """The units of a source that matter to anything, and those of targets that can move.

        The rest contributes exact zeros, and looking at the layer that is intervened on would
        keep the engine from its short cuts there.
        """
        reach = self._reached(tuple(self.rec.units.by_layer(source)))
        put_in = self.rec.units.indices(list(reach.sources))
        live = self.rec.units.indices(list(reach.layers))
        return np.intersect1d(source, put_in), [np.intersect1d(t, live) for t in targets]

    def _measure(
        self, names: tuple[str, ...], sources: list[np.ndarray], progress: bool
    ) -> list[Sent]:
        """Sources that lie in the same layers, run together."""
        n = len(self.rec.units)
        found = [Sent(np.zeros(n), np.zeros(n)) for _ in sources]
        reach = self._reached(names)
        if not reach.layers:
            return found
        put_in = self.rec.units.indices(list(reach.sources))
        counting, counters = -1, {}
        live = [np.intersect1d(source, put_in) for source in sources]
        runs = resample_each(self.rec, live, *self.rows, reach.layers, progress=progress)
        for number, _, seen in runs:
            if number != counting:
                self._close(counters, found[counting])
                counting, counters = number, self._counters(sources[number], reach)
            self._count(counters, seen)
        self._close(counters, found[counting])
        return found

    def _counters(self, source: np.ndarray, reach: Reached) -> dict[str, _Counter]:
        counters = {}
        m, k = self.shape
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

    def _close(self, counters: Mapping[str, _Counter], sent: Sent) -> None:
        for name, counter in counters.items():
            units = counter.inside + self.rec.units.offsets[name]
            sent.bits[units], sent.given_context[units] = counter.counts.bits(self.estimator)

    def _reached(self, names: tuple[str, ...]) -> Reached:
        if names not in self._reach:
            self._reach[names] = self._new_reach(names)
        return self._reach[names]

    def _new_reach(self, names: tuple[str, ...]) -> Reached:
        """Layers that are computed after the intervention begins. The other units of the layer it
        begins in stay what they were, and units of the last layer move no other, unless they are
        directions of a basis."""
        plan = replay_for(self.rec, names)
        sites = self.rec.units.sites
        if plan is None or any(site.basis is not None for site in sites):
            return Reached(self.rec.units.layers, names)
        at = {site.name: list(plan.live_moments(site).values()) for site in sites}
        layers = tuple(n for n, live in at.items() if live and (max(live) > plan.first))
        last = max((max(at[n]) for n in layers), default=-1)
        sources = tuple(n for n in names if min(at[n]) < last)
        return Reached(layers if sources else (), sources)


def countable(draws: Draws) -> bool:
    """Whether flows with these draws can be counted unit by unit while an intervention runs."""
    return draws.coding == "units" and draws.bins != "unique" and draws.correction != "quadratic"
