"""compare(): all partitions of interest, measured the same ways."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from infoflow.agreement import agreement_matrix
from infoflow.compare.comparison import Comparison
from infoflow.compare.optima import QMethod, layer_modules, optima, q_under
from infoflow.compare.tracking import common_set, correlations
from infoflow.exchange import ExchangeMeter, PartitionLike
from infoflow.exchange.weighting import Weighting
from infoflow.information.binning import Bins, Coding
from infoflow.partition import Partition
from infoflow.record import Recording, show_progress
from infoflow.search import search
from infoflow.search.sampling import random_partitions
from infoflow.search.score import score_against
from infoflow.similarity import MEASURES, similarities

if TYPE_CHECKING:
    import pandas as pd

CAUSAL = "causal search"


def compare(
    rec: Recording,
    *,
    n_modules: int = 2,
    weighting: Weighting = "pairs",
    given_context: bool = True,
    partitions: Mapping[str, PartitionLike] | None = None,
    budget: int = 400,
    samples: int = 40,
    donors: int = 60,
    contexts: int = 40,
    bins: Bins = 10,
    coding: Coding = "units",
    q_method: QMethod = "default",
    seed: int = 0,
    progress: bool = False,
) -> Comparison:
    """Ask whether Q would have told who talks to whom.

    Partitions come from maximising Q under each similarity measure (all recorded layers
    together; with as many modules as Q likes, and with `n_modules`), from a causal search that
    starts from these and from random ones, from chance, and from the caller. Each is given its Q
    under every measure, its exchange, and its module score.

    Args:
        rec: A recording. Without targets and loss the Hessian is left out, with integer inputs
            the input sensitivity is.
        n_modules: Modules of the causal search and of the random partitions.
        weighting, given_context: Weighting of the exchange, and of which exchange.
        partitions: Further partitions to set beside, by name (a planted one, say).
        budget, samples: As for `search`.
        donors, contexts, bins, coding: As for `exchange`; the same draws serve all partitions.
        q_method: Method of `find_modules`.
        seed: Seed of everything.
        progress: Show progress bars.

    Returns:
        A `Comparison`.

    Raises:
        ValueError: Fewer than two used units, or as `search` and `exchange`.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> rec = ifl.record(net, ["0", "2"], torch.randn(60, 4))
        >>> cmp = ifl.compare(rec, budget=20, samples=10, donors=10, contexts=10)
        >>> "causal search" in cmp.partitions.index, "hess" in cmp.skipped
        (True, True)
    """
    used = ~rec.units.unused
    if used.sum() < 2:
        raise ValueError(
            f"only {int(used.sum())} of {len(used)} recorded units ever change over the data: "
            "there is nothing to divide into modules; check the inputs, or record other layers"
        )
    measures, skipped = _available(rec)
    matrices = similarities(rec, measures, progress=progress)
    found = optima(matrices, used, method=q_method, seed=seed, progress=progress)
    fixed = optima(matrices, used, method="default", seed=seed, n_modules=n_modules)
    meter = ExchangeMeter(
        rec,
        donors=donors,
        contexts=contexts,
        bins=bins,
        coding=coding,
        seed=seed,
        given_context=given_context,
    )
    labels = {f"Q* {name}": modules.partition.without(~used) for name, modules in found.items()}
    suffix = f", {n_modules} modules"
    labels |= {f"Q* {name}{suffix}": m.partition.without(~used) for name, m in fixed.items()}
    labels |= {name: meter.checked(given) for name, given in (partitions or {}).items()}
    measurable = {name: p for name, p in labels.items() if p.n_modules >= 2}
    best = search(
        rec,
        n_modules=n_modules,
        weighting=weighting,
        budget=budget,
        samples=samples,
        starts=measurable.values(),
        seed=seed,
        meter=meter,
        progress=progress,
    )
    labels[CAUSAL] = best.partition
    chance = islice(random_partitions(used, n_modules, seed + 7), 3)
    labels |= {f"random {number + 1}": p for number, p in enumerate(chance)}
    judge = meter.fresh()
    table = _partition_table(labels, matrices, judge, weighting, samples, seed, progress)
    common = common_set(labels, matrices, judge, weighting, seed, progress)
    agree = agreement_matrix({name: p for name, p in labels.items() if p.n_modules >= 2})
    table["agreement_with_causal"] = agree[CAUSAL].reindex(table.index)
    return Comparison(
        rec=rec,
        partitions=table,
        correlations=correlations(common, list(matrices)),
        agreement=agree,
        layers=layer_modules(rec, matrices, found, method=q_method, seed=seed),
        common=common,
        labels=labels,
        modules=found,
        similarities=matrices,
        search=best,
        weighting=weighting,
        skipped=skipped,
    )


def _available(rec: Recording) -> tuple[list[str], dict[str, str]]:
    skipped: dict[str, str] = {}
    if rec.targets is None or rec.loss is None:
        reason = "needs targets and a loss: record(model, layers, X, y, loss=...)"
        skipped |= {"hess": reason, "hess_norm": reason}
    if not all(x.is_floating_point() for x in rec.inputs):
        reason = "needs inputs that can be differentiated, these are integers"
        skipped |= {"i_sens": reason, "i_sens_norm": reason}
    return [name for name in MEASURES if name not in skipped], skipped


def _partition_table(
    labels: Mapping[str, Partition],
    matrices: Mapping[str, np.ndarray],
    meter: ExchangeMeter,
    weighting: Weighting,
    samples: int,
    seed: int,
    progress: bool,
) -> pd.DataFrame:
    import pandas as pd

    chance: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    rows = {}
    for name in show_progress(list(labels), progress, "partitions"):
        partition = labels[name]
        row: dict[str, Any] = {
            "n_modules": partition.n_modules,
            "n_effective": partition.n_effective,
            "smallest": int(partition.sizes.min(initial=len(partition))),
        }
        row |= q_under(matrices, partition)
        if partition.n_modules >= 2:
            k = partition.n_modules
            if k not in chance:
                chance[k] = _chance(meter, k, weighting, samples, seed)
            measured = meter(partition, weighting)
            score = score_against(*chance[k], measured, meter.resolution)
            row |= {
                "bits": measured.bits,
                "se": measured.se,
                "bits_given_context": measured.bits_given_context,
                "se_given_context": measured.se_given_context,
                "weighted": measured.weighted,
                "random_weighted": score.mean,
                "score": score.ratio,
                "isolated": score.isolated,
            }
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("source")


def _chance(
    meter: ExchangeMeter, k: int, weighting: Weighting, samples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    drawn = islice(random_partitions(~meter.rec.units.unused, k, seed), samples)
    measured = [meter(p, weighting) for p in drawn]
    return np.array([m.weighted for m in measured]), np.array([m.amount for m in measured])
