"""compare(): all partitions of interest, measured the same ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, get_args

import numpy as np

from infoflow._arguments import door, each, mapping, one_of, whole
from infoflow.agreements import agreement_matrix
from infoflow.comparing.columns import module_cka, weight_cuts
from infoflow.comparing.comparison import Comparison
from infoflow.comparing.sources import (
    CAUSAL,
    Candidate,
    Graphs,
    QMethod,
    check_names,
    graphs,
    layer_modules,
    of_graphs,
)
from infoflow.comparing.table import (
    Chance,
    layer_table,
    partition_table,
    q_table,
    weighting_table,
)
from infoflow.comparing.tracking import common_partitions, common_set, correlations
from infoflow.exchanges import ExchangeMeter, PartitionLike
from infoflow.forcing import ForcingLike
from infoflow.measured import SEARCH, Bins, Budget, Coding, Estimate, Objective, Weighting
from infoflow.partition import Partition, as_partition
from infoflow.recording import Recording
from infoflow.searching import SearchResult, search
from infoflow.searching.flow_cut import Proxy
from infoflow.searching.plan import Method
from infoflow.searching.proxy import proxies as all_proxies
from infoflow.searching.space import divided_units, random_partitions


@door(
    n_modules=whole(2),
    q_method=one_of(get_args(QMethod), "method"),
    methods=each(one_of(get_args(Method)), 1),
    partitions=mapping,
)
def compare(
    rec: Recording,
    *,
    n_modules: int = 2,
    weighting: Weighting = "ncut",
    given_context: bool = True,
    objective: Estimate = "codes",
    partitions: Mapping[str, PartitionLike] | None = None,
    methods: Sequence[Method] = ("genetic", "annealing"),
    budget: int = 400,
    samples: int = 40,
    same_size: int = 39,
    proxies: bool = True,
    donors: Budget = SEARCH.donors,
    contexts: Budget = SEARCH.contexts,
    bins: Bins = 10,
    coding: Coding = "units",
    do: ForcingLike = "empirical",
    q_method: QMethod = "default",
    seed: int = 0,
    checkpoint: str | PathLike[str] | None = None,
    progress: bool = False,
) -> Comparison:
    """Ask whether Q would have told who talks to whom.

    Partitions come from maximising Q under each similarity measure, of the graph of weights and of
    the unit flows (all recorded layers together; with as many modules as Q likes, and with
    `n_modules`), from normalised cuts of these two graphs, from causal searches that start from
    all of these and from random ones, from chance, and from the caller. Each is given its Q under
    every measure, its exchange, its module score, and how it stands among random partitions of
    the same module sizes. All divide the same units: those that change over the data, and send or
    receive anything detectable.

    Then Q of every graph, and every other proxy, is correlated with -exchange over a common set of
    partitions of all qualities.

    Args:
        rec: A recording. Without targets and loss the Hessian is left out, with integer inputs
            the input sensitivity is.
        n_modules: Modules of the causal search and of the random partitions.
        weighting, given_context, objective: Weighting of the exchange, of which exchange, and how
            it is measured (see `exchange`).
        partitions: Further partitions to set beside, by name (a planted one, say).
        methods: Of the causal search; that which ends lowest is the causal best.
        budget, samples: As for `search`, for each method.
        same_size: Random partitions of the same module sizes to set each partition beside; its
            p-value cannot be smaller than 1 / (1 + same_size).
        proxies: Also correlate the cut of the unit flows, the normalised cut of the weights and
            the ranks of Hessian and Jacobian interfaces.
        donors, contexts, bins, coding, do: As for `exchange`; the same draws serve all partitions.
        q_method: Method of `find_modules`.
        seed: Seed of everything.
        checkpoint: A folder to keep what the searches measured in: the same call goes on from
            there, and ends with the same result.
        progress: Show progress bars.

    Returns:
        A `Comparison`.

    Raises:
        ValueError: Fewer than two used units, no method, a name in `partitions` that a row of the
            table has already, or as `search` and `exchange`.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> rec = ifl.record(net, ["0", "2"], torch.randn(60, 4))
        >>> cmp = ifl.compare(rec, budget=20, samples=10, donors=10, contexts=10)
        >>> "causal search" in cmp.partitions.index, "hess" in cmp.skipped
        (True, True)
    """
    how: Any = {"bins": bins, "coding": coding, "do": do, "seed": seed}
    draws = replace(SEARCH, donors=donors, contexts=contexts, **how)
    meter = ExchangeMeter(rec, draws, Objective(weighting, given_context, objective))
    check_names(partitions or {}, n_modules)
    mine = {name: _given(meter, given) for name, given in (partitions or {}).items()}
    used = _divided(rec, meter, methods, same_size, n_modules)
    found = graphs(rec, meter, progress=progress)
    candidates, modules = of_graphs(
        found, used, k=n_modules, method=q_method, seed=seed, progress=progress
    )
    candidates |= {name: Candidate(p.without(~used), "given") for name, p in mine.items()}
    wanted: dict[str, Any] = {
        "n_modules": n_modules,
        "weighting": weighting,
        "budget": budget,
        "seed": seed,
        "meter": meter,
        "given_context": given_context,
        "objective": objective,
    }
    kept = _places([*methods, "unseeded"], checkpoint)
    starts = [c.partition for c in candidates.values() if c.partition.n_modules >= 2]
    asked: dict[str, Any] = {"starts": starts, "samples": samples, "progress": progress, **wanted}
    searches = {
        method: search(rec, method=method, checkpoint=kept[method], **asked) for method in methods
    }
    best = min(searches.values(), key=lambda found: found.trail[:, 2].min())
    candidates |= _causal(searches, best, n_modules)
    drawn = islice(random_partitions(used, n_modules, seed + 7), 3)
    candidates |= {
        f"random {i + 1}": Candidate(p, "random", k=n_modules) for i, p in enumerate(drawn)
    }
    labels = {name: candidate.partition for name, candidate in candidates.items()}
    judge = meter.fresh()
    chance = Chance(judge, used, weighting, samples=samples, same_size=same_size, seed=seed)
    table = partition_table(candidates, chance, progress=progress)
    agree = agreement_matrix({name: p for name, p in labels.items() if p.n_modules >= 2})
    divided = {name: p for name, p in labels.items() if p.n_modules >= 2}
    cka = {name: module_cka(rec, p, seed) for name, p in divided.items()}
    table["cka"] = [cka.get(name, float("nan")) for name in table.index]
    if "weights" in found.others:
        layer = rec.units.layer_index
        cuts = weight_cuts(labels, found.others["weights"], layer, k=n_modules, seed=seed)
        table = table.join(cuts)
    table["agreement_with_causal"] = agree[CAUSAL].reindex(table.index)
    # one that begins at the graphs' optima could only leave them, and would make Q look bad
    unseeded = search(
        rec, method="annealing", seeds=(), samples=2, checkpoint=kept["unseeded"], **wanted
    )
    common = common_set(
        common_partitions(labels, unseeded.visited[2:], chance, n_modules, seed),
        found.all,
        list(found.similarities),
        _proxies(found, meter, weighting) if proxies else {},
        chance,
        progress=progress,
    )
    return Comparison(
        rec=rec,
        partitions=table,
        q=q_table(labels, found.all),
        weightings=weighting_table(labels, judge),
        correlations=correlations(common, seed=seed),
        agreement=agree,
        layers=layer_modules(rec, found.similarities, modules, method=q_method, seed=seed),
        layer_to_layer=layer_table(labels, judge),
        common=common,
        labels=labels,
        modules=modules,
        similarities=found.similarities,
        graphs=found.others,
        search=best,
        searches=searches,
        weighting=weighting,
        skipped=found.skipped,
    )


def _places(searches: Sequence[str], folder: str | PathLike[str] | None) -> dict[str, Path | None]:
    """Where each search keeps what it measured."""
    if folder is None:
        return dict.fromkeys(searches)
    Path(folder).mkdir(parents=True, exist_ok=True)
    return {name: Path(folder) / f"{name}.npz" for name in searches}


def _given(meter: ExchangeMeter, partition: PartitionLike) -> Partition:
    """A partition of the caller's, also into one module, which a search may have found."""
    whole = as_partition(partition, len(meter.rec.units))
    return whole.without(meter.rec.units.unused) if whole.n_modules == 1 else meter.checked(whole)


