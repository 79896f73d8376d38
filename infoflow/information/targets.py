"""What is observed: groups of units, and how their activations become codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from infoflow.information.binning import UnitBins, fit_unit_bins
from infoflow.information.codebook import GroupCoder, fit_codebook, fit_projection, unique_codes
from infoflow.measured import FLOW, Binning, Draws, Pool
from infoflow.recording import Recording
from infoflow.rounding import rounding_error
from infoflow.units import UnitsLike


@dataclass(frozen=True, eq=False)
class Target:
    """Units that are observed together, and how they are coded.

    Attributes:
        units: `(n,)` flat unit indices.
        coder: Fitted on the normal run; None tells all distinct activations apart.
        draws: What the coder was fitted with, and how positions are pooled.
        columns: Number of code columns: 1 for a joint code, n for codes unit by unit.
        error: `(n,)` differences of the units that mean nothing.
    """

    units: np.ndarray
    coder: UnitBins | GroupCoder | None
    draws: Draws
    columns: int
    error: np.ndarray


@dataclass(eq=False)
class _Normal:
    """What is fitted on the normal run, once for a recording."""

    error: np.ndarray | None = None
    blocks: dict[Pool, dict[str, Tensor]] = field(default_factory=dict)
    bins: dict[tuple[Binning, Pool], UnitBins] = field(default_factory=dict)
    books: dict[tuple[bytes, Binning, Pool, int], GroupCoder] = field(default_factory=dict)


def normal_values(rec: Recording, units: np.ndarray, pool: Pool) -> np.ndarray:
    """Activations `(rows, n)` of flat `units` in the normal run, positions pooled."""
    blocks = rec.kept(_Normal).blocks
    if pool not in blocks:
        blocks[pool] = {name: pooled(rec.filled(name), pool) for name in rec.units.layers}
    return gather(blocks[pool], rec, units)


def pooled(block: Tensor, pool: Pool) -> Tensor:
    """`(rows, units)` of activations `(rows, units[, positions])`; a position may be a row.

    bfloat16, which NumPy has not got, becomes float32.
    """
    block = block.float() if block.dtype == torch.bfloat16 else block
    if block.ndim == 2:
        return block
    if pool == "positions":
        return block.transpose(1, 2).flatten(0, 1)
    return block.mean(2) if pool == "mean" else block.amax(2)


def gather(blocks: Mapping[str, Tensor], rec: Recording, units: np.ndarray) -> np.ndarray:
    """Columns `units` of pooled layers side by side, `(rows, n)`.

    Raises:
        ValueError: Layers that differ in their number of rows, or no units.
    """
    out: np.ndarray | None = None
    for position, name in enumerate(rec.units.layers):
        own = rec.units.layer_index[units] == position
        if not own.any():
            continue
        block = blocks[name].numpy()[:, units[own] - rec.units.offsets[name]]
        if out is None:
            kinds = [b.numpy().dtype for b in blocks.values()]
            out = np.empty((len(block), len(units)), dtype=np.result_type(*kinds))
        check_positions(name, len(block), len(out))
        out[:, own] = block
    if out is None:
        raise ValueError("expected at least one unit, got none")
    return out


def check_positions(name: str, rows: int, expected: int) -> None:
    """Refuse layers that differ in their number of positions where positions are rows."""
    if rows != expected:
        raise ValueError(
            "pool='positions' needs layers with the same number of positions; "
            f"layer {name!r} has another: use pool='mean' or 'max'"
        )


def fit_target(rec: Recording, units: np.ndarray, draws: Draws = FLOW) -> Target:
    """A target whose code is fixed on the normal run.

    Args:
        rec: A recording.
        units: `(n,)` flat unit indices.
        draws: Their bins, coding, pool and, for a codebook, seed.

    Raises:
        ValueError: Edges of one's own for a joint code.
    """
    padded = [n for n in rec.units.by_layer(units) if rec.real(n) is not None]
    if draws.pool == "positions" and padded:
        raise ValueError(
            f"pool='positions' takes every position for a sample, and some of layers {padded} are "
            "padding: use pool='mean' or 'max', or record(mask=False)"
        )
    error = rounding(rec)[units]
    if draws.bins == "unique":
        return Target(units, None, draws, 1 if draws.coding == "joint" else len(units), error)
    if draws.coding == "units" or len(units) == 1:
        bins = _network_bins(rec, draws.binning, draws.pool).take(units)
        return Target(units, bins, draws, len(units), error)
    return Target(units, _group_coder(rec, units, draws), draws, 1, error)


def rounding(rec: Recording) -> np.ndarray:
    """`(n,)` by how much each unit's values may differ without meaning anything."""
    kept = rec.kept(_Normal)
    if kept.error is None:
        sites = rec.units.sites
        each = [
            rounding_error(
                rec.filled(s.name), rotated=s.basis is not None, step=rec.steps.get(s.name)
            )
            for s in sites
        ]
        kept.error = np.concatenate(each)
    return kept.error


def _network_bins(rec: Recording, bins: Binning, pool: Pool) -> UnitBins:
    """Bins of every recorded unit, fitted once per recording."""
    kept = rec.kept(_Normal).bins
    if (bins, pool) not in kept:
        layers = (rec.units.indices(name) for name in rec.units.layers)
        kept[bins, pool] = UnitBins.joined(
            [fit_unit_bins(normal_values(rec, u, pool), bins, rounding(rec)[u]) for u in layers]
        )
    return kept[bins, pool]


def _group_coder(rec: Recording, units: np.ndarray, draws: Draws) -> GroupCoder:
    """The joint code of a group, fitted once per recording."""
    how, kept = draws.binning, rec.kept(_Normal).books
    if how.edges is not None:
        raise ValueError("edges cut single units: use coding='units', or a number of codes")
    key = (units.tobytes(), how, draws.pool, draws.seed)
    if key not in kept:
        fit = fit_codebook if how.group == "kmeans" else fit_projection
        values = normal_values(rec, units, draws.pool)
        layers = rec.units.layer_index[units]
        kept[key] = fit(values, layers, how.count, draws.seed, rounding(rec)[units])
    return kept[key]


def normal_codes(rec: Recording, target: Target) -> np.ndarray:
    """Codes `(K, T)` of a target in the normal run."""
    return encode(target, normal_values(rec, target.units, target.draws.pool))[0]


def encode(target: Target, values: np.ndarray) -> tuple[np.ndarray, int]:
    """Codes `(rows, T)` of gathered activations, and how many different codes there can be."""
    if target.coder is not None:
        return target.coder.encode(values), target.coder.n_codes
    if target.columns == 1:
        codes = unique_codes(values, target.error)
    else:
        columns = range(values.shape[1])
        each = [unique_codes(values[:, [i]], target.error[[i]]) for i in columns]
        codes = np.concatenate(each, 1)
    return codes, int(codes.max()) + 1


def disjoint(rec: Recording, source: UnitsLike, target: UnitsLike) -> tuple[np.ndarray, np.ndarray]:
    """Flat indices of source and target.

    Raises:
        ValueError: They share units, or one is empty.
    """
    sent, seen = rec.units.flat(source), rec.units.flat(target)
    shared = np.intersect1d(sent, seen)
    if len(shared):
        raise ValueError(
            f"source and target share units {shared.tolist()}: a unit that is set carries no news "
            "of itself; leave it out of one of them"
        )
    return sent, seen
