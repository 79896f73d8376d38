"""What sources send groups of units taken together: one intervention per source serves all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from infoflow.information.binning import check_numbers
from infoflow.information.forced import SATURATED, Contributions, ForcedFlow
from infoflow.information.reach import Reach, by_layers
from infoflow.information.spreads import SPREADS, GroupFlow
from infoflow.information.targets import normal_values, pooled, rounding
from infoflow.interventions import resample_each
from infoflow.measured import Draws, Objective, Pool
from infoflow.recording import Recording
from infoflow.rounding import levels

_KNOTS = 64  # of a unit's scale: ranks to within 1/64; a power of two
_MOST_OUTCOMES = 1 << 28  # of one source, 1 GB
_MOST_KEPT = 1 << 24  # ranks in the cache, 64 MB


class RankScale:
    """Each unit on a scale on which its values in the normal run are spread evenly from 0 to 1.

    A value goes to the share of normal values below it, ties (such as a ReLU unit's zeros) in the
    middle of theirs, and between two of them on a straight line; what is out of range to an end.

    Args:
        values: `(rows, n)` activations in the normal run.
        error: `(n,)` differences that mean nothing (see `rounding_error`).

    Examples:
        >>> scale = RankScale(np.array([[0.0], [0.0], [1.0], [3.0]]), np.zeros(1))
        >>> scale(np.array([[0.0], [2.0]])).ravel().tolist()
        [0.25, 0.75]
    """

    def __init__(self, values: np.ndarray, error: np.ndarray) -> None:
        n = values.shape[1]
        self.levels = np.full((n, _KNOTS), np.inf)
        self.ranks = np.zeros((n, _KNOTS))
        for unit, (column, off) in enumerate(zip(values.T, error, strict=True)):
            level, rank = _knots(column, float(off))
            self.levels[unit, : len(level)], self.ranks[unit, : len(rank)] = level, rank

    def __call__(self, values: np.ndarray, units: np.ndarray | None = None) -> np.ndarray:
        """`(rows, n)` ranks, float32, of values of all units, or of some."""
        from infoflow.information._histograms import ranked

        units = np.arange(len(self.levels)) if units is None else units
        found = np.empty(values.shape, dtype=np.float32)
        ranked(values, units, self.levels, self.ranks, found)
        return found


def _knots(column: np.ndarray, error: float) -> tuple[np.ndarray, np.ndarray]:
    low, _ = levels(column, error)
    counts = np.bincount(np.searchsorted(low, column, side="right") - 1, minlength=len(low))
    rank = (np.cumsum(counts) - counts / 2) / len(column)
    some = np.unique(np.searchsorted(rank, np.linspace(rank[0], rank[-1], _KNOTS)))
    return low[some].astype(np.float64), rank[some]


class GroupSender:
    """Measures what sources send groups of units taken together (see `GroupFlow`).

    Args:
        rec: A recording.
        draws: Donors and contexts, the same for all sources, and how positions are pooled; bins,
            coding and correction are for codes, which are not used here.
        objective: Which estimate, and its resolution.

    Raises:
        ValueError: Positions as samples, or too many runs to keep.
    """

    def __init__(self, rec: Recording, draws: Draws, objective: Objective) -> None:
        if draws.pool == "positions":
            raise ValueError(
                f"objective={objective.estimate!r} takes each unit once a sample: use pool='mean' "
                "or 'max', or objective='codes'"
            )
        donors, contexts = draws.rows(len(rec))
        size = len(donors) * len(contexts) * len(rec.units)
        if size > _MOST_OUTCOMES:
            raise ValueError(
                f"objective={objective.estimate!r} keeps what every unit does in every run: "
                f"{len(donors)} donors x {len(contexts)} contexts x {len(rec.units)} units are too "
                f"many ({size:,} of {_MOST_OUTCOMES:,}); draw fewer, or use objective='codes'"
            )
        everyone = np.arange(len(rec.units))
        self.rec = rec
        self.objective = objective
        self.rows = np.repeat(donors, len(contexts)), np.tile(contexts, len(donors))
        self.shape = len(donors), len(contexts)
        self.pool: Pool = draws.pool
        self.spread = SPREADS[objective.estimate]
        self.width = 1 / objective.resolution
        self.reach = Reach(rec)
        self._scale = RankScale(normal_values(rec, everyone, draws.pool), rounding(rec))
        self._kept: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}

    def __call__(
        self,
        sources: Sequence[np.ndarray],
        targets: Sequence[Sequence[np.ndarray]],
        progress: bool = False,
    ) -> Iterator[tuple[int, list[GroupFlow]]]:
        """The number of each source, in any order, and what it sends each of its targets.

        Targets of a source are flat indices, disjoint from it.
        """
        for names, numbers in by_layers(self.rec, sources).items():
            new = [i for i in numbers if sources[i].tobytes() not in self._kept]
            for i in sorted(set(numbers) - set(new)):
                yield i, self._flows(*self._kept[sources[i].tobytes()], targets[i])
            for i, units, ranks in self._run(names, sources, new, progress):
                self._keep(sources[i].tobytes(), units, ranks)
                yield i, self._flows(units, ranks, targets[i])

    def forced(
        self, source: np.ndarray, targets: Sequence[np.ndarray], progress: bool = False
    ) -> list[ForcedFlow]:
        """What one source sends each target; saturated where the number of donors is about all the
        limit there is."""
        most = SATURATED * np.log2(self.shape[0])
        bounded, found = self.objective.estimate != "gaussian", []
        for _, sent in self([source], [targets], progress):
            for f in sent:
                plain, known = ((part,) for part in (f.pointwise, f.pointwise_given_context))
                full = bounded and f.given_context >= most
                terms = Contributions(plain), Contributions(known)
                found.append(ForcedFlow(f.bits, f.given_context, *terms, full))
        return found

    def _flows(
        self, units: np.ndarray, ranks: np.ndarray, targets: Sequence[np.ndarray]
    ) -> list[GroupFlow]:
        columns = [np.flatnonzero(np.isin(units, target)) for target in targets]
        return [GroupFlow(ranks[:, :, own], self.spread, self.width) for own in columns]

    def _run(
        self,
        names: tuple[str, ...],
        sources: Sequence[np.ndarray],
        numbers: Sequence[int],
        progress: bool,
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Number of a source, units that it can move, and their ranks `(M, K, n)`."""
        reach = self.reach(names)
        if not reach.layers:
            for i in numbers:
                yield i, np.arange(0), np.zeros((*self.shape, 0), np.float32)
            return
        put_in = self.rec.units.indices(list(reach.sources))
        live = [np.intersect1d(sources[i], put_in) for i in numbers]
        parts: list[dict[str, Tensor]] = []
        done = 0
        for n, _, seen in resample_each(
            self.rec, live, *self.rows, reach.layers, progress=progress
        ):
            if n != done:
                yield numbers[done], *self._ranked(sources[numbers[done]], parts)
                parts, done = [], n
            parts.append(seen)
        if parts:
            yield numbers[done], *self._ranked(sources[numbers[done]], parts)

    def _ranked(
        self, source: np.ndarray, parts: Sequence[dict[str, Tensor]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Units outside the source that were seen, and their ranks `(M, K, n)`."""
        rec = self.rec
        moved = np.setdiff1d(rec.units.indices(list(parts[0])), source)
        moved = moved[~rec.units.unused[moved]]
        blocks = []
        for name, inside in rec.units.by_layer(moved).items() if len(moved) else ():
            blocks.append(
                np.concatenate([pooled(p[name], self.pool)[:, inside].numpy() for p in parts])
            )
        if not blocks:
            return moved, np.zeros((*self.shape, 0), np.float32)
        values = np.concatenate(blocks, 1)
        check_numbers(values)
        ranks = self._scale(values, moved).reshape(*self.shape, -1)
        by_donor = values.reshape(*self.shape, -1)
        still = (np.ptp(by_donor, axis=0) <= rounding(rec)[moved]).all(0)
        ranks[:, :, still] = ranks[:1, :, still]
        return moved, ranks

    def _keep(self, key: bytes, units: np.ndarray, ranks: np.ndarray) -> None:
        self._kept[key] = units, ranks
        while len(self._kept) > 1 and sum(r.size for _, r in self._kept.values()) > _MOST_KEPT:
            del self._kept[next(iter(self._kept))]  # the oldest
