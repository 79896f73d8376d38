"""What an intervention can move, and what of it matters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from infoflow._replay.prepare import replay_for
from infoflow.recording import Recording


@dataclass(frozen=True, eq=False)
class Reached:
    """What an intervention on some layers can move.

    Attributes:
        layers: Layers whose units outside the source can move.
        sources: Layers where what the source is set to matters to any of these.
    """

    layers: tuple[str, ...]
    sources: tuple[str, ...]


class Reach:
    """What interventions on layers of a recording can move, looked up once for each choice."""

    def __init__(self, rec: Recording) -> None:
        self.rec = rec
        self._known: dict[tuple[str, ...], Reached] = {}

    def __call__(self, names: tuple[str, ...]) -> Reached:
        """What an intervention on these layers can move."""
        if names not in self._known:
            self._known[names] = self._looked_up(names)
        return self._known[names]

    def narrowed(
        self, source: np.ndarray, targets: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """The units of a source that matter to anything, and those of targets that can move.

        The rest contributes exact zeros, and looking at the layer that is intervened on would
        keep the engine from its short cuts there.
        """
        reach = self(tuple(self.rec.units.by_layer(source)))
        put_in = self.rec.units.indices(list(reach.sources))
        live = self.rec.units.indices(list(reach.layers))
        return np.intersect1d(source, put_in), [np.intersect1d(t, live) for t in targets]

    def _looked_up(self, names: tuple[str, ...]) -> Reached:
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


def by_layers(rec: Recording, sources: Iterable[np.ndarray]) -> dict[tuple[str, ...], list[int]]:
    """Numbers of the sources that lie in the same layers, and can be run together."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for number, source in enumerate(sources):
        groups.setdefault(tuple(rec.units.by_layer(source)), []).append(number)
    return groups
