"""The searches by their names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from infoflow.exchanges.weighting import Traffic
from infoflow.partition import Partition
from infoflow.searching.flow_cut import FlowCut, screened
from infoflow.searching.log import EvaluationLog
from infoflow.searching.methods import annealing, climbing, exhaustive, genetic, sampling
from infoflow.searching.plan import SearchPlan
from infoflow.searching.space import Space


def run_method(
    log: EvaluationLog,
    space: Space,
    plan: SearchPlan,
    traffic: Traffic,
    starts: Sequence[Partition],
) -> None:
    """Search with the plan's method until the log's budget is spent."""
    finite = np.array([v for v in log.known.values() if np.isfinite(v)])
    spread = float(finite.std()) if len(finite) > 1 else 1.0
    if plan.method == "genetic":
        genetic(log, space, starts, spread=spread, restarts=plan.restarts)
    elif plan.method == "annealing":
        annealing(log, space, starts, spread=spread, restarts=plan.restarts)
    elif plan.method == "climbing":
        climbing(log, space, starts)
    elif plan.method == "screened":
        screened(log, space, starts, FlowCut(traffic, plan.weighting), spread=spread)
    elif plan.method == "exhaustive":
        exhaustive(log, space)
    else:
        sampling(log, space, starts)
