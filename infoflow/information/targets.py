"""What is observed: groups of units, and how their activations become codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from infoflow.information.binning import (
    Binning,
    Coder,
    UnitBins,
    fit_codebook,
    fit_projection,
    fit_unit_bins,
    unique_codes,
)
from infoflow.measured import Coding, Pool, Resolution
from infoflow.recording import Recording
from infoflow.rounding import rounding_error
from infoflow.units import UnitsLike


@dataclass(frozen=True, eq=False)
class Target:
    """Units that are observed together, and how they are coded.

    Attributes:
        units: `(n,)` flat unit indices.
        coder: Fitted on the normal run; None tells all distinct activations apart.
        columns: Number of code columns: 1 for a joint code, n for codes unit by unit.
        bins, seed: What the coder was fitted with.
        error: `(n,)` differences of the units that mean nothing.
    """

    units: np.ndarray
    coder: Coder | None
    columns: int
    bins: Resolution = 10
    seed: int = 0
    error: np.ndarray | None = None


def normal_values(rec: Recording, units: np.ndarray, pool: Pool) -> np.ndarray:
    """Activations `(rows, n)` of flat `units` in the normal run, positions pooled."""
    return gather(_normal_blocks(rec, pool), rec, units)


def _normal_blocks(rec: Recording, pool: Pool) -> dict[str, Tensor]:
    key = ("pooled", pool)
    if key not in rec.cache:
        rec.cache[key] = {name: pooled(rec[name], pool) for name in rec.units.layers}
    return rec.cache[key]


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


def fit_target(
    rec: Recording,
    units: np.ndarray,
    *,
    bins: Resolution = 10,
    coding: Coding = "joint",
    pool: Pool = "mean",
    seed: int = 0,
) -> Target:
    """A target whose code is fixed on the normal run.

    Args:
        rec: A recording.
        units: `(n,)` flat unit indices.
        bins: Bins per unit, size of the codebook of a group, a `Binning`, or "unique".
        coding: "joint": one code for the group; "units": one per unit.
        pool: What to do with positions.
        seed: Seed of the codebook.

    Raises:
        ValueError: Unknown coding, pooling or bins.
    """
    if coding not in ("joint", "units"):
        raise ValueError(f"unknown coding {coding!r}: expected 'joint' or 'units'")
    if pool not in ("mean", "max", "positions"):
        raise ValueError(f"unknown pool {pool!r}: expected 'mean', 'max' or 'positions'")
    if bins == "unique":
        columns = 1 if coding == "joint" else len(units)
        return Target(units, None, columns, bins, error=rounding(rec)[units])
    how = bins if isinstance(bins, Binning) else Binning(bins)
    if coding == "units" or len(units) == 1:
        return Target(units, _network_bins(rec, how, pool).take(units), len(units), bins)
    if how.edges is not None:
        raise ValueError("edges cut single units: use coding='units', or a number of codes")
    key = ("codebook", units.tobytes(), how, pool, seed)
    if key not in rec.cache:
        fit = fit_codebook if how.group == "kmeans" else fit_projection
        values = normal_values(rec, units, pool)
        rec.cache[key] = fit(
            values, rec.units.layer_index[units], how.count, seed, rounding(rec)[units]
        )
    return Target(units, rec.cache[key], 1, bins, seed)


def rounding(rec: Recording) -> np.ndarray:
    """`(n,)` by how much each unit's values may differ without meaning anything."""
    if "rounding" not in rec.cache:
        sites = rec.units.sites
        each = [rounding_error(rec[s.name], rotated=s.basis is not None) for s in sites]
        rec.cache["rounding"] = np.concatenate(each)
    return rec.cache["rounding"]


def _network_bins(rec: Recording, bins: Binning, pool: Pool) -> UnitBins:
    """Bins of every recorded unit, fitted once per recording."""
    key = ("unit bins", bins, pool)
    if key not in rec.cache:
        layers = (rec.units.indices(name) for name in rec.units.layers)
        rec.cache[key] = UnitBins.joined(
            [fit_unit_bins(normal_values(rec, u, pool), bins, rounding(rec)[u]) for u in layers]
        )
    return rec.cache[key]


def normal_codes(rec: Recording, target: Target, pool: Pool = "mean") -> np.ndarray:
    """Codes `(K, T)` of a target in the normal run."""
    return encode(target, normal_values(rec, target.units, pool))[0]


def encode(target: Target, values: np.ndarray) -> tuple[np.ndarray, int]:
    """Codes `(rows, T)` of gathered activations, and how many different codes there can be."""
    if target.coder is not None:
        return target.coder.encode(values), target.coder.n_codes
    if target.columns == 1:
        codes = unique_codes(values, target.error)
    else:
        error = rounding_error(torch.from_numpy(values)) if target.error is None else target.error
        each = [unique_codes(values[:, [i]], error[[i]]) for i in range(values.shape[1])]
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
