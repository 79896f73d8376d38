"""flow(S → T) = I(do(S); T): how many bits a group of units sends another when it is forced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from infoflow._arguments import door, whole
from infoflow._notebook import card
from infoflow.forcing import Forcing, ForcingLike
from infoflow.information.blocks import blocks
from infoflow.information.forced import ForcedFlow, Measured, is_saturated, measured, null_of
from infoflow.information.observational import observed_information
from infoflow.information.shuffle import PlainFlow, shuffled_flow
from infoflow.information.targets import (
    disjoint,
    fit_target,
    normal_codes,
    rounding,
)
from infoflow.measured import FLOW, BinsLike, Budget, Coding, Correction, Draws, Pool
from infoflow.recording import Recording
from infoflow.saving import Saved
from infoflow.units import UnitsLike

if TYPE_CHECKING:
    import pandas as pd

# Distinct codes over samples above which no first-order correction can be trusted.
TOO_MANY_CELLS = 0.5
# With fewer donors or contexts, or fewer contexts in which the code follows the donor at all, 95 %
# intervals are too narrow: 89 and 87 % at 20 x 20, 93 and 92 % at 30 x 30 (experiments/objectives).
FEW_DRAWS, FEW_CHANGES = 30, 7
# A sample of a shuffled pass tells as much about one unit as that many runs of donors x contexts:
# 3,000 of them had the spread of 200 x 100 runs (experiments/estimators).
RUNS_PER_SHUFFLED_SAMPLE = 6


UNSATURATE = "raise bins=, see resolution_sweep, or use coding='units'"
_WHAT_TO_DO = {
    "saturated code": f" ({UNSATURATE})",
    "few draws": " (below 30 the interval is too narrow; more donors=, contexts=)",
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
            "few draws" (below 30 donors or contexts) and "few changes" (the code follows the donor
            in fewer than seven of the contexts drawn): the intervals are too narrow; "out of
            reach" (nothing the source does moves the target; see `reachable`), "coarse code" (the
            source moves the target, and no code of it changes in any run).
        n_unused: Units of source and target that never change over the data.
        do: What the source was set to.
        direct: The flow with all other recorded units held at what they are on the context: what
            reaches the target past them. None unless asked for.
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
    do: str = "empirical"
    direct: Flow | None = None

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

    @property
    def _advice(self) -> list[str]:
        return [f"{flag}{_WHAT_TO_DO.get(flag, '')}" for flag in self.flags]

    def to_frame(self) -> pd.DataFrame:
        """One row with every attribute; of the direct flow its bits and their standard errors."""
        import pandas as pd

        row = asdict(self)
        row.pop("direct")
        for what in ("bits", "bits_given_context", "se", "se_given_context"):
            row[f"direct_{what}"] = getattr(self.direct, what, None)
        return pd.DataFrame([row])

    def _repr_html_(self) -> str:
        facts = {
            "sent": f"{self.bits:.4f} ± {self.se:.2g} bits",
            "sent given the context": f"{self.bits_given_context:.4f} ± "
            f"{self.se_given_context:.2g} bits",
            "shared in the normal run (no evidence of sending)": f"{self.observational_bits:.4f} "
            "bits",
            "p where nothing flows": self.p_value,
            "detection floor, bits": self.floor,
            "donors x contexts": f"{self.n_donors} x {self.n_contexts}",
            "set to": self.do,
            "target read": "by one code" if self.coding == "joint" else "summed over its units",
            "note": "; ".join(self._advice),
        }
        return card("Flow", facts)

    def __repr__(self) -> str:
        p = "" if self.p_value is None else f", p={self.p_value:.3g}"
        p += f", {self.n_unused} unused" if self.n_unused else ""
        p += f", do={self.do}" if self.do != str(Forcing()) else ""
        if self.direct is not None:
            p += f", direct {self.direct.bits:.4f} ({self.direct.bits_given_context:.4f})"
        flags = "".join(f"; {said}" for said in self._advice)
        return (
            f"Flow({self.bits:.4f} ± {self.se:.4f} bits, given context "
            f"{self.bits_given_context:.4f}, observational {self.observational_bits:.4f}{p}{flags})"
        )


@door(n_null=whole(0, 10**7))
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
    do: ForcingLike = "empirical",
    direct: bool = False,
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
        do: What the source is set to: "empirical" (what it was on samples), "uniform" (each of its
            codes equally likely), "capacity" (the distribution over donors that sends most), a
            function that draws rows or values, or a `Forcing`: within a class, of one class only,
            against the observed marginal.
        direct: Also measure the flow with all recorded units that are neither source nor target
            held at what they are on the context: the result's `direct`, itself a `Flow`.
        progress: Show a progress bar.

    Returns:
        A `Flow`.

    Raises:
        ValueError: Source and target overlap or are empty, too few donors or contexts, unknown
            options, a null or a correction that is not derived for what the source is set to.
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
    draws = Draws(donors, contexts, bins, coding, pool, correction, seed, do)
    sent, seen = disjoint(rec, source, target)
    _check_null(n_null, draws)
    found = _flow(rec, sent, seen, draws, None, n_null, progress)
    if not direct:
        return found
    held = np.setdiff1d(np.arange(len(rec.units)), np.concatenate([sent, seen]))
    return replace(found, direct=_flow(rec, sent, seen, draws, held, n_null, progress))


def _check_null(n_null: int, draws: Draws) -> None:
    if n_null < 0 or n_null == 1:
        raise ValueError(f"expected n_null >= 2, or 0 for none, got {n_null}")
    do = draws.forcing
    weighted = do.values == "capacity" or (do.values == "uniform" and draws.donors == "all")
    if n_null and (weighted or do.marginal == "observed"):
        raise ValueError(
            f"the null is derived for donors that are equally likely samples and the marginal of "
            f"their mixture, not for do={do} with donors={draws.donors!r}: leave out n_null"
        )


def _flow(
    rec: Recording,
    sent: np.ndarray,
    seen: np.ndarray,
    draws: Draws,
    held: np.ndarray | None,
    n_null: int,
    progress: bool,
) -> Flow:
    rng = np.random.default_rng(draws.seed)
    parts = blocks(rec, draws, sent, rng)
    aim = fit_target(rec, seen, draws)
    (each,) = measured(rec, sent, [aim], parts, held=[held], progress=progress)
    aim, share = each[0].table.target, np.array([part.share for part in parts])
    whole = ForcedFlow.of(each)
    few_runs = sum(part.runs for part in parts) <= RUNS_PER_SHUFFLED_SAMPLE * len(rec)
    paired = draws.pool != "positions" or _as_many_positions(rec, sent, seen)
    single = paired and len(sent) == 1 and draws.donors != "all" and aim.coder is not None
    if single and few_runs and held is None and draws.forcing.plain:
        how, plain = "binned shuffle", shuffled_flow(rec, sent, aim, n_null=n_null)
    else:
        drawn = null_of(each, n_null, rng) if n_null else None
        how, plain = "donors x contexts", PlainFlow(whole.bits, whole.plain.se, drawn)
    null = plain.null
    return Flow(
        bits=plain.bits,
        bits_given_context=whole.given_context,
        observational_bits=observed_information(rec, sent, aim) if paired else float("nan"),
        se=plain.se,
        se_given_context=whole.known.se,
        out_of_range=float(share @ [m.table.out_of_range for m in each]),
        n_donors=sum(len(part.donors) for part in parts),
        n_contexts=sum(len(part.contexts) for part in parts),
        n_codes=max(m.table.n_codes for m in each),
        cells_per_sample=float(share @ [m.result.cells_per_sample for m in each]),
        coding=draws.coding,
        estimator=how,
        p_value=null and null.p_value,
        z=null and null.z,
        floor=null and null.floor,
        flags=_flags(rec, each),
        n_unused=int(rec.units.unused[np.concatenate([sent, seen])].sum()),
        do=str(draws.forcing),
    )


def _flags(rec: Recording, blocks: Sequence[Measured]) -> tuple[str, ...]:
    """What holds for all blocks, or, of what makes a number doubtful, for one."""
    each = [_flags_of(rec, m) for m in blocks]
    names = dict.fromkeys(name for found in each for name in found)
    some = ("saturated code", "too many codes", "few changes")
    return tuple(n for n in names if n in some or all(n in found for found in each))


def _flags_of(rec: Recording, seen: Measured) -> tuple[str, ...]:
    how, table, result = seen.forced, seen.table, seen.result
    aim = table.target
    slack = rounding(rec)
    put_in = rec.filled if how.values is None else how.values.__getitem__
    still = [
        _spread(put_in(name)[how.donors][:, inside]) <= slack[rec.units.indices(name)[inside]]
        for name, inside in rec.units.by_layer(how.source).items()
    ]
    unheard = not result.given_context.any()
    reached = not unheard or how.can_reach(rec, aim)
    answering = (table.codes != table.codes[:1]).any((0, 2)).reshape(seen.k, -1).any(1)
    sampled = seen.k < len(rec)
    found = {
        "constant source": all(bool(s.all()) for s in still),
        "constant target": bool((table.codes == table.codes[:1, :1]).all())
        and bool((np.ptp(normal_codes(rec, aim), axis=0) == 0).all()),
        "too many codes": result.cells_per_sample >= TOO_MANY_CELLS,
        "saturated code": is_saturated(rec, aim, result),
        "few draws": not unheard and sampled and min(len(how.donors), seen.k) < FEW_DRAWS,
        "few changes": 0 < answering.sum() < FEW_CHANGES and sampled,
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
