"""The partitions of interest: what every graph makes of a network, and where each comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from infoflow._passes import show_progress
from infoflow.clustering import Modules, find_modules
from infoflow.exchanges import ExchangeMeter
from infoflow.partition import Partition
from infoflow.recording import Recording
from infoflow.searching.starts import completed, normalised_cut
from infoflow.unit_similarity import MEASURES, allowed_measures, refused_measures, similarities

if TYPE_CHECKING:
    import pandas as pd

QMethod = Literal["default", "lange2022"]
Origin = Literal["Q*", "n-cut", "search", "random", "given"]

CAUSAL = "causal search"
"""Name of the partition that the best of the causal searches found."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A partition and where it comes from.

    Attributes:
        partition: Of the units that all candidates divide.
        origin: "Q*" and "n-cut" of a graph, "search", "random", or "given" by the caller.
        measure: The graph: a similarity measure, or one of `Graphs.others`; empty if none.
        k: Modules asked for; None where the number was free.
        method: Of the search; empty if none.
    """

    partition: Partition
    origin: Origin
    measure: str = ""
    k: int | None = None
    method: str = ""


def row_name(origin: Origin, measure: str, k: int | None = None) -> str:
    """Name of the partition that maximises Q of a graph, or cuts it.

    Examples:
        >>> row_name("Q*", "cov"), row_name("Q*", "cov", 2), row_name("n-cut", "weights", 2)
        ('Q* cov', 'Q* cov, 2 modules', 'n-cut weights')
    """
    return f"{origin} {measure}" + (f", {k} modules" if k and origin == "Q*" else "")


@dataclass(frozen=True, eq=False)
class Graphs:
    """Weighted graphs over the recorded units.

    Attributes:
        similarities: The eight similarity measures, as far as the recording allows them.
        others: `weights`, |W| between consecutive layers; `spearman`, |Spearman's ρ| of every
            two units (Hod et al. 2021); `unit_flow`, the flow between single units, both
            directions added.
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
    skipped = refused_measures(rec)
    measures = allowed_measures(rec)
    found = similarities(rec, measures, progress=progress)
    others = {}
    try:
        others["weights"] = similarities(rec, ["weights"])["weights"]
    except ValueError as error:  # layers that do not follow one another, or share weights
        skipped["weights"] = str(error)
    correlation = np.abs(similarities(rec, ["spearman"])["spearman"])
    np.fill_diagonal(correlation, 0.0)
    others["spearman"] = correlation
    flow = np.maximum(meter.traffic.unit_flow, 0.0)
    others["unit_flow"] = flow + flow.T
    return Graphs(found, others, skipped)


def of_graphs(
    found: Graphs, used: np.ndarray, *, k: int, method: QMethod, seed: int, progress: bool
) -> tuple[dict[str, Candidate], dict[str, Modules]]:
    """The partition of largest Q of every graph, with as many modules as Q likes and with `k`, and
    the normalised cuts of the others.

    Returns:
        By name; all divide the same units: those that a graph leaves out are put into the largest
        module. And what maximising Q found on the similarities, by measure.
    """
    made: dict[str, Candidate] = {}
    modules: dict[str, Modules] = {}

    def add(origin: Origin, measure: str, partition: Partition, k: int | None = None) -> None:
        whole = completed(partition, used)
        made[row_name(origin, measure, k)] = Candidate(whole, origin, measure, k)

    for name in show_progress(list(found.all), progress, "modules"):
        free = optimum(used_only(found.all[name], used), method, seed)
        if free is not None:
            add("Q*", name, free.partition)
            modules |= {name: free} if name in found.similarities else {}
    for name, matrix in found.all.items():
        fixed = optimum(used_only(matrix, used), "default", seed, k)
        if fixed is not None:
            add("Q*", name, fixed.partition, k)
    for name, matrix in found.others.items():
        cut = normalised_cut(used_only(matrix, used), k, seed)
        if cut is not None:
            add("n-cut", name, cut, k)
    return made, modules


def used_only(matrix: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Rows and columns of unused units set to zero, which `find_modules` takes as unused."""
    return matrix * np.outer(used, used)


def linked(matrix: np.ndarray) -> np.ndarray:
    """`(n,)` bool: units with any similarity to another."""
    return np.asarray((matrix - np.diag(np.diag(matrix))).any(0))


def optimum(matrix: np.ndarray, method: QMethod, seed: int, k: int | None = None) -> Modules | None:
    """The partition of largest Q; None without any similarity, or with fewer units than modules."""
    units = linked(matrix).sum()
    if not units or (k is not None and k > units):
        return None
    return find_modules(matrix, method=method, seed=seed, n_modules=k)


def check_names(given: Iterable[str], k: int) -> None:
    """The caller's partitions have names of their own.

    Args:
        given: Their names.
        k: Modules that `compare` asks for.

    Raises:
        ValueError: A name of a row that `compare` makes itself.
    """
    graphs = (*MEASURES, "weights", "spearman", "unit_flow")
    made = {row_name("Q*", name, modules) for name in graphs for modules in (None, k)}
    made |= {row_name("n-cut", name) for name in graphs}
    clash = [name for name in given if name in made or name.startswith(("causal ", "random "))]
    if clash:
        raise ValueError(
            f"expected other names for partitions={clash}: compare() has rows of these names "
            "itself (Q* ..., n-cut ..., causal ..., random ...)"
        )


def layer_modules(
    rec: Recording,
    matrices: Mapping[str, np.ndarray],
    together: Mapping[str, Modules],
    *,
    method: QMethod = "default",
    seed: int = 0,
) -> pd.DataFrame:
    """Q*, modules and effective modules of every layer by itself and of all together.

    Args:
        rec: The recording.
        matrices: Similarity of all recorded layers together, by measure; a layer's own matrix is
            its diagonal block.
        together: What was found on the whole matrices.
        method: As for `find_modules`.
        seed: Seed.

    Returns:
        Columns `layer`, `measure`, `q_star`, `n_modules`, `n_effective`; q_star is nan for a layer
        with fewer than two used units or no similarity between them.
    """
    import pandas as pd

    found: list[tuple[str, str, Modules | None]] = []
    for layer in rec.units.layers if len(rec.units.layers) > 1 else ():
        index = rec.units.indices(layer)
        for name, matrix in matrices.items():
            block = used_only(matrix[np.ix_(index, index)], ~rec.units.unused[index])
            found.append((layer, name, optimum(block, method, seed)))
    found += [("all", name, modules) for name, modules in together.items()]
    rows = [
        (layer, name, m.q, m.n_modules, m.n_effective) if m else (layer, name, np.nan, 0, 0.0)
        for layer, name, m in found
    ]
    return pd.DataFrame(rows, columns=["layer", "measure", "q_star", "n_modules", "n_effective"])
