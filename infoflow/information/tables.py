"""Tables of target codes: one entry per donor, context and column. What interventions can move."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from infoflow._replay.prepare import replay_for
from infoflow.information.binning import ROUNDING, UnitBins, code_dtype
from infoflow.information.codebook import GroupCoder
from infoflow.information.targets import (
    Target,
    check_positions,
    encode,
    fit_target,
    gather,
    normal_values,
    pooled,
)
from infoflow.interventions import resample
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


# Donors and contexts of the trial run that shows which target units answer to the source.
_TRIAL = 16


@dataclass(frozen=True, eq=False)
class CodeTable:
    """Codes of one target under every donor and context.

    Attributes:
        codes: `(M, K, T)`; with `pool="positions"` every position is a context of its own. Many
            columns are held in the smallest integer type: widen before arithmetic.
        n_codes: Codes are 0 ... n_codes - 1.
        out_of_range: Share of values outside what the normal run showed.
        target: What was coded: the target asked for, or, under a joint code, those of its units
            that answer to the source.
        observed: `(T, n_codes)` p(code) in the normal run, where it is the marginal.
    """

    codes: np.ndarray
    n_codes: int
    out_of_range: float
    target: Target
    observed: np.ndarray | None = None


def code_tables(
    rec: Recording,
    source: np.ndarray,
    targets: Sequence[Target],
    donors: np.ndarray,
    contexts: np.ndarray,
    *,
    values: Mapping[str, Tensor] | None = None,
    held: np.ndarray | None = None,
    focus: bool = True,
    progress: bool = False,
) -> list[CodeTable]:
    """Run every donor of `source` in every context once, and code all targets.

    A codebook is spent on the units of its target that answer to the source: a target that spans
    layers may have units upstream of the source, which would rule the code and never change. Which
    units answer is seen in a small trial run; the code is a function of the target either way, so
    its information is a lower bound of the target's.

    Args:
        rec: A recording.
        source: Flat indices of the units to set.
        targets: What to observe; all pool positions alike.
        donors: `(M,)` rows whose source activations are put in.
        contexts: `(K,)` rows whose input is run, the same for every donor.
        values, held: As for `resample`.
        focus: False keeps joint codes as they were fitted.
        progress: Show a progress bar.

    Returns:
        One `CodeTable` per target.
    """
    how = Forced(source, donors, contexts, values, held)
    if focus:
        targets = _focused(rec, how, targets)
    return read_codes(rec, how.runs(rec, _layers(rec, targets), progress), targets, len(donors))


@dataclass(frozen=True, eq=False)
class Forced:
    """An intervention on one source: every donor in every context (see `resample`)."""

    source: np.ndarray
    donors: np.ndarray
    contexts: np.ndarray
    values: Mapping[str, Tensor] | None = None
    held: np.ndarray | None = None

    def runs(
        self, rec: Recording, layers: Sequence[str], progress: bool = False
    ) -> Iterator[tuple[slice, dict[str, Tensor]]]:
        """What `resample` yields, donor by donor."""
        rows = np.repeat(self.donors, len(self.contexts)), self.context_rows
        more: dict[str, Any] = {"values": self.values, "held": self.held, "progress": progress}
        return resample(rec, self.source, *rows, layers, **more)

    @property
    def context_rows(self) -> np.ndarray:
        """`(M K,)` the context of every run."""
        return np.tile(self.contexts, len(self.donors))

    def trial(self) -> Forced:
        """A few of its donors and contexts."""
        return replace(self, donors=self.donors[:_TRIAL], contexts=self.contexts[:_TRIAL])

    def can_reach(self, rec: Recording, target: Target) -> bool:
        """Whether a unit of the target moved, by more than rounding, in a trial run."""
        return bool(_answering(rec, self, [target])[target.units].any())


def read_codes(
    rec: Recording,
    runs: Iterable[tuple[slice, Mapping[str, Tensor]]],
    targets: Sequence[Target],
    m: int,
) -> list[CodeTable]:
    """Code what `resample` yields, rows in order of m donors."""
    readers = [_Reader(rec, target) for target in targets]
    for _, seen in runs:
        blocks = {name: pooled(v, targets[0].draws.pool) for name, v in seen.items()}
        for reader in readers:
            reader.read(blocks)
    return [reader.table(m) for reader in readers]


class _Reader:
    """Codes of one target, chunk by chunk."""

    def __init__(self, rec: Recording, target: Target) -> None:
        self.rec = rec
        self.target = target
        self.chunks: list[np.ndarray] = []
        self.outside = 0
        self.layers: list[tuple[str, np.ndarray, np.ndarray, UnitBins]] = []
        coder = target.coder
        if isinstance(coder, UnitBins):
            for name, inside in rec.units.by_layer(target.units).items():
                places = np.flatnonzero(np.isin(target.units, rec.units.indices(name)))
                self.layers.append((name, inside, places, coder.take(places)))

    def read(self, blocks: Mapping[str, Tensor]) -> None:
        """Code one chunk of rows."""
        coder = self.target.coder
        if isinstance(coder, UnitBins):
            codes, beyond = self._unit_codes(blocks, coder.n_codes)
        else:
            codes = gather(blocks, self.rec, self.target.units)
            codes, beyond = (codes, 0) if coder is None else coder.encode_counting(codes)
        self.chunks.append(codes)
        self.outside += beyond

    def _unit_codes(self, blocks: Mapping[str, Tensor], n_codes: int) -> tuple[np.ndarray, int]:
        rows, beyond = len(blocks[self.layers[0][0]]), 0
        codes = np.empty((rows, len(self.target.units)), dtype=code_dtype(n_codes))
        for name, inside, places, bins in self.layers:
            values = blocks[name].numpy()
            check_positions(name, len(values), rows)
            beyond += int(bins.encode_into(values, codes, inside=inside, places=places).sum())
        return codes, beyond

    def table(self, m: int) -> CodeTable:
        """What was read, of m donors."""
        codes, target = np.concatenate(self.chunks), self.target
        each = codes.size if isinstance(target.coder, UnitBins) else len(codes)
        normal = None
        if target.draws.forcing.marginal == "observed":
            normal = normal_values(self.rec, target.units, target.draws.pool)
        if target.coder is None:
            runs = len(codes)
            codes, n_codes = encode(
                target, codes if normal is None else np.append(codes, normal, 0)
            )
            codes, normal = codes[:runs], None if normal is None else codes[runs:]
        else:
            n_codes = target.coder.n_codes
            normal = None if normal is None else target.coder.encode(normal)
        observed = None if normal is None else shares(normal, n_codes)
        codes = codes.reshape(m, -1, codes.shape[1])
        wide = codes if codes.shape[2] > 1 else codes.astype(np.int64)
        return CodeTable(wide, n_codes, self.outside / each, target, observed)


def shares(codes: np.ndarray, n_codes: int) -> np.ndarray:
    """`(T, n_codes)` how often each code occurs in the columns of `codes` `(N, T)`.

    Examples:
        >>> shares(np.array([[0], [1], [1], [1]]), 3).tolist()
        [[0.25, 0.75, 0.0]]
    """
    return np.stack([np.bincount(c, minlength=n_codes) for c in codes.T]) / len(codes)


def _layers(rec: Recording, targets: Sequence[Target]) -> list[str]:
    observed = np.unique(np.concatenate([rec.units.layer_index[t.units] for t in targets]))
    return [rec.units.layers[i] for i in observed]


def _focused(rec: Recording, how: Forced, targets: Sequence[Target]) -> list[Target]:
    """Joint targets narrowed to the units that answer to the source in a trial run."""
    joint = [t for t in targets if isinstance(t.coder, GroupCoder)]
    if not joint:
        return list(targets)
    answers = _answering(rec, how, joint)
    focused = []
    for target in targets:
        own = answers[target.units]
        if isinstance(target.coder, GroupCoder) and own.any() and not own.all():
            target = fit_target(rec, target.units[own], target.draws)
        focused.append(target)
    return focused


def _answering(rec: Recording, how: Forced, targets: Sequence[Target]) -> np.ndarray:
    """`(n,)` whether a unit moved, by more than rounding, in any of a few runs."""
    how = how.trial()
    layers, pool = _layers(rec, targets), targets[0].draws.pool
    moved = np.zeros(len(rec.units), dtype=bool)
    for chunk, seen in how.runs(rec, layers):
        for name in layers:
            normal = pooled(rec.filled(name)[how.context_rows[chunk]], pool)
            new = pooled(seen[name], pool)
            slack = ROUNDING * rec.filled(name).abs().max()
            moved[rec.units.indices(name)] |= ((new - normal).abs() > slack).any(0).numpy()
    return moved
