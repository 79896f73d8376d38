"""Does Q track the exchange? A common set of partitions, and rank correlations over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from infoflow._passes import show_progress
from infoflow.clustering.q import QOf
from infoflow.comparing.ranks import RankCorrelation, Stratum, rank_correlation
from infoflow.comparing.sources import linked, used_only
from infoflow.comparing.table import Chance, layer_flows
from infoflow.partition import Partition
from infoflow.searching.flow_cut import Proxy
from infoflow.searching.space import random_partitions

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


@dataclass(frozen=True, eq=False)
class CommonSet:
    """Partitions of all qualities, and what was predicted and measured of each.

    Attributes:
        partitions: Indexed by `partition`, a number: `kind`, `stratum`, `dealt_anew`, the exchange
            in each of `QUANTITIES`, and `of_random`: weighted, over that of random partitions.
        predictions: `partition`, `layer` (empty: all together), `predictor`, `is_q`, `value`:
            large where little exchange is expected.
        between_layers: `partition`, `layer`, `to`, `bits`: given the context, between modules,
            both ways.
    """

    partitions: pd.DataFrame
    predictions: pd.DataFrame
    between_layers: pd.DataFrame


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
    layered: Sequence[str],
    proxies: Mapping[str, Proxy],
    chance: Chance,
    *,
    progress: bool = False,
) -> CommonSet:
    """Q of every graph, every proxy (turned round, so that large ones promise little exchange),
    and the exchange of each partition, altogether and from layer to layer.

    Args:
        chosen: What `common_partitions` returned.
        matrices: Graphs by name.
        layered: Those whose Q is also taken layer by layer.
        proxies: Other predictors by name, small where little exchange is expected.
        chance: Measures.
        progress: Show a progress bar.
    """
    import pandas as pd

    units = chance.meter.rec.units
    weighted = chance.meter.values(list(chosen), chance.weighting).weighted
    flows = chance.meter.flows(list(chosen))
    q_of = {name: QOf(matrix) for name, matrix in matrices.items()}
    layers = units.layers if len(units.layers) > 1 else ()
    inside = {
        (layer, name): _inside(matrices[name], units.indices(layer))
        for layer in layers
        for name in layered
    }
    rows, predicted, between = [], [], []
    for number, partition in enumerate(show_progress(list(chosen), progress, "common set")):
        plain, given = flows[number].sum((1, 2))
        row = {**vars(chosen[partition]), "bits": plain, "bits_given_context": given}
        row["weighted"] = weighted[number]
        row["of_random"] = weighted[number] / chance.into(partition.n_modules).weighted.mean()
        rows.append(row)
        for name, q in q_of.items():
            predicted.append((number, "", name, True, q(partition)))
        for name, proxy in proxies.items():
            predicted.append((number, "", name, False, -float(proxy(partition))))
        for (layer, name), q in inside.items():
            predicted.append((number, layer, name, True, q(partition)))
        if layers:
            sent = layer_flows(partition, chance.meter)[1][1]
            for a, b in zip(*np.triu_indices(len(sent), 1), strict=True):
                both = sent[a, b] + sent[b, a]
                between.append((number, units.layers[a], units.layers[b], both))
    return CommonSet(
        pd.DataFrame(rows).rename_axis("partition"),
        pd.DataFrame(predicted, columns=["partition", "layer", "predictor", "is_q", "value"]),
        pd.DataFrame(between, columns=["partition", "layer", "to", "bits"]),
    )


def _inside(matrix: np.ndarray, units: np.ndarray) -> Callable[[Partition], float]:
    """Q of one layer's units by themselves; nan where it has no module or no similarity."""
    block = matrix[np.ix_(units, units)]
    q_of = QOf(block)

    def q(partition: Partition) -> float:
        inside = Partition(partition.labels[units])
        known = inside.n_modules and linked(used_only(block, ~inside.unused)).any()
        return q_of(inside) if known else float("nan")

    return q


def perturbed(partition: Partition, share: float, rng: np.random.Generator) -> Partition:
    """The partition with that share of its units' labels dealt out among themselves.

    Examples:
        >>> perturbed(Partition([0, 0, 1, 1]), 0.0, np.random.default_rng(0)).labels.tolist()
        [0, 0, 1, 1]
    """
    units = np.flatnonzero(~partition.unused)
    return partition.shuffled(rng, rng.choice(units, round(share * len(units)), replace=False))


def correlations(common: CommonSet, *, seed: int = 0) -> pd.DataFrame:
    """Rank correlation of each predictor with -exchange within strata, averaged over the strata
    of a kind and then over kinds, with 95 % bootstrap intervals of Spearman's.

    Args:
        common: What `common_set` returned.
        seed: Of the bootstrap.

    Returns:
        See `Comparison.correlations`.
    """
    import pandas as pd

    table, predictions = common.partitions, common.predictions
    together = predictions.loc[predictions["layer"] == ""]
    rows: list[dict[str, object]] = []
    for kind in (*KINDS, "all"):
        part = table if kind == "all" else table.loc[table["kind"] == kind]
        facts = {"kind": kind, "scope": "together", "layer": "", "to": ""}
        rows += _ranked(part.loc[:, list(QUANTITIES)], part, together, facts, seed)
    between = common.between_layers
    pairs = list(dict.fromkeys(zip(between["layer"], between["to"], strict=True)))
    for a, b in pairs if len(pairs) > 1 else ():
        sent = between.loc[(between["layer"] == a) & (between["to"] == b)]
        exchanged = sent.set_index("partition").loc[:, ["bits"]]
        exchanged.columns = ["bits_given_context"]
        facts = {"kind": "all", "scope": "between", "layer": a, "to": b}
        rows += _ranked(exchanged, table, together, facts, seed)
    layered = predictions.loc[predictions["layer"] != ""]
    for layer, own in layered.groupby("layer", sort=False):
        facts = {"kind": "all", "scope": "layer", "layer": layer, "to": ""}
        rows += _ranked(table.loc[:, ["bits_given_context"]], table, own, facts, seed)
    return pd.DataFrame(rows)


def _ranked(
    exchanged: pd.DataFrame,
    table: pd.DataFrame,
    predictions: pd.DataFrame,
    facts: Mapping[str, object],
    seed: int,
) -> Iterator[dict[str, object]]:
    """Rows of every predictor with every column of `exchanged`."""
    if table.empty:
        return
    q = dict(zip(predictions["predictor"], predictions["is_q"], strict=True))
    wide = predictions.pivot(index="partition", columns="predictor", values="value").loc[:, list(q)]
    found = _correlated(wide, exchanged, table, seed)
    for number, name in enumerate(q):
        for column, quantity in enumerate(exchanged.columns):
            row = {**facts, "predictor": name, "is_q": q[name], "quantity": quantity, "n": found.n}
            for value in ("spearman", "low", "high", "kendall"):
                row[value] = float(getattr(found, value)[number, column])
            yield row


def _correlated(
    x: pd.DataFrame, y: pd.DataFrame, table: pd.DataFrame, seed: int
) -> RankCorrelation:
    """Over the partitions of `table` whose exchange is finite."""
    finite = table.loc[np.isfinite(y.loc[table.index].to_numpy(float)).all(axis=1)]
    strata = [
        Stratum(x.loc[group.index].to_numpy(float).T, -y.loc[group.index].to_numpy(float).T, kind)
        for (kind, _), group in finite.groupby(["kind", "stratum"], sort=False)
    ]
    if not strata:
        nothing = np.full((x.shape[1], y.shape[1]), np.nan)
        return RankCorrelation(nothing, nothing, nothing, nothing, 0)
    return rank_correlation(strata, seed=seed)
