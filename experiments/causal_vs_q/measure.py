"""One task of the study: the networks of one family and seed, measured. Rows of seven tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

import infoflow as ifl
from experiments.causal_vs_q.networks import Network, networks
from infoflow.agreements import element_similarity
from infoflow.comparing import CAUSAL, Comparison
from infoflow.measured import Weighting
from infoflow.partition import Partition
from infoflow.searching import SearchResult

TABLES = (
    "partitions",
    "correlations",
    "layers",
    "layer_to_layer",
    "common_cause",
    "basis",
    "stability",
)
BASES = ("neurons", "pca", "random")
IN_OTHER_BASES = ("plain", "dropout 0.5")
REDRAWN = "plain"
Row = dict[str, Any]


def measure(
    family: str,
    seed: int,
    *,
    budget: int = 400,
    max_epochs: int = 500,
    weighting: Weighting = "pairs",
) -> list[Row]:
    """Rows of all networks of one family and seed; `table` says which table each belongs to.

    Args:
        family, seed: As for `networks`.
        budget: Of every search.
        max_epochs: Of training the perceptrons.
        weighting: Of the exchange.
    """
    torch.set_num_threads(1)
    rows = []
    for network in networks(family, seed, max_epochs=max_epochs):
        facts = {
            "setting": network.setting,
            "trained": network.trained,
            "accuracy": network.accuracy,
            "unused": int(network.rec.units.unused.sum()),
        }
        rows += [{**facts, **row} for row in network_rows(network, family, seed, budget, weighting)]
    return [{name: _plain(value) for name, value in row.items()} for row in rows]


def network_rows(
    network: Network, family: str, seed: int, budget: int, weighting: Weighting
) -> Iterator[Row]:
    """Rows of one network."""
    planted = {} if network.planted is None else {"planted": network.planted}
    found = ifl.compare(
        network.rec,
        partitions=planted,
        budget=budget,
        weighting=weighting,
        objective="codes",
        seed=seed,
    )
    yield from _rows("partitions", wide_partitions(found))
    yield from _rows("correlations", named_scopes(found))
    yield from _rows("layers", found.layers)
    yield from _rows("layer_to_layer", found.layer_to_layer)
    yield from _common_cause(found, seed)
    if family in ("digits", "mnist"):
        if network.setting in IN_OTHER_BASES:
            yield from _bases(network, seed, budget, weighting)
        if network.setting == REDRAWN:
            yield from _redrawn(found, seed, budget, weighting)


def wide_partitions(found: Comparison) -> Any:
    """One row a partition with Q and the weightings in columns, as the saved tables have it."""
    table = found.partitions.drop(columns=["origin", "measure", "k", "method"])
    q = found.q.pivot(index="source", columns="measure", values="q").add_prefix("q_")
    other = found.weightings.pivot(index="source", columns="weighting", values="value")
    other = other.add_prefix("by_")
    columns = list(table)
    columns[3:3] = [f"q_{name}" for name in dict.fromkeys(found.q["measure"])]
    columns[-1:-1] = [f"by_{name}" for name in dict.fromkeys(found.weightings["weighting"])]
    return table.join(q).join(other)[columns].reset_index()


def named_scopes(found: Comparison) -> Any:
    """Rank correlations with the layers in one column, as the saved tables have it."""
    table: Any = found.correlations
    table = table[(table["scope"] != "together") | (table["quantity"] == "weighted")]
    between = table["layer"] + "→" + table["to"]
    scope = table["scope"].where(table["scope"] == "together", table["layer"])
    table = table.assign(scope=scope.where(table["scope"] != "between", between))
    return table[["kind", "scope", "predictor", "n", "spearman", "low", "high", "kendall"]]


def _rows(table: str, frame: Any) -> Iterator[Row]:
    for row in frame.to_dict("records"):
        yield {"table": table, **{str(name): value for name, value in row.items()}}


def _common_cause(found: Comparison, seed: int) -> Iterator[Row]:
    """What the module's part of the first layer and the other's of the last share, and how much of
    it is still there when the first is forced."""
    layers = found.rec.units.layers
    first, last = found.rec.units.indices(layers[0]), found.rec.units.indices(layers[-1])
    for name in ("planted", CAUSAL, "random 1"):
        modules = found.labels[name].modules if name in found.labels else ()
        sent, shared = 0.0, 0.0
        for source, target in zip(modules, modules[::-1], strict=True):
            s, t = np.intersect1d(source, first), np.intersect1d(target, last)
            if not len(s) or not len(t):
                break
            flow = ifl.flow(found.rec, s, t, seed=seed)
            sent, shared = sent + flow.bits, shared + flow.observational_bits
        else:
            if len(modules):
                yield {"table": "common_cause", "source": name, "sent": sent, "shared": shared}


def _bases(network: Network, seed: int, budget: int, weighting: Weighting) -> Iterator[Row]:
    """The causal score of the same search in each basis, without starts from similarities."""
    for basis in BASES:
        rec = network.rec if basis == "neurons" else network.again(basis)
        best = ifl.search(
            rec,
            method="annealing",
            weighting=weighting,
            objective="codes",
            budget=budget,
            samples=40,
            seed=seed,
        )
        yield {"table": "basis", "basis": basis, **_score(best)}


def _redrawn(found: Comparison, seed: int, budget: int, weighting: Weighting) -> Iterator[Row]:
    """The same search with other donors, contexts and random numbers, and with other bins."""
    first = found.searches["annealing"].partition
    others: list[dict[str, Any]] = [{"seed": 1000 * draw + seed} for draw in (1, 2, 3)]
    others += [{"seed": 1000 + seed, "bins": bins} for bins in (5, 20)]
    for options in others:
        again = ifl.search(
            found.rec,
            method="annealing",
            weighting=weighting,
            objective="codes",
            budget=budget,
            samples=40,
            **{"bins": 10, **options},
        )
        yield {
            "table": "stability",
            "bins": options.get("bins", 10),
            "draw": options["seed"],
            **_score(again),
            "agreement": _agreement(first, again.partition),
            "agreement_random": _agreement(first, found.labels["random 1"]),
        }


def _agreement(a: Partition, b: Partition) -> float:
    return element_similarity(a, b)


def _score(best: SearchResult) -> Row:
    return {
        "score": best.score.ratio,
        "log_score": best.score.log_ratio,
        "score_se": best.score.se / best.score.minimum if best.score.minimum > 0 else float("nan"),
        "bits": best.exchange.bits,
        "bits_given_context": best.exchange.bits_given_context,
    }


def _plain(value: Any) -> Any:
    """As JSON has it: no numpy types; nan and infinity as text that pandas reads back."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None if value != value else ("inf" if value > 0 else "-inf")
    return value
