"""What one module sends to every unit outside it: the piece that exchanges are summed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from infoflow.exchanges._counter import Counter
from infoflow.information.binning import UnitBins
from infoflow.information.tables import Pool, fit_target
from infoflow.information.targets import pooled
from infoflow.interventions.fold import resample_each
from infoflow.interventions.prepare import replay_for
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
class Reach:
    """What an intervention on some layers can move.

    Attributes:
        layers: Layers whose units outside the source can move.
        sources: Layers where what the source is set to matters to any of these.
    """

    layers: tuple[str, ...]
    sources: tuple[str, ...]


class Sender:
    """Measures what modules send, unit by unit, many modules in one batch.

    Where targets are coded unit by unit, the flow to a module is the sum over its units, so a
    module is measured once for all the partitions it occurs in: a partition that differs from
    known ones by a moved unit costs two interventions however many modules it has.

    Args:
        rec: A recording.
        donors, contexts: Rows of the data set, the same for all.
        bins: Bins per unit.
        pool: "mean" or "max" over positions.
    """

    def __init__(
        self, rec: Recording, donors: np.ndarray, contexts: np.ndarray, bins: int, pool: Pool
    ) -> None:
        self.rec = rec
        self.rows = np.repeat(donors, len(contexts)), np.tile(contexts, len(donors))
        self.shape = len(donors), len(contexts)
        self.pool: Pool = pool
        everyone = fit_target(
            rec, np.arange(len(rec.units)), bins=bins, coding="units", pool=pool
        ).coder
        if not isinstance(everyone, UnitBins):
            raise TypeError(f"expected bins unit by unit, got {type(everyone).__name__}")
        self.bins = everyone
        self.interventions = 0
        self._kept: dict[bytes, Sent] = {}
        self._reach: dict[tuple[str, ...], Reach] = {}

    def __call__(self, sources: Sequence[np.ndarray]) -> list[Sent]:
        """What each source sends; those measured before come from a cache."""
        missing = {s.tobytes(): s for s in sources if s.tobytes() not in self._kept}
        groups: dict[tuple[str, ...], list[np.ndarray]] = {}
        for source in missing.values():
            groups.setdefault(tuple(self.rec.units.by_layer(source)), []).append(source)
        for names, members in groups.items():
            for source, sent in zip(members, self._measure(names, members), strict=True):
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

    def _measure(self, names: tuple[str, ...], sources: list[np.ndarray]) -> list[Sent]:
        """Sources that lie in the same layers, run together."""
        n = len(self.rec.units)
        found = [Sent(np.zeros(n), np.zeros(n)) for _ in sources]
        reach = self._reached(names)
        if not reach.layers:
            return found
        put_in = self.rec.units.indices(list(reach.sources))
        counting, counters = -1, {}
        runs = resample_each(
            self.rec, [np.intersect1d(s, put_in) for s in sources], *self.rows, reach.layers
        )
        for number, _, seen in runs:
            if number != counting:
                self._close(counters, found[counting])
                counting, counters = number, self._counters(sources[number], reach)
            self._count(counters, seen)
        self._close(counters, found[counting])
        return found

    def _counters(self, source: np.ndarray, reach: Reach) -> dict[str, Counter]:
        counters = {}
        for name in reach.layers:
            units = np.setdiff1d(self.rec.units.indices(name), source)
            units = units[~self.rec.units.unused[units]]
            if len(units):
                inside = units - self.rec.units.offsets[name]
                counters[name] = Counter(self.bins.take(units), inside, *self.shape)
        return counters

    def _count(self, counters: Mapping[str, Counter], seen: Mapping[str, Tensor]) -> None:
        for name, counter in counters.items():
            counter.add(pooled(seen[name], self.pool).numpy())

    def _close(self, counters: Mapping[str, Counter], sent: Sent) -> None:
        for name, counter in counters.items():
            units = counter.inside + self.rec.units.offsets[name]
            sent.bits[units], sent.given_context[units] = counter.bits()

    def _reached(self, names: tuple[str, ...]) -> Reach:
        if names not in self._reach:
            self._reach[names] = self._new_reach(names)
        return self._reach[names]

    def _new_reach(self, names: tuple[str, ...]) -> Reach:
        """Layers that are computed after the intervention begins. The other units of the layer it
        begins in stay what they were, and units of the last layer move no other, unless they are
        directions of a basis."""
        plan = replay_for(self.rec, names)
        sites = self.rec.units.sites
        if plan is None or any(site.basis is not None for site in sites):
            return Reach(self.rec.units.layers, names)
        at = {site.name: list(plan.live_moments(site).values()) for site in sites}
        layers = tuple(n for n, live in at.items() if live and (max(live) > plan.first))
        last = max((max(at[n]) for n in layers), default=-1)
        sources = tuple(n for n in names if min(at[n]) < last)
        return Reach(layers if sources else (), sources)
