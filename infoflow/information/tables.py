"""Tables of target codes: one entry per donor, context and code column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from infoflow.information.binning import (
    Bins,
    Coder,
    Coding,
    fit_codebook,
    fit_unit_bins,
    unique_codes,
)
from infoflow.intervene import resample
from infoflow.record import Recording

Pool = Literal["mean", "max", "positions"]


@dataclass(frozen=True, eq=False)
class Target:
    """Units that are observed together, and how they are coded.

    Attributes:
        units: `(n,)` flat unit indices.
        coder: Fitted on the normal run; None tells all distinct activations apart.
        columns: Number of code columns: 1 for a joint code, n for codes unit by unit.
    """

    units: np.ndarray
    coder: Coder | None
    columns: int


@dataclass(frozen=True, eq=False)
class CodeTable:
    """Codes of one target under every donor and context.

    Attributes:
        codes: `(M, K, T)`; with `pool="positions"` every position is a context of its own.
        n_codes: Codes are 0 ... n_codes - 1.
        out_of_range: Share of values outside what the normal run showed.
    """

    codes: np.ndarray
    n_codes: int
    out_of_range: float


def normal_values(rec: Recording, units: np.ndarray, pool: Pool) -> np.ndarray:
    """Activations `(rows, n)` of flat `units` in the normal run, positions pooled."""
    return pooled({name: rec[name] for name in rec.units.layers}, rec, units, pool)


def pooled(
    activations: dict[str, Tensor], rec: Recording, units: np.ndarray, pool: Pool
) -> np.ndarray:
    """Columns `units` of `activations`, positions pooled: `(rows, n)`, or `(rows * positions, n)`.

    Raises:
        ValueError: `pool="positions"` over layers that differ in their number of positions.
    """
    out: np.ndarray | None = None
    for position, name in enumerate(rec.units.layers):
        own = rec.units.layer_index[units] == position
        if not own.any():
            continue
        block = activations[name][:, torch.as_tensor(units[own] - rec.units.offsets[name])]
        if block.ndim == 3 and pool == "positions":
            block = block.transpose(1, 2).flatten(0, 1)
        elif block.ndim == 3:
            block = block.mean(2) if pool == "mean" else block.amax(2)
        if out is None:
            out = np.empty((len(block), len(units)))
        if len(block) != len(out):
            raise ValueError(
                "pool='positions' needs layers with the same number of positions; "
                f"layer {name!r} has another: use pool='mean' or 'max'"
            )
        out[:, own] = block.double().numpy()
    if out is None:
        raise ValueError("expected at least one unit, got none")
    return out


def fit_target(
    rec: Recording,
    units: np.ndarray,
    *,
    bins: Bins = 10,
    coding: Coding = "joint",
    pool: Pool = "mean",
    seed: int = 0,
) -> Target:
    """A target whose code is fixed on the normal run.

    Args:
        rec: A recording.
        units: `(n,)` flat unit indices.
        bins: Bins per unit, size of the codebook of a group, or "unique".
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
        return Target(units, None, 1 if coding == "joint" else len(units))
    if isinstance(bins, bool) or not isinstance(bins, int):
        raise ValueError(f"expected a number of bins or 'unique', got {bins!r}")
    values = normal_values(rec, units, pool)
    if coding == "units" or len(units) == 1:
        return Target(units, fit_unit_bins(values, bins), len(units))
    return Target(units, fit_codebook(values, rec.units.layer_index[units], bins, seed), 1)


def normal_codes(rec: Recording, target: Target, pool: Pool = "mean") -> np.ndarray:
    """Codes `(K, T)` of a target in the normal run."""
    return _encode(target, normal_values(rec, target.units, pool))[0]


def code_tables(
    rec: Recording,
    source: np.ndarray,
    targets: Sequence[Target],
    donors: np.ndarray,
    contexts: np.ndarray,
    *,
    pool: Pool = "mean",
    progress: bool = False,
) -> list[CodeTable]:
    """Run every donor of `source` in every context once, and code all targets.

    Args:
        rec: A recording.
        source: Flat indices of the units to set.
        targets: What to observe.
        donors: `(M,)` rows whose source activations are put in.
        contexts: `(K,)` rows whose input is run, the same for every donor.
        pool: What to do with positions.
        progress: Show a progress bar.

    Returns:
        One `CodeTable` per target.
    """
    m, k = len(donors), len(contexts)
    observed = np.unique(np.concatenate([rec.units.layer_index[t.units] for t in targets]))
    layers = [rec.units.layers[i] for i in observed]
    parts: list[list[np.ndarray]] = [[] for _ in targets]
    outside = np.zeros(len(targets))
    runs = resample(
        rec, source, np.repeat(donors, k), np.tile(contexts, m), layers, progress=progress
    )
    for rows, seen in runs:
        share = (rows.stop - rows.start) / (m * k)
        for number, target in enumerate(targets):
            values = pooled(seen, rec, target.units, pool)
            if target.coder is None:
                parts[number].append(values)
                continue
            parts[number].append(target.coder.encode(values))
            outside[number] += share * target.coder.out_of_range(values)
    return [
        _finish(target, np.concatenate(chunks), m, float(out))
        for target, chunks, out in zip(targets, parts, outside, strict=True)
    ]


def _finish(target: Target, rows: np.ndarray, m: int, outside: float) -> CodeTable:
    codes, n_codes = (rows, target.coder.n_codes) if target.coder else _encode(target, rows)
    return CodeTable(codes.reshape(m, -1, codes.shape[1]), n_codes, outside)


def _encode(target: Target, values: np.ndarray) -> tuple[np.ndarray, int]:
    if target.coder is not None:
        return target.coder.encode(values), target.coder.n_codes
    if target.columns == 1:
        codes = unique_codes(values)
    else:
        codes = np.concatenate([unique_codes(values[:, [i]]) for i in range(values.shape[1])], 1)
    return codes, int(codes.max()) + 1


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
