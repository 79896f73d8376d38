"""Flow into groups of units taken together: how far apart their outcomes lie, in bits; one
intervention per source serves all groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np
from torch import Tensor

from infoflow._shapes import Real, shaped
from infoflow.information.binning import check_numbers
from infoflow.information.entropy import LN2
from infoflow.information.forced import SATURATED, Contributions, ForcedFlow
from infoflow.information.tables import Reach, by_layers
from infoflow.information.targets import normal_values, pooled, rounding
from infoflow.interventions import resample_each
from infoflow.measured import Draws, Objective, Pool
from infoflow.recording import Recording
from infoflow.rounding import levels

_MOST_PAIRS = 1 << 22

Spread = Callable[[np.ndarray, float], np.ndarray]
"""`(S, P, n)` sets of P outcomes, and the width of a bin, to `(S, P)` bits, whose mean over a set
is how much it is spread out."""


class GroupFlow:
    """What a group of units, taken together, tells about the donor, at a stated resolution.

    With h(·) the spread of a set of outcomes in bits (an entropy, less that of the noise which
    stands for the resolution),

        given the context   mean_k h(outcomes of all donors in context k)
        plain               mean_s h(outcomes of a set s) - mean_m h(outcomes of donor m)

    where a set s takes from every context the outcome of another donor, so that both spreads in
    the difference are of K outcomes and what is missed for want of outcomes is missed in both.
    Each is worked out when it is asked for.

    Args:
        ranks: `(M, K, n)` outcomes of the n units, each on a scale on which its values in the
            normal run are spread evenly from 0 to 1.
        spread: h; see `kernel_spread` and `gaussian_spread`.
        width: Differences of about that size are told apart.

    Examples:
        >>> xor = np.array([[[0.0], [1.0]], [[1.0], [0.0]]])
        >>> round(GroupFlow(xor, kernel_spread, 0.1).given_context, 6)
        1.0
    """

    @shaped
    def __init__(
        self, ranks: Real[np.ndarray, "donors contexts units"], spread: Spread, width: float
    ) -> None:
        self._ranks = ranks
        self._spread = spread
        self._width = width
        self._still = bool((ranks == ranks[:1]).all())  # then exactly 0, without rounding

    @cached_property
    def pointwise(self) -> np.ndarray:
        """`(M, K)` contributions to `bits`, their mean; their scatter gives its standard error."""
        m, k, _ = self._ranks.shape
        contexts = np.arange(k)
        order = np.random.default_rng(0).permutation(m)  # a data set may be sorted
        mixed = order[(np.arange(m)[:, None] + contexts) % m], contexts  # every run is in one set
        plain = -self._of(self._ranks)
        plain[mixed] += self._of(self._ranks[mixed])
        return plain

    @cached_property
    def pointwise_given_context(self) -> np.ndarray:
        """`(M, K)` contributions to `given_context`."""
        return self._of(self._ranks.transpose(1, 0, 2)).T

    @property
    def bits(self) -> float:
        """The plain flow."""
        return float(self.pointwise.mean())

    @property
    def given_context(self) -> float:
        """The flow with the context known."""
        return float(self.pointwise_given_context.mean())

    def _of(self, sets: np.ndarray) -> np.ndarray:
        """`(S, P)` spread of sets `(S, P, n)`, a few at a time."""
        if self._still:
            return np.zeros(sets.shape[:2])
        step = max(1, _MOST_PAIRS // sets.shape[1] ** 2)
        parts = [self._spread(sets[i : i + step], self._width) for i in range(0, len(sets), step)]
        return np.concatenate(parts).astype(np.float64)


def cells_spread(sets: np.ndarray, width: float) -> np.ndarray:
    """Entropy of the joint cells that the outcomes are seen in, unit scales cut into bins.

    With many units every outcome has a cell of its own: then it is log2 of their number.

    Examples:
        >>> four = np.array([[[0.1, 0.9], [0.2, 0.8], [0.9, 0.9], [0.8, 0.1]]])
        >>> float(cells_spread(four, 1 / 3).mean())
        1.5
    """
    cells = np.floor(sets / width + 1e-6).astype(np.int64)
    odd = np.random.default_rng(0).integers(-(2**62), 2**62, size=sets.shape[2])
    names = (cells * odd).sum(2)  # modulo 2^64: two cells share a name once in 10^18 pairs
    return pairwise((names[:, :, None] == names[:, None]).astype(np.float64))


def kernel_spread(sets: np.ndarray, width: float) -> np.ndarray:
    """Pairwise estimate of the entropy of a mixture, less that of its Gaussian components.

    h = -mean_i log2 mean_j exp(-|z_i - z_j|² / 8σ²), σ = width / √12 being the standard deviation
    of a value within a bin. It is a lower bound (Kolchinsky and Tracey 2017, eq. 10, with the
    Bhattacharyya distance) of what the outcomes, each blurred by noise σ, tell about which of them
    it was; log2 of their number at most. With two outcomes far apart it is 1 bit.

    Examples:
        >>> float(kernel_spread(np.array([[[0.0], [1.0]]]), 0.1).mean())
        1.0
    """
    sets = sets - sets.mean(1, keepdims=True)
    square = (sets**2).sum(2)
    apart = square[:, :, None] + square[:, None] - 2 * sets @ sets.transpose(0, 2, 1)
    return pairwise(np.exp(np.minimum(apart * (-1.5 / width**2), 0.0)))


def pairwise(alike: np.ndarray) -> np.ndarray:
    """`(S, P)` bits of likenesses `(S, P, P)` between 0 and 1: -log2 of their means and, for
    standard errors, the influence of each outcome on the others' (mean 0)."""
    share = alike.mean(2)
    influence = (alike @ (1 / share)[:, :, None])[:, :, 0] / alike.shape[2] - 1
    return -(np.log(share) + influence) / LN2


