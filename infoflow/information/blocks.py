"""Which donors meet which contexts, under any distribution of what a source is set to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from infoflow.information.targets import fit_target, normal_codes
from infoflow.interventions.bind import labels_of
from infoflow.measured import Budget, Draws, drawn
from infoflow.recording import Recording


@dataclass(frozen=True, eq=False)
class Block:
    """Donors and contexts of which every one meets every other.

    Attributes:
        donors: `(M,)` rows of the data set, or of `values`.
        contexts: `(K,)` rows of the data set.
        share: Of the block in the average over blocks.
        weights: `(M,)` probability of each donor, all that B can be; None: equally likely samples.
        values: What the source is set to, per layer `(M, units[, positions])`, where that is not
            what it was on a sample.
    """

    donors: np.ndarray
    contexts: np.ndarray
    share: float = 1.0
    weights: np.ndarray | None = None
    values: Mapping[str, Tensor] | None = None

    @property
    def runs(self) -> int:
        """Pairs of a donor and a context."""
        return len(self.donors) * len(self.contexts)


def blocks(
    rec: Recording,
    draws: Draws,
    source: np.ndarray | None = None,
    rng: np.random.Generator | None = None,
) -> list[Block]:
    """The donors and contexts of one source, in blocks whose flows are averaged by share.

    One block, or, with donors of their context's class, one a class: donors and contexts are then
    shared out among the classes by their size, two of each at least. With the default distribution
    these are `draws.rows`.

    Args:
        rec: A recording.
        draws: How many, from what distribution, and the seed.
        source: `(u,)` flat units; may be left out unless `draws.forcing.of_source`.
        rng: Source of randomness, by default from the seed.

    Raises:
        ValueError: A class of fewer than two samples, labels that are not one per sample, or a
            sampler's answer of the wrong kind.
    """
    rng = np.random.default_rng(draws.seed) if rng is None else rng
    do, everyone = draws.forcing, np.arange(len(rec))
    if do.within is None:
        return [_block(rec, draws, source, everyone, everyone, rng)]
    labels = labels_of(do.within, rec)
    if do.only is not None:
        return [_block(rec, draws, source, _members(labels, do.only), everyone, rng)]
    found = []
    for label in np.unique(labels):
        members = _members(labels, label)
        share = len(members) / len(rec)
        counts = {what: _part(getattr(draws, what), share) for what in ("donors", "contexts")}
        block = _block(rec, replace(draws, **counts), source, members, members, rng)
        found.append(replace(block, share=share))
    return found


def _members(labels: np.ndarray, label: object) -> np.ndarray:
    members = np.flatnonzero(labels == label)
    if len(members) < 2:
        raise ValueError(f"expected at least 2 samples of class {label}, got {len(members)}")
    return members


def _part(count: Budget, share: float) -> Budget:
    return count if count == "all" else max(2, round(int(count) * share))


def _block(
    rec: Recording,
    draws: Draws,
    source: np.ndarray | None,
    candidates: np.ndarray,
    others: np.ndarray,
    rng: np.random.Generator,
) -> Block:
    """Donors among `candidates`, contexts among `others`."""
    do = draws.forcing
    if not do.of_source:
        donors = drawn(candidates, draws.donors, rng)
        return Block(donors, drawn(others, draws.contexts, rng))
    if source is None:
        raise ValueError(f"which donors are drawn from do={do} depends on the source: name it")
    count = len(candidates) if draws.donors == "all" else min(int(draws.donors), len(candidates))
    if callable(do.values):
        donors, values = _sampled(rec, source, do.values(rec, source, count, rng))
        return Block(donors, drawn(others, draws.contexts, rng), values=values)
    chance = _uniform_over_codes(rec, source, draws, candidates)
    if draws.donors == "all":
        return Block(candidates, drawn(others, draws.contexts, rng), weights=chance)
    donors = rng.choice(candidates, size=count, p=chance)
    return Block(donors, drawn(others, draws.contexts, rng))


def _uniform_over_codes(
    rec: Recording, source: np.ndarray, draws: Draws, candidates: np.ndarray
) -> np.ndarray:
    """`(candidates,)` chances that make every code of the source equally likely."""
    if draws.pool == "positions":
        raise ValueError("do='uniform' needs one code of the source a sample: use pool='mean'")
    target = fit_target(rec, source, replace(draws, coding="joint"))
    codes = normal_codes(rec, target)[candidates, 0]
    _, where, counts = np.unique(codes, return_inverse=True, return_counts=True)
    return 1.0 / (len(counts) * counts[where.ravel()])


def _sampled(
    rec: Recording, source: np.ndarray, given: object
) -> tuple[np.ndarray, Mapping[str, Tensor] | None]:
    """Donors and values from what a user's sampler returned."""
    found = given.detach().cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
    if found.ndim == 1 and found.dtype.kind in "iu" and len(found) >= 2:
        if found.min() < 0 or found.max() >= len(rec):
            raise ValueError(f"expected rows of the {len(rec)} samples from the sampler")
        return found.astype(np.int64), None
    fits = found.ndim >= 2 and len(found) >= 2 and found.shape[1] == len(source)
    if not fits or found.dtype.kind not in "iuf":
        raise ValueError(
            f"expected from the sampler 2 rows of donors or more (integers), or values of shape "
            f"(M, {len(source)}), got {found.dtype} of shape {found.shape}"
        )
    if not np.isfinite(found).all():
        raise ValueError("expected finite values from the sampler")
    values, table = {}, torch.from_numpy(found)
    for name, inside in rec.units.by_layer(source).items():
        own, places = rec[name], np.isin(source, rec.units.indices(name))
        whole = torch.zeros(len(table), *own.shape[1:], dtype=own.dtype)
        part = table[:, torch.from_numpy(places)].to(own.dtype)
        part = part[..., None] if part.ndim == 2 and own.ndim > 2 else part
        try:
            whole[:, inside] = part.expand(-1, -1, *own.shape[2:])
        except RuntimeError as error:
            raise ValueError(
                f"the sampler's values of shape {found.shape} do not fit layer {name!r}, whose "
                f"units have shape {tuple(own.shape[2:])} each"
            ) from error
        values[name] = whole
    return np.arange(len(table)), values
