"""Tables of target codes: one entry per donor, context and code column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import Tensor

from infoflow.information.binning import GroupCoder, UnitBins
from infoflow.information.codes import ROUNDING, code_dtype
from infoflow.information.targets import (
    Pool,
    Target,
    check_positions,
    encode,
    fit_target,
    gather,
    normal_codes,
    normal_values,
    pooled,
)
from infoflow.interventions import resample
from infoflow.recording import Recording

__all__ = [
    "CodeTable",
    "Pool",
    "Target",
    "can_reach",
    "code_tables",
    "draw_rows",
    "fit_target",
    "normal_codes",
    "normal_values",
    "read_codes",
]

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
    """

    codes: np.ndarray
    n_codes: int
    out_of_range: float
    target: Target


def code_tables(
    rec: Recording,
    source: np.ndarray,
    targets: Sequence[Target],
    donors: np.ndarray,
    contexts: np.ndarray,
    *,
    pool: Pool = "mean",
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
        targets: What to observe.
        donors: `(M,)` rows whose source activations are put in.
        contexts: `(K,)` rows whose input is run, the same for every donor.
        pool: What to do with positions.
        focus: False keeps joint codes as they were fitted.
        progress: Show a progress bar.

    Returns:
        One `CodeTable` per target.
    """
    m, k = len(donors), len(contexts)
    if focus:
        targets = _focused(rec, source, targets, donors, contexts, pool)
    runs = resample(
        rec,
        source,
        np.repeat(donors, k),
        np.tile(contexts, m),
        _layers(rec, targets),
        progress=progress,
    )
    return read_codes(rec, runs, targets, m, pool)


def read_codes(
    rec: Recording,
    runs: Iterable[tuple[Any, Mapping[str, Tensor]]],
    targets: Sequence[Target],
    m: int,
    pool: Pool,
) -> list[CodeTable]:
    """Code what `resample` yields, rows in order of m donors."""
    binned = [t for t in targets if isinstance(t.coder, UnitBins)]
    others = [t for t in targets if not isinstance(t.coder, UnitBins)]
    reader = _UnitReader(rec, binned) if binned else None
    parts: list[list[np.ndarray]] = [[] for _ in others]
    outside = np.zeros(len(others))
    for _, seen in runs:
        blocks = {name: pooled(values, pool) for name, values in seen.items()}
        if reader is not None:
            reader.read(blocks)
        for number, target in enumerate(others):
            values = gather(blocks, rec, target.units)
            if isinstance(target.coder, GroupCoder):
                values, beyond = target.coder.encode_counting(values)
                outside[number] += beyond
            parts[number].append(values)
    found = {} if reader is None else dict(zip(map(id, binned), reader.tables(m), strict=True))
    for target, chunks, beyond in zip(others, parts, outside, strict=True):
        found[id(target)] = _finish(target, np.concatenate(chunks), m, float(beyond))
    return [found[id(target)] for target in targets]


def _layers(rec: Recording, targets: Sequence[Target]) -> list[str]:
    observed = np.unique(np.concatenate([rec.units.layer_index[t.units] for t in targets]))
    return [rec.units.layers[i] for i in observed]


class _UnitReader:
    """Codes of all targets that are coded unit by unit, each layer looked at once per chunk."""

    def __init__(self, rec: Recording, targets: Sequence[Target]) -> None:
        self.targets = targets
        self.bins = UnitBins.joined([t.coder for t in targets if isinstance(t.coder, UnitBins)])
        units = np.concatenate([t.units for t in targets])
        self.chunks: list[np.ndarray] = []
        self.outside = np.zeros(len(units), dtype=np.int64)
        self.layers: list[tuple[str, np.ndarray, np.ndarray, UnitBins]] = []
        for position, name in enumerate(rec.units.layers):
            places = np.flatnonzero(rec.units.layer_index[units] == position)
            if len(places):
                inside = units[places] - rec.units.offsets[name]
                self.layers.append((name, inside, places, self.bins.take(places)))

    def read(self, blocks: Mapping[str, Tensor]) -> None:
        """Code one chunk of rows."""
        rows = len(blocks[self.layers[0][0]])
        out = np.empty((rows, len(self.outside)), dtype=code_dtype(self.bins.n_codes))
        for name, inside, places, bins in self.layers:
            values = blocks[name].numpy()
            check_positions(name, len(values), rows)
            self.outside[places] += bins.encode_into(values, out, inside=inside, places=places)
        self.chunks.append(out)

    def tables(self, m: int) -> list[CodeTable]:
        """One table per target."""
        codes = np.concatenate(self.chunks).reshape(m, -1, len(self.outside))
        tables, start = [], 0
        for target in self.targets:
            own = slice(start, start + len(target.units))
            start = own.stop
            part = codes[:, :, own]
            beyond = float(self.outside[own].sum() / max(part.size, 1))
            n_codes = target.coder.n_codes if target.coder else 0
            wide = part if len(target.units) > 1 else part.astype(np.int64)
            tables.append(CodeTable(wide, n_codes, beyond, target))
        return tables


def _focused(
    rec: Recording,
    source: np.ndarray,
    targets: Sequence[Target],
    donors: np.ndarray,
    contexts: np.ndarray,
    pool: Pool,
) -> list[Target]:
    """Joint targets narrowed to the units that answer to the source in a trial run."""
    joint = [t for t in targets if isinstance(t.coder, GroupCoder)]
    if not joint:
        return list(targets)
    answers = _answering(rec, source, _layers(rec, joint), donors[:_TRIAL], contexts[:_TRIAL], pool)
    focused = []
    for target in targets:
        own = answers[target.units]
        if isinstance(target.coder, GroupCoder) and own.any() and not own.all():
            target = fit_target(
                rec, target.units[own], bins=target.bins, pool=pool, seed=target.seed
            )
        focused.append(target)
    return focused


def can_reach(
    rec: Recording,
    source: np.ndarray,
    target: Target,
    drawn: tuple[np.ndarray, np.ndarray],
    pool: Pool,
) -> bool:
    """Whether a unit of the target moved, by more than rounding, in a trial run."""
    few = drawn[0][:_TRIAL], drawn[1][:_TRIAL]
    moved = _answering(rec, source, _layers(rec, [target]), *few, pool)
    return bool(moved[target.units].any())


def _answering(
    rec: Recording,
    source: np.ndarray,
    layers: Sequence[str],
    donors: np.ndarray,
    contexts: np.ndarray,
    pool: Pool,
) -> np.ndarray:
    """`(n,)` whether a unit moved, by more than rounding, in any of the runs."""
    rows = np.tile(contexts, len(donors))
    moved = np.zeros(len(rec.units), dtype=bool)
    for chunk, seen in resample(rec, source, np.repeat(donors, len(contexts)), rows, layers):
        for name in layers:
            normal, new = pooled(rec[name][rows[chunk]], pool), pooled(seen[name], pool)
            slack = ROUNDING * rec[name].abs().max()
            moved[rec.units.indices(name)] |= ((new - normal).abs() > slack).any(0).numpy()
    return moved


def _finish(target: Target, rows: np.ndarray, m: int, beyond: float) -> CodeTable:
    if target.coder is not None:
        codes, n_codes = rows, target.coder.n_codes
    else:
        codes, n_codes = encode(target, rows)
    return CodeTable(codes.reshape(m, -1, codes.shape[1]), n_codes, beyond / len(rows), target)


def draw_rows(
    rec: Recording, count: int | Literal["all"], what: str, rng: np.random.Generator
) -> np.ndarray:
    """`count` different rows of the data set, or all of them in order.

    Raises:
        ValueError: Fewer than two asked for.
    """
    if count == "all":
        return np.arange(len(rec))
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 2:
        raise ValueError(f"expected at least 2 {what} or 'all', got {count!r}")
    return rng.permutation(len(rec))[: int(count)]
