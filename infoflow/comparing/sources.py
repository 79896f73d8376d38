"""The partitions of interest: what every graph score makes of a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from infoflow.clustering import Modules
from infoflow.comparing.optima import QMethod, optima, used_only
from infoflow.exchanges import ExchangeMeter
from infoflow.partition import Partition
from infoflow.recording import Recording
from infoflow.searching.seeds import available, normalised_cut
from infoflow.unit_similarity import MEASURES, similarities


@dataclass(frozen=True, eq=False)
class Graphs:
    """Weighted graphs over the recorded units.

    Attributes:
        similarities: The eight similarity measures, as far as the recording allows them.
        others: `weights`, |W| between consecutive layers, and `unit_flow`, the flow between single
            units, both directions added.
        skipped: What is missing, and why.
    """

    similarities: Mapping[str, np.ndarray]
    others: Mapping[str, np.ndarray]
    skipped: Mapping[str, str]

    @property
    def all(self) -> dict[str, np.ndarray]:
        """Similarities and others by name."""
        return {**self.similarities, **self.others}


def graphs(rec: Recording, meter: ExchangeMeter, *, progress: bool = False) -> Graphs:
    """Every graph that the recording allows."""
    measures, skipped = _available(rec)
    found = similarities(rec, measures, progress=progress)
    others = {}
    try:
        others["weights"] = similarities(rec, ["weights"])["weights"]
    except ValueError as error:  # layers that do not follow one another, or share weights
        skipped["weights"] = str(error)
    flow = np.maximum(meter.traffic.unit_flow, 0.0)
    others["unit_flow"] = flow + flow.T
    return Graphs(found, others, skipped)


def _available(rec: Recording) -> tuple[list[str], dict[str, str]]:
    reasons = {
        "hess": "needs targets and a loss: record(model, layers, X, y, loss=...)",
        "i_sens": "needs inputs that can be differentiated, these are integers",
    }
    allowed = available(rec)
    skipped = {m: reasons[m.removesuffix("_norm")] for m in MEASURES if m not in allowed}
    return [name for name in MEASURES if name in allowed], skipped


def q_partitions(
    found: Graphs,
    used: np.ndarray,
    *,
    n_modules: int,
    method: QMethod,
    seed: int,
    progress: bool,
) -> tuple[dict[str, Partition], dict[str, Modules]]:
    """The partition of largest Q of every graph, with as many modules as Q likes ("Q* cov") and
    with `n_modules` ("Q* cov, 2 modules"), and the graphs' normalised cuts ("n-cut weights").

    Returns:
        Partitions by source, all of the same units: those that a graph leaves out are put into the
        largest module. What maximising Q found on the similarities, by measure.
    """
    free = optima(found.all, used, method=method, seed=seed, progress=progress)
    fixed = optima(found.all, used, method="default", seed=seed, n_modules=n_modules)
    labels = {f"Q* {name}": modules.partition for name, modules in free.items()}
    labels |= {f"Q* {name}, {n_modules} modules": m.partition for name, m in fixed.items()}
    for name, matrix in found.others.items():
        cut = normalised_cut(used_only(matrix, used), n_modules, seed)
        if cut is not None:
            labels[f"n-cut {name}"] = cut
    complete = {name: completed(p, used) for name, p in labels.items()}
    return complete, {m: free[m] for m in found.similarities if m in free}


def completed(partition: Partition, used: np.ndarray) -> Partition:
    """Used units that are in no module put into the largest one, the others at -1.

    Examples:
        >>> completed(Partition([0, 0, -1, 1, -1]), np.array([1, 1, 1, 1, 0], bool)).labels.tolist()
        [0, 0, 0, 1, -1]
    """
    inside = partition.without(~used)
    if not inside.n_modules:
        return inside
    labels = np.where(inside.unused, int(inside.sizes.argmax()), inside.labels)
    return Partition(np.where(used, labels, -1))