def gaussian_spread(sets: np.ndarray, width: float) -> np.ndarray:
    """½ log2 det(1 + Σ / σ²), Σ the covariance of the outcomes and σ = width / √12.

    An upper bound of what the outcomes, each blurred by noise σ, tell about which of them it was:
    no distribution with that covariance has more entropy. It grows with every unit, and knows no
    number of outcomes that it cannot exceed.

    Examples:
        >>> one = np.array([[[0.0], [1.0]]])
        >>> two = np.array([[[0.0, 0.0], [1.0, 1.0]]])
        >>> bool(gaussian_spread(two, 0.1).mean() < 1.2 * gaussian_spread(one, 0.1).mean())
        True
    """
    count, n = sets.shape[1:]
    sets = (sets - sets.mean(1, keepdims=True)) * (np.sqrt(12) / width)
    turned = sets.transpose(0, 2, 1)
    if n <= count:
        noisy = turned @ sets / (count - 1) + np.eye(n)
        distance = (sets * np.linalg.solve(noisy, turned).transpose(0, 2, 1)).sum(2)
    else:  # the same, by as many outcomes instead of units
        gram = sets @ turned
        noisy = gram / (count - 1) + np.eye(count)
        distance = np.linalg.solve(noisy, gram).diagonal(axis1=1, axis2=2)
    bits = np.linalg.slogdet(noisy)[1] / (2 * LN2)
    return bits[:, None] + (distance - distance.mean(1, keepdims=True)) / (2 * LN2)


SPREADS: dict[str, Spread] = {
    "cells": cells_spread,
    "kernel": kernel_spread,
    "gaussian": gaussian_spread,
}


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
        """What one source sends each target; saturated where donors are about all the limit."""
        free, most = self.objective.estimate == "gaussian", SATURATED * np.log2(self.shape[0])
        found = []
        for f in next(self([source], [targets], progress))[1]:
            each = [Contributions((p,)) for p in (f.pointwise, f.pointwise_given_context)]
            full = not free and f.given_context >= most
            found.append(ForcedFlow(f.bits, f.given_context, each[0], each[1], full))
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
