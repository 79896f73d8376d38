"""Modules within modules: search inside a found module, as long as what is found is significant."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from infoflow.exchanges import ExchangeMeter
from infoflow.measured import SEARCH, Budget, Weighting
from infoflow.module_tree import Division, ModuleTree, grown
from infoflow.recording import Recording
from infoflow.searching.count import check_level, division_p_value
from infoflow.searching.flow_graph import FlowGraph
from infoflow.searching.run import search
from infoflow.searching.space import divided_units


def hierarchy(
    rec: Recording,
    *,
    n_modules: int | range | None = 2,
    weighting: Weighting = "ncut",
    alpha: float = 0.05,
    min_size: int = 4,
    max_depth: int = 6,
    n_null: int = 99,
    donors: Budget = SEARCH.donors,
    contexts: Budget = SEARCH.contexts,
    seed: int = 0,
    **options: Any,
) -> ModuleTree:
    """Divide the network, then every module found, until nothing significant is left.

    A module is divided as if its units were all there is: the others are left alone, at what the
    context gives them. It divides if its unit flows have more structure than all but `alpha` of
    their shuffles (`count.structure_test`), or if it has parts with no flow between them (p-value
    0). That test looks for no division, so that having searched for one does not make its p-value
    too small; comparing the best division with shuffled units did.

    Args:
        rec: A recording.
        n_modules: As for `search`, at each division.
        weighting: Of the exchange.
        alpha: Level of significance; with the number of divisions tried, a Bonferroni bound.
        min_size: A module of fewer units is not divided.
        max_depth: Levels at most.
        n_null: Shuffles per test; 1 / (n_null + 1) is the smallest p-value.
        donors, contexts, seed: As for `search`.
        options: Further ones for `search`: `budget`, `samples`, `method`.

    Raises:
        ValueError: alpha outside (0, 1), or below what n_null shuffles can tell; as `search`.

    Examples:
        >>> import infoflow as ifl
        >>> from infoflow import toys
        >>> toy = toys.load_modules("isolated_tracks")
        >>> tree = hierarchy(toy.record(), budget=60, samples=10)
        >>> tree.level(1) == toy.planted[0]
        True
    """
    check_level(alpha, n_null)
    meter = ExchangeMeter(rec, replace(SEARCH, donors=donors, contexts=contexts, seed=seed))
    min_size = max(min_size, 2)

    def divide(units: np.ndarray) -> Division | str:
        inside = meter.within(units)
        if divided_units(inside, 0).sum() < min_size:
            return "too few units that exchange anything"
        used = divided_units(inside, 0)
        graph = FlowGraph.of(inside.traffic.unit_flow, rec.units.layer_index, used)
        p_value = division_p_value(graph, n_null, np.random.default_rng(seed))
        if p_value > alpha:
            return Division((), float("nan"), p_value)
        found = search(
            rec, meter=inside, n_modules=n_modules, weighting=weighting, seed=seed, **options
        )
        return Division(found.partition.modules, found.score.log_ratio, p_value)

    return grown(
        divide,
        np.flatnonzero(~rec.units.unused),
        len(rec.units),
        quantity="log2 score",
        alpha=alpha,
        min_size=min_size,
        max_depth=max_depth,
    )
