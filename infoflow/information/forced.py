"""One intervention run on a block of donors and contexts, and the bits of what was seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from infoflow.information.blocks import Block, blocks
from infoflow.information.donors import TableFlow, by_context, table_flow, two_way_se
from infoflow.information.null import sign_flip_null
from infoflow.information.tables import CodeTable, Forced, code_tables
from infoflow.information.targets import Target, normal_values
from infoflow.information.weighted import capacity_flow, weighted_flow
from infoflow.measured import Draws, Null
from infoflow.recording import Recording
from infoflow.rounding import snapped

# Shares of log2 of the code from which on the code, rather than the network, may be the limit.
SATURATED = 0.95


def block_flow(table: CodeTable, block: Block) -> TableFlow:
    """The flow of one block's table, by the distribution and correction of its target's draws."""
    draws, codes, n_codes = table.target.draws, table.codes, table.n_codes
    if draws.forcing.values == "capacity":
        k = len(block.contexts)
        return capacity_flow(codes, n_codes, contexts=k, estimator=draws.correction)
    how: dict[str, Any] = {"estimator": draws.correction, "observed": table.observed}
    if block.weights is not None:
        return weighted_flow(codes, n_codes, block.weights, **how)
    return table_flow(codes, n_codes, **how)


@dataclass(frozen=True, eq=False)
class Contributions:
    """What each donor and context contributes to a flow, block by block; sums are over flows whose
    donors and contexts are the same, or drawn apart."""

    parts: tuple[np.ndarray, ...] = ()
    shares: tuple[float, ...] = (1.0,)

    def __add__(self, other: Contributions) -> Contributions:
        if not self.parts or not other.parts:
            return self if self.parts else other
        together = zip(self.parts, other.parts, strict=True)
        return Contributions(tuple(a + b for a, b in together), self.shares)

    def __mul__(self, factor: float) -> Contributions:
        return Contributions(tuple(factor * part for part in self.parts), self.shares)

    @property
    def se(self) -> float:
        """Standard error of the flow, 0 of nothing; blocks are independent samples."""
        if not self.parts:
            return 0.0
        return float(
            np.linalg.norm(
                [w * two_way_se(p) for w, p in zip(self.shares, self.parts, strict=True)]
            )
        )


@dataclass(frozen=True, eq=False)
class Measured:
    """One block's intervention, what one target did, and the bits of it."""

    forced: Forced
    table: CodeTable
    result: TableFlow
    share: float

    @property
    def k(self) -> int:
        """Contexts."""
        return len(self.forced.contexts)


def measured(
    rec: Recording,
    source: np.ndarray,
    targets: Sequence[Target],
    parts: Sequence[Block],
    *,
    held: Sequence[np.ndarray | None] | None = None,
    progress: bool = False,
) -> list[tuple[Measured, ...]]:
    """What each target did, block by block; `held`: for each of them units that stay at what they
    are on the context."""
    runs: list[tuple[Sequence[Target], np.ndarray | None]] = [(targets, None)]
    if held is not None:
        runs = [([target], units) for target, units in zip(targets, held, strict=True)]
    found = []
    for block in parts:
        each = []
        for some, stay in runs:
            how = Forced(source, block.donors, block.contexts, block.values, stay)
            tables = code_tables(
                rec, source, some, how.donors, how.contexts,
                values=how.values, held=stay, progress=progress,
            )  # fmt: skip
            each += [Measured(how, t, block_flow(t, block), block.share) for t in tables]
        found.append(each)
    return list(zip(*found, strict=True))


@dataclass(frozen=True, eq=False)
class ForcedFlow:
    """Flow from a source to one target, averaged over blocks.

    Attributes:
        bits, given_context: In bits, code columns summed.
        plain, known: What donors and contexts contribute to them.
        saturated: The bits are near log2 of a joint code that is blunter than the target.
    """

    bits: float
    given_context: float
    plain: Contributions
    known: Contributions
    saturated: bool = False

    @classmethod
    def of(cls, each: Sequence[Measured]) -> ForcedFlow:
        """Blocks averaged by share."""
        shares = tuple(m.share for m in each)
        plain = tuple(by_context(m.result.pointwise, m.k) for m in each)
        known = tuple(by_context(m.result.pointwise_given_context, m.k) for m in each)
        return cls(
            bits=float(np.dot(shares, [m.result.bits.sum() for m in each])),
            given_context=float(np.dot(shares, [m.result.given_context.sum() for m in each])),
            plain=Contributions(plain, shares),
            known=Contributions(known, shares),
        )


def forced_flows(
    rec: Recording,
    source: np.ndarray,
    targets: Sequence[Target],
    draws: Draws,
    *,
    forced: np.ndarray | None = None,
    held: Sequence[np.ndarray] | None = None,
    progress: bool = False,
) -> list[ForcedFlow]:
    """Flow from a source to each of several targets.

    Args:
        rec: A recording.
        source: `(u,)` flat units whose distribution `draws.do` says.
        targets: What to observe, fitted with `draws`.
        draws: Donors, contexts, what the source is set to and the correction.
        forced: Those of the source that need to be set, where the others move nothing.
        held, progress: As for `measured`.
    """
    parts = blocks(rec, draws, source)
    put_in = source if forced is None else forced
    flows = []
    for each in measured(rec, put_in, targets, parts, held=held, progress=progress):
        joint = draws.coding == "joint"
        full = joint and any(is_saturated(rec, m.table.target, m.result) for m in each)
        flows.append(replace(ForcedFlow.of(each), saturated=full))
    return flows


def null_of(each: Sequence[Measured], n_null: int, rng: np.random.Generator) -> Null:
    """The null of a plain flow averaged over blocks."""
    nulls = []
    for m in each:
        how: dict[str, Any] = {"correct": m.table.target.draws.correction != "none", "rng": rng}
        nulls.append(sign_flip_null(m.table.codes, n_null=n_null, contexts=m.k, **how))
    share = np.array([m.share for m in each])
    observed = float(share @ [null.observed for null in nulls])
    return Null(observed, share @ np.stack([null.values for null in nulls]))


def is_saturated(rec: Recording, aim: Target, result: TableFlow) -> bool:
    """Whether a column's bits are about all that its code can hold, and less than the target can:
    it has more levels than there are codes."""
    if aim.coder is None:
        return False
    full = result.given_context >= SATURATED * np.log2(aim.coder.n_codes)
    if not full.any():
        return False
    values = normal_values(rec, aim.units, aim.draws.pool)
    if aim.columns > 1:
        values = values[:, full]
    distinct = snapped(values, aim.error if aim.columns == 1 else aim.error[full])
    each = [distinct] if aim.columns == 1 else [column[:, None] for column in distinct.T]
    return any(len(np.unique(rows, axis=0)) > aim.coder.n_codes for rows in each)
