"""flow(S → T) = I(do(S); T): how many bits a group of units sends another when it is forced."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from infoflow.information.donors import TableFlow, by_context, table_flow, two_way_se
from infoflow.information.null import sign_flip_null
from infoflow.information.observational import observed_information
from infoflow.information.shuffle import PlainFlow, shuffled_flow
from infoflow.information.tables import CodeTable, can_reach, code_tables
from infoflow.information.targets import (
    Target,
    disjoint,
    fit_target,
    normal_codes,
    normal_values,
    rounding,
)
from infoflow.measured import FLOW, BinsLike, Budget, Coding, Correction, Draws, Pool
from infoflow.recording import Recording
from infoflow.rounding import snapped
from infoflow.saving import Saved
from infoflow.units import UnitsLike

if TYPE_CHECKING:
    import pandas as pd

# Distinct codes over samples above which no first-order correction can be trusted.
TOO_MANY_CELLS = 0.5
# With fewer contexts in which the code follows the donor at all, 95 % intervals are too narrow
# (experiments/objectives).
FEW_CHANGES = 7
# A sample of a shuffled pass tells as much about one unit as that many runs of donors x contexts:
# 3,000 of them had the spread of 200 x 100 runs (experiments/estimators).
RUNS_PER_SHUFFLED_SAMPLE = 6


# Shares of log2 of the code from which on the code, rather than the network, may be the limit.
SATURATED = 0.95
UNSATURATE = "raise bins=, see resolution_sweep, or use coding='units'"
_WHAT_TO_DO = {
    "saturated code": f" ({UNSATURATE})",
    "few changes": " (in few contexts: the interval is too narrow; more contexts=)",
    "out of reach": " (the target does not come after the source)",
    "coarse code": f" (the target moves, but its code never changes: {UNSATURATE})",
}


@dataclass(frozen=True)
class Flow(Saved):
    """Bits that flow from a source group to a target group, and how sure one can be.

    Attributes:
        bits: I(do(S); T), the donor unknown to the context.
        bits_given_context: E_x H(T | context x) under do(S): what T learns when its other inputs
            are known. Never less than `bits` but for noise; see `synergy`.
        observational_bits: I(S; T) in the normal run, common causes included; nan where positions
            are samples and those of source and target do not pair up.
        se, se_given_context: Standard errors over donors and contexts.
        out_of_range: Share of target values outside the range of the normal run.
        n_donors, n_contexts: What was run.
        n_codes: Codes per column of the target.
        cells_per_sample: Distinct codes a donor produced, over the contexts; above 0.5 the
            estimate is unreliable (`reliable` is False).
        coding: "joint": one code for the target; "units": summed over its units.
        estimator: "binned shuffle" or "donors x contexts" (see `flow`).
        p_value, z: Against a null in which nothing flows, None unless asked for: the share of the
            null at least as large (add-one), and the distance in its standard deviations.
        floor: 95th percentile of that null in bits (detection floor), or None.
        flags: What makes the number trivial or doubtful: "constant source" (all donors alike),
            "constant target" (one code only), "too many codes", "saturated code" (the bits are
            near log2 of the code, which is blunter than the target: the code is the limit),
            "few changes" (the code follows the donor in fewer than seven of the contexts drawn: the
            intervals are too narrow), "out of reach" (nothing the source does moves the target; see
            `reachable`), "coarse code" (the source moves the target, and no code of it changes in
            any run).
        n_unused: Units of source and target that never change over the data.
    """

    bits: float
    bits_given_context: float
    observational_bits: float
    se: float
    se_given_context: float
    out_of_range: float
    n_donors: int
    n_contexts: int
    n_codes: int
    cells_per_sample: float
    coding: str
    estimator: str
    p_value: float | None = None
    z: float | None = None
    floor: float | None = None
    flags: tuple[str, ...] = ()
    n_unused: int = 0

    @property
    def synergy(self) -> float:
        """Bits that only show when the context is known: `bits_given_context - bits`."""
        return self.bits_given_context - self.bits

    @property
    def reliable(self) -> bool:
        """False when the codes are too many for the number of contexts."""
        return self.cells_per_sample < TOO_MANY_CELLS

    @property
    def reachable(self) -> bool:
        """False when no unit of the target comes after the source, or none moved with it."""
        return "out of reach" not in self.flags

    def to_frame(self) -> pd.DataFrame:
        """One row with every attribute."""
        import pandas as pd

        return pd.DataFrame([asdict(self)])

    def __repr__(self) -> str:
        p = "" if self.p_value is None else f", p={self.p_value:.3g}"
        p += f", {self.n_unused} unused" if self.n_unused else ""
        flags = "".join(f"; {flag}{_WHAT_TO_DO.get(flag, '')}" for flag in self.flags)
        return (
            f"Flow({self.bits:.4f} ± {self.se:.4f} bits, given context "
            f"{self.bits_given_context:.4f}, observational {self.observational_bits:.4f}{p}{flags})"
        )


def flow(
    rec: Recording,
    source: UnitsLike,
    target: UnitsLike,
    *,
    donors: Budget = FLOW.donors,
    contexts: Budget = FLOW.contexts,
    bins: BinsLike = 10,
    coding: Coding = "joint",
    correction: Correction = "auto",
    n_null: int = 0,
    seed: int = 0,
    pool: Pool = "mean",
    progress: bool = False,
) -> Flow:
    """Interventional mutual information I(do(S); T) in bits.

    The source is set to what it was on a donor sample while the network runs on a context sample;
    p(b) is thus what the source does in a normal run with its tie to the input broken. The
    target's code is observed: I = H(mean_m P_m) - mean_m H(P_m), P_m the histogram over contexts
    under donor m. The source itself needs no binning. For a single source unit
    the binned estimator on one shuffled pass over the data set is as sharp as six runs of donors x
    contexts per sample: it is used where the data set has a sixth of M K samples or more.

    With `donors="all", contexts="all", bins="unique", correction="none"` everything is
    enumerated: where the inputs list every case with equal weight, that is the exact value.

    Args:
        rec: A recording.
        source: Units to force: flat indices, or `{layer: indices within the layer}`.
        target: Units to observe, disjoint from the source.
        donors, contexts: How many samples to draw (at most all there are), or "all".
        bins: Bins per unit, size of a group's codebook, a `Binning`, or "unique".
        coding: "joint": one vector-quantised code for the target, a lower bound; "units": the
            sum over its single units, which counts shared information repeatedly.
        correction: "auto" removes the first-order bias; "none" gives the plug-in value; others
            for comparison (see `table_flow` and `information_bits`).
        n_null: Draws of the null, for a p-value, z and a detection floor; 0 or at least 2.
        seed: Seed of donors, contexts, codebook and permutations.
        pool: Positions of a target are averaged ("mean"), "max", or each a sample ("positions").
        progress: Show a progress bar.

    Returns:
        A `Flow`.

    Raises:
        ValueError: Source and target overlap or are empty, too few donors or contexts, unknown
            options.
        KeyError: A layer that was not recorded.

    Source: "yardstick for modularity"; resampling ("interchange") interventions.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1))
        >>> _ = torch.nn.init.ones_(net[0].weight)
        >>> rec = ifl.record(net, ["0", "1"], torch.tensor([[0.0], [1.0]]))
        >>> exact = dict(donors="all", contexts="all", bins="unique", correction="none")
        >>> ifl.flow(rec, {"0": [0]}, {"1": [0]}, **exact).bits
        1.0
    """
    draws = Draws(donors, contexts, bins, coding, pool, correction, seed)
    sent, seen = disjoint(rec, source, target)
    if n_null < 0 or n_null == 1:
        raise ValueError(f"expected n_null >= 2, or 0 for none, got {n_null}")
    rng = np.random.default_rng(seed)
    drawn = draws.rows(len(rec), rng)
    aim = fit_target(rec, seen, draws)
    table = code_tables(rec, sent, [aim], *drawn, progress=progress)[0]
    aim = table.target
    result = table_flow(table.codes, table.n_codes, estimator=correction)
    k = len(drawn[1])
    few_runs = len(drawn[0]) * k <= RUNS_PER_SHUFFLED_SAMPLE * len(rec)
    paired = pool != "positions" or _as_many_positions(rec, sent, seen)
    single = paired and len(sent) == 1 and donors != "all" and aim.coder is not None and few_runs
    if single:
        plain = shuffled_flow(rec, sent, aim, n_null=n_null)
    else:
        plain = _from_table(table, result, k, n_null, rng)
    null = plain.null
    return Flow(
        bits=plain.bits,
        bits_given_context=float(result.given_context.sum()),
        observational_bits=observed_information(rec, sent, aim) if paired else float("nan"),
        se=plain.se,
        se_given_context=two_way_se(by_context(result.pointwise_given_context, k)),
        out_of_range=table.out_of_range,
        n_donors=len(drawn[0]),
        n_contexts=k,
        n_codes=table.n_codes,
        cells_per_sample=result.cells_per_sample,
        coding=coding,
        estimator="binned shuffle" if single else "donors x contexts",
        p_value=null and null.p_value,
        z=null and null.z,
        floor=null and null.floor,
        flags=_flags(rec, sent, drawn, table, result),
        n_unused=int(rec.units.unused[np.concatenate([sent, seen])].sum()),
    )


def _from_table(
    table: CodeTable, result: TableFlow, contexts: int, n_null: int, rng: np.random.Generator
) -> PlainFlow:
    null = None
    if n_null:
        correct = table.target.draws.correction != "none"
        null = sign_flip_null(
            table.codes, n_null=n_null, correct=correct, rng=rng, contexts=contexts
        )
    se = two_way_se(by_context(result.pointwise, contexts))
    return PlainFlow(float(result.bits.sum()), se, null)


def _flags(
    rec: Recording,
    sent: np.ndarray,
    drawn: tuple[np.ndarray, np.ndarray],
    table: CodeTable,
    result: TableFlow,
) -> tuple[str, ...]:
    aim = table.target
    slack = rounding(rec)
    still = [
        _spread(rec.filled(name)[drawn[0]][:, inside]) <= slack[rec.units.indices(name)[inside]]
        for name, inside in rec.units.by_layer(sent).items()
    ]
    unheard = not result.given_context.any()
    reached = not unheard or can_reach(rec, sent, aim, *drawn)
    answering = (table.codes != table.codes[:1]).any((0, 2)).reshape(len(drawn[1]), -1).any(1)
    found = {
        "constant source": all(bool(s.all()) for s in still),
        "constant target": bool((table.codes == table.codes[:1, :1]).all())
        and bool((np.ptp(normal_codes(rec, aim), axis=0) == 0).all()),
        "too many codes": result.cells_per_sample >= TOO_MANY_CELLS,
        "saturated code": is_saturated(rec, aim, result),
        "few changes": 0 < answering.sum() < FEW_CHANGES and len(drawn[1]) < len(rec),
        "out of reach": not reached,
        "coarse code": unheard and reached,
    }
    return tuple(name for name, is_so in found.items() if is_so)


def _spread(values: Tensor) -> np.ndarray:
    """`(units,)` how far apart rows are, at the position where they are farthest."""
    apart = values.amax(0).double() - values.amin(0).double()
    return apart.flatten(1).amax(1).numpy() if apart.ndim > 1 else apart.numpy()


def _as_many_positions(rec: Recording, sent: np.ndarray, seen: np.ndarray) -> bool:
    """Whether each position of the source has one of the target beside it."""
    layers = np.unique(rec.units.layer_index[np.concatenate([sent, seen])])
    return len({rec[rec.units.layers[i]].shape[2:] for i in layers}) == 1


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
