"""One intervention run on a block of donors and contexts, and the bits of what was seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from infoflow.information.blocks import Block
from infoflow.information.donors import TableFlow, by_context, table_flow, two_way_se
from infoflow.information.null import sign_flip_null
from infoflow.information.shuffle import PlainFlow
from infoflow.information.tables import CodeTable, Forced, code_tables
from infoflow.information.targets import Target
from infoflow.information.weighted import capacity_flow, weighted_flow
from infoflow.measured import Null
from infoflow.recording import Recording


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
class Measured:
    """One block's intervention, what was seen, and the bits of it."""

    forced: Forced
    table: CodeTable
    result: TableFlow

    @classmethod
    def run(
        cls,
        rec: Recording,
        sent: np.ndarray,
        aim: Target,
        block: Block,
        held: np.ndarray | None,
        progress: bool,
    ) -> Measured:
        how = Forced(sent, block.donors, block.contexts, block.values, held)
        table = code_tables(
            rec, sent, [aim], how.donors, how.contexts,
            values=how.values, held=held, progress=progress,
        )[0]  # fmt: skip
        return cls(how, table, block_flow(table, block))

    @property
    def k(self) -> int:
        """Contexts."""
        return len(self.forced.contexts)


def averaged(
    measured: Sequence[Measured], share: np.ndarray, n_null: int, rng: np.random.Generator
) -> PlainFlow:
    """Plain flows of blocks, averaged by share; blocks are independent samples."""
    se = [two_way_se(by_context(m.result.pointwise, m.k)) for m in measured]
    bits = float(share @ [m.result.bits.sum() for m in measured])
    if not n_null:
        return PlainFlow(bits, float(np.linalg.norm(share * se)), None)
    nulls = []
    for m in measured:
        correct = m.table.target.draws.correction != "none"
        null = sign_flip_null(m.table.codes, n_null=n_null, correct=correct, rng=rng, contexts=m.k)
        nulls.append(null)
    observed = float(share @ [null.observed for null in nulls])
    null = Null(observed, share @ np.stack([null.values for null in nulls]))
    return PlainFlow(bits, float(np.linalg.norm(share * se)), null)
