"""exchange() and module_flow(): what the modules of a partition send each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infoflow._arguments import door
from infoflow._warnings import warn
from infoflow.exchanges.meter import ExchangeMeter, PartitionLike
from infoflow.exchanges.result import Exchange
from infoflow.forcing import ForcingLike
from infoflow.information.workers import spread
from infoflow.measured import (
    EXCHANGE,
    Bins,
    Budget,
    Coding,
    Correction,
    Draws,
    Estimate,
    Objective,
    Pool,
    Weighting,
)
from infoflow.recording import Recording

if TYPE_CHECKING:
    import pandas as pd


@door()
def exchange(
    rec: Recording,
    partition: PartitionLike,
    *,
    weighting: Weighting = "ncut",
    given_context: bool = True,
    donors: Budget = EXCHANGE.donors,
    contexts: Budget = EXCHANGE.contexts,
    bins: Bins = 10,
    coding: Coding = "units",
    seed: int = 0,
    pool: Pool = "mean",
    correction: Correction = EXCHANGE.correction,
    objective: Estimate = "codes",
    do: ForcingLike = "empirical",
    direct: bool = False,
    scheduler: str | None = None,
    progress: bool = False,
) -> Exchange:
    """Information exchanged by the modules of a partition: Σ over a ≠ b of flow(a → b), in bits.

    Each module in turn is forced to its values on donor samples, in every layer it lies in, and
    the codes of all other modules are observed: one intervention per module serves all targets.
    Modules may span layers, and send and receive.

    Args:
        rec: A recording.
        partition: A `Partition` or labels `(n,)` over the recorded units; -1 is left out, and so
            are units that never change over the data.
        weighting: What to divide by (see `infoflow.exchanges.weighting.weigh`).
        given_context: Weigh the exchange given the context (default) or the plain one. A single
            unit's plain flow is mostly too small to measure, and a search on it ends with one
            quiet unit as a module; given the context it is not.
        donors, contexts: Samples drawn for every intervention.
        bins: Bins per unit, or size of a module's codebook.
        coding: "units": summed over the target's single units (shared information counts for each
            of them); "joint": one code per target module, a lower bound.
        seed: Seed of the draws.
        pool: What to do with positions.
        correction: Bias correction, as for `table_flow`. Miller-Madow, as in every search and
            score, so that values compare; "auto" is what `flow` has.
        objective: "codes": bins, coding and correction say how a module is read. "cells", "kernel"
            and "gaussian" take its units together, at a resolution of three bins a unit, and read
            no code (see `infoflow.measured.Objective`, and the page Which number to report).
        do: What a module is set to, as for `flow`; "capacity" is refused, and the observed marginal
            needs `given_context=False`.
        direct: All units that are in neither of two modules are held at what they are on the
            context. With two modules that hold all units there are none.
        scheduler: Address of a Dask scheduler (`tcp://...`) whose workers run the interventions;
            the answer is the same to the bit.
        progress: Show a progress bar.

    Returns:
        An `Exchange`: bits, standard error, module × module matrix, weighted value.

    Raises:
        ValueError: Labels of another length, fewer than two modules, unknown weighting,
            correction or objective, an objective other than "codes" with a joint code or with
            positions as samples, or what cannot be done with `do` or `direct`.
        ConnectionError: The scheduler cannot be reached, has no workers or was lost.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> rec = ifl.record(net, ["0", "2"], torch.randn(50, 4))
        >>> ex = ifl.exchange(rec, [0, 0, 0, 1, 1])
        >>> ex.flow.shape, float(ex.flow[1, 0])  # outputs send nothing back
        ((2, 2), 0.0)
    """
    draws = Draws(donors, contexts, bins, coding, pool, correction, seed, do, direct)
    meter = ExchangeMeter(rec, draws, Objective(weighting, given_context, objective))
    with spread(rec, scheduler):
        return meter(partition, progress=progress)


@door()
def module_flow(
    rec: Recording,
    partition: PartitionLike,
    *,
    given_context: bool = False,
    donors: Budget = EXCHANGE.donors,
    contexts: Budget = EXCHANGE.contexts,
    bins: Bins = 10,
    coding: Coding = "joint",
    seed: int = 0,
    pool: Pool = "mean",
    correction: Correction = EXCHANGE.correction,
    do: ForcingLike = "empirical",
    direct: bool = False,
    progress: bool = False,
) -> pd.DataFrame:
    """Flow between the modules of a partition: row a, column b is flow(a → b) in bits.

    Each target module is read as one, by a single joint code (a lower bound, at most log2 of its
    `bins` codes), where `exchange` sums over its units and counts what several of them say for
    each: 1 bit here and 445 there may be the same partition. `coding="units"` sums here too.
    `.attrs["read"]` says which.

    Args and errors as for `exchange`; `given_context=True` gives the flow with the context known.
    A warning says where no module reaches another, or a joint code is saturated.

    Examples:
        >>> import torch, infoflow as ifl
        >>> _ = torch.manual_seed(0)
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> rec = ifl.record(net, ["0", "2"], torch.randn(50, 4))
        >>> ifl.module_flow(rec, [0, 0, 0, 1, 1]).shape
        (2, 2)
    """
    import pandas as pd

    draws = Draws(donors, contexts, bins, coding, pool, correction, seed, do, direct)
    objective = Objective("none", given_context)
    result = ExchangeMeter(rec, draws, objective)(partition, "none", progress=progress)
    if result.doubts:
        warn(f"module_flow: {result.doubts[2:]}")
    values = result.flow_given_context if given_context else result.flow
    names = pd.Index(result.partition.names)
    frame = pd.DataFrame(values, index=names.rename("source"), columns=names.rename("target"))
    frame.attrs["read"] = result.read_as
    return frame