def _divided(
    rec: Recording,
    meter: ExchangeMeter,
    methods: Sequence[Method],
    same_size: int,
    n_modules: int,
) -> np.ndarray:
    """`(n,)` bool: units that all partitions divide."""
    used = ~rec.units.unused
    if used.sum() < 2:
        raise ValueError(
            f"only {int(used.sum())} of {len(used)} recorded units ever change over the data: "
            "there is nothing to divide into modules; check the inputs, or record other layers"
        )
    return divided_units(meter, max(n_modules, 2))


def _causal(
    searches: Mapping[str, SearchResult], best: SearchResult, k: int
) -> dict[str, Candidate]:
    made = {CAUSAL: Candidate(best.partition, "search", k=k, method=best.method)}
    if len(searches) > 1:
        for method, found in searches.items():
            made[f"causal {method}"] = Candidate(found.partition, "search", k=k, method=method)
    return made


def _proxies(found: Graphs, meter: ExchangeMeter, weighting: Weighting) -> dict[str, Proxy]:
    """What is cheap and not Q of one of the graphs."""
    guesses, _ = all_proxies(
        meter.rec, weighting=weighting, meter=meter, similarities=found.similarities
    )
    of_q = {f"q_{name}" for name in found.all}
    return {name: proxy for name, proxy in guesses.items() if name not in of_q}
