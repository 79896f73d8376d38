"""Does Q track the exchange? A common set of partitions, and rank correlations over it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from infoflow.clustering import modularity
from infoflow.comparing.optima import q_under, used_only
from infoflow.comparing.ranks import RankCorrelation, Stratum, rank_correlation
from infoflow.comparing.table import Chance, layer_flows
from infoflow.partition import Partition
from infoflow.recording import show_progress
from infoflow.searching.sampling import random_partitions
from infoflow.searching.surrogate import Proxy

if TYPE_CHECKING:
    import pandas as pd

SHARES = (0.0, 0.05, 0.1, 0.2, 0.33, 0.5, 0.67)
KINDS = ("around optima", "same sizes", "random", "search trail")
QUANTITIES = ("bits", "bits_given_context", "weighted")
_SIZED, _RANDOM, _TRAIL = 8, 40, 40


@dataclass(frozen=True)
class Place:
    """Where a partition of the common set comes from."""

    kind: str
    stratum: str
    dealt_anew: float


def common_partitions(
    labels: Mapping[str, Partition],
    trail: Sequence[Partition],
    chance: Chance,
    n_modules: int,
    seed: int,
) -> dict[Partition, Place]:
    """Partitions of all qualities.

    "around optima": every partition of interest with none to two thirds of its units dealt anew;
    "same sizes": random ones with the sizes of its modules; "random": into `n_modules`; "search
    trail": spread evenly over what a search from random partitions measured. Only the first two
    kinds hold sizes fixed.
    """
    rng = np.random.default_rng(seed)
    chosen: dict[Partition, Place] = {}
    for name, partition in labels.items():
        if partition.n_modules < 2:
            continue
        for share in SHARES:
            place = Place("around optima", name, share)
            chosen.setdefault(perturbed(partition, share, rng), place)
        sizes = "-".join(map(str, sorted(partition.sizes.tolist())))
        for drawn in chance.sized(partition)[:_SIZED]:
            chosen.setdefault(drawn, Place("same sizes", sizes, 1.0))
    for drawn in islice(random_partitions(chance.used, n_modules, seed + 7), _RANDOM):
        chosen.setdefault(drawn, Place("random", "random", 1.0))
    seen = [trail[i] for i in np.linspace(0, len(trail) - 1, _TRAIL).round().astype(int)]
    for visited in seen if len(trail) else ():
        chosen.setdefault(visited, Place("search trail", "search trail", 0.0))
    return chosen


def common_set(
    chosen: Mapping[Partition, Place],
    matrices: Mapping[str, np.ndarray],
    proxies: Mapping[str, Proxy],
    chance: Chance,
    progress: bool,
) -> pd.DataFrame:
    """Q of every graph, every proxy (turned round, so that large ones promise little exchange),
    and the exchange of each partition, altogether and from layer to layer."""
    import pandas as pd

    meter = chance.meter
    layers = meter.rec.units.layers
    weighted = meter.values(list(chosen), chance.weighting)[:, 0]
    flows = meter.flows(list(chosen))
    rows = []
    for number, partition in enumerate(show_progress(list(chosen), progress, "common set")):
        plain, given = flows[number].sum((1, 2))
        row = {**vars(chosen[partition]), **q_under(matrices, partition)}
        row |= {f"proxy_{name}": -float(proxy(partition)) for name, proxy in proxies.items()}
        row |= {"bits": plain, "bits_given_context": given, "weighted": weighted[number]}
        row["of_random"] = weighted[number] / chance.into(partition.n_modules)[:, 0].mean()
        if len(layers) > 1:
            row |= _by_layer(partition, matrices, chance)
        rows.append(row)
    return pd.DataFrame(rows)


def _by_layer(
    partition: Partition, matrices: Mapping[str, np.ndarray], chance: Chance
) -> dict[str, float]:
    """Q of each layer's own units, and bits between modules (given the context) from each layer
    to each other."""
    units = chance.meter.rec.units
    _, between = layer_flows(partition, chance.meter)
    row = {}
    for a, b in zip(*np.nonzero(np.triu(np.ones(between.shape[1:]), 1)), strict=True):
        row[f"sent_{units.layers[a]}→{units.layers[b]}"] = between[1, a, b] + between[1, b, a]
    for layer in units.layers:
        index = units.indices(layer)
        inside = Partition(partition.labels[index])
        for name, matrix in matrices.items():
            block = used_only(matrix[np.ix_(index, index)], ~inside.unused)
            off = block - np.diag(np.diag(block))
            known = off.any() and inside.n_modules
            row[f"q_{name}@{layer}"] = modularity(block, inside) if known else float("nan")
    return row


def perturbed(partition: Partition, share: float, rng: np.random.Generator) -> Partition:
    """The partition with that share of its units' labels dealt out among themselves.

    Examples:
        >>> perturbed(Partition([0, 0, 1, 1]), 0.0, np.random.default_rng(0)).labels.tolist()
        [0, 0, 1, 1]
    """
    units = np.flatnonzero(~partition.unused)
    return partition.shuffled(rng, rng.choice(units, round(share * len(units)), replace=False))


def correlations(
    common: pd.DataFrame, predictors: Mapping[str, str], *, seed: int = 0
) -> pd.DataFrame:
    """Rank correlation of each predictor with -exchange within strata, averaged over the strata
    of a kind and then over kinds, with 95 % bootstrap intervals of Spearman's.

    Args:
        common: What `common_set` returned.
        predictors: Column by name.
        seed: Of the bootstrap.

    Returns:
        Indexed by predictor; for each of `QUANTITIES` columns `spearman_`, `low_`, `high_` and
        `kendall_`.
    """
    import pandas as pd

    found = _ranked(common, list(predictors.values()), list(QUANTITIES), seed)
    columns = {}
    for number, what in enumerate(QUANTITIES):
        for name in ("spearman", "low", "high", "kendall"):
            columns[f"{name}_{what}"] = getattr(found, name)[:, number]
    return pd.DataFrame(columns, index=pd.Index(list(predictors), name="predictor"))


def correlations_by(
    common: pd.DataFrame,
    predictors: Mapping[str, str],
    measures: Sequence[str],
    layers: Sequence[str],
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """The same one kind of partitions at a time, and layer by layer.

    Returns:
        Columns `kind` ("all" or one of `KINDS`), `scope`, `predictor`, `spearman`, `low`, `high`,
        `kendall`, `n`. Scope "together": the weighted exchange. Scope "A→B": bits given the
        context that modules exchange between these layers. Scope "A": Q of that layer's units
        alone, with the bits given the context that modules exchange altogether.
    """
    import pandas as pd

    rows: list[dict[str, object]] = []
    for kind in KINDS:
        part = common.loc[common["kind"] == kind]
        rows += _scope_rows(part, kind, "together", predictors, "weighted", seed)
    rows += _scope_rows(common, "all", "together", predictors, "weighted", seed)
    pairs = [c for c in common.columns if c.startswith("sent_")]
    for column in pairs if len(pairs) > 1 else ():
        rows += _scope_rows(common, "all", column[5:], predictors, column, seed)
    for layer in layers if len(layers) > 1 else ():
        own = {name: f"q_{name}@{layer}" for name in measures}
        rows += _scope_rows(common, "all", layer, own, "bits_given_context", seed)
    return pd.DataFrame(rows)


def _scope_rows(
    part: pd.DataFrame,
    kind: str,
    scope: str,
    predictors: Mapping[str, str],
    what: str,
    seed: int,
) -> Iterator[dict[str, object]]:
    if part.empty:
        return
    found = _ranked(part, list(predictors.values()), [what], seed)
    for number, name in enumerate(predictors):
        row = {"kind": kind, "scope": scope, "predictor": name, "n": found.n}
        for column in ("spearman", "low", "high", "kendall"):
            row[column] = float(getattr(found, column)[number, 0])
        yield row


def _ranked(
    common: pd.DataFrame, predictors: list[str], what: list[str], seed: int
) -> RankCorrelation:
    strata = []
    finite = common.loc[np.isfinite(common[what].to_numpy(float)).all(axis=1)]
    names = finite["kind"] + "\n" + finite["stratum"]
    for name in dict.fromkeys(names):
        group = finite.loc[names == name]
        x = group[predictors].to_numpy(float).T
        strata.append(Stratum(x, -group[what].to_numpy(float).T, name.split("\n")[0]))
    if not strata:
        nothing = np.full((len(predictors), len(what)), np.nan)
        return RankCorrelation(nothing, nothing, nothing, nothing, 0)
    return rank_correlation(strata, seed=seed)
