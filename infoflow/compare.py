"""The causal score beside Q*: all partitions of interest, measured the same ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from infoflow.agreement import agreement_matrix
from infoflow.exchange import ExchangeMeter, PartitionLike
from infoflow.information.binning import Bins, Coding
from infoflow.modularity import Modules, find_modules, modularity
from infoflow.partition import Partition
from infoflow.record import Recording, show_progress
from infoflow.search import SearchResult, search
from infoflow.search.sampling import random_partitions
from infoflow.search.score import score_against
from infoflow.similarity import MEASURES, similarities
from infoflow.weighting import Weighting

if TYPE_CHECKING:
    import pandas as pd

CAUSAL = "causal search"
SHARES = (0.0, 0.05, 0.1, 0.2, 0.33, 0.5, 0.67, 1.0)
QUANTITIES = ("bits", "bits_given_context", "weighted")


@dataclass(frozen=True, eq=False)
class Comparison:
    """Partitions of one network side by side.

    Attributes:
        rec: The recording compared.
        partitions: One row a partition, indexed by where it comes from: number of modules, Q under
            every measure (`q_<measure>`), exchange in bits with its standard error, given the
            context, and weighted, the module score and its agreement with the causal best.
        correlations: One row a measure: rank correlation of Q with -exchange (in bits, given the
            context, and weighted) over a common set of partitions, averaged over strata of equal
            module sizes: otherwise it would only say that more modules exchange more.
        agreement: Element-centric similarity of every pair of partitions.
        layers: One row per layer (and "all") and measure: Q*, modules, effective modules.
        common: The common set: stratum, share of units dealt anew, Q under every measure and the
            exchange of each partition.
        labels: The partitions themselves.
        modules: What maximising Q found per measure, all layers together.
        similarities: Similarity matrices of all layers together.
        search: The causal search.
        weighting: Weighting of the exchange.
        skipped: Measures left out, and why.
    """

    rec: Recording
    partitions: pd.DataFrame
    correlations: pd.DataFrame
    agreement: pd.DataFrame
    layers: pd.DataFrame
    common: pd.DataFrame
    labels: Mapping[str, Partition]
    modules: Mapping[str, Modules]
    similarities: Mapping[str, np.ndarray]
    search: SearchResult
    weighting: str
    skipped: Mapping[str, str]

    def to_frame(self) -> pd.DataFrame:
        """The table of partitions."""
        return self.partitions

    def __repr__(self) -> str:
        best = self.correlations["spearman_weighted"].idxmax()
        return (
            f"Comparison({len(self.partitions)} partitions of {len(self.rec.units)} units, "
            f"{self.search.score!r}, Q closest to -weighted exchange: {best})"
        )


def compare(
    rec: Recording,
    *,
    n_modules: int = 2,
    weighting: Weighting = "conductance",
    given_context: bool = True,
    partitions: Mapping[str, PartitionLike] | None = None,
    budget: int = 400,
    samples: int = 40,
    donors: int = 60,
    contexts: int = 40,
    bins: Bins = 10,
    coding: Coding = "units",
    n_steps: int = 5000,
    seed: int = 0,
    progress: bool = False,
) -> Comparison:
    """Ask whether Q would have told who talks to whom.

    Partitions come from maximising Q under each similarity measure (all recorded layers
    together), from a causal search that starts from these and from random ones, from chance, and
    from the caller. Each is given its Q under every measure, its exchange, and its module score.

    Args:
        rec: A recording. Without targets and loss the Hessian is left out, with integer inputs
            the input sensitivity is.
        n_modules: Modules of the causal search and of the random partitions.
        weighting, given_context: Weighting of the exchange, and of which exchange.
        partitions: Further partitions to set beside, by name (a planted one, say).
        budget, samples: As for `search`.
        donors, contexts, bins, coding: As for `exchange`; the same draws serve all partitions.
        n_steps: Monte Carlo steps of `find_modules`.
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
    found = _find_all(matrices, used, n_steps, seed, progress)
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
    common = _common_set(labels, matrices, judge, weighting, seed, progress)
    agree = agreement_matrix({name: p for name, p in labels.items() if p.n_modules >= 2})
    table["agreement_with_causal"] = agree[CAUSAL].reindex(table.index)
    return Comparison(
        rec=rec,
        partitions=table,
        correlations=_correlations(common, list(matrices)),
        agreement=agree,
        layers=layer_modules(rec, matrices, found, n_steps=n_steps, seed=seed),
        common=common,
        labels=labels,
        modules=found,
        similarities=matrices,
        search=best,
        weighting=weighting,
        skipped=skipped,
    )


def layer_modules(
    rec: Recording,
    matrices: Mapping[str, np.ndarray],
    together: Mapping[str, Modules],
    *,
    n_steps: int = 5000,
    seed: int = 0,
) -> pd.DataFrame:
    """Q*, modules and effective modules of every layer by itself and of all together.

    Args:
        rec: The recording.
        matrices: Similarity of all recorded layers together, by measure; a layer's own matrix is
            its diagonal block.
        together: What was found on the whole matrices.
        n_steps: Monte Carlo steps.
        seed: Seed.

    Returns:
        Columns `layer`, `measure`, `q_star`, `n_modules`, `n_effective`; q_star is nan for a layer
        with fewer than two used units or no similarity between them.
    """
    import pandas as pd

    rows = []
    for layer in rec.units.layers if len(rec.units.layers) > 1 else ():
        index = rec.units.indices(layer)
        for name, matrix in matrices.items():
            block = matrix[np.ix_(index, index)]
            rows.append(_layer_row(layer, name, _modules_of(block, rec, index, n_steps, seed)))
    rows += [_layer_row("all", name, modules) for name, modules in together.items()]
    return pd.DataFrame(rows)


def _modules_of(
    block: np.ndarray, rec: Recording, index: np.ndarray, n_steps: int, seed: int
) -> Modules | None:
    block = _used_only(block, ~rec.units.unused[index])
    if not (block - np.diag(np.diag(block))).any():
        return None
    return find_modules(block, method="lange2022", n_steps=n_steps, seed=seed)


def _layer_row(layer: str, measure: str, modules: Modules | None) -> dict[str, Any]:
    return {
        "layer": layer,
        "measure": measure,
        "q_star": modules.q if modules else float("nan"),
        "n_modules": modules.n_modules if modules else 0,
        "n_effective": modules.n_effective if modules else 0.0,
    }


def _used_only(matrix: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Rows and columns of unused units set to zero, which `find_modules` takes as unused."""
    return matrix * np.outer(used, used)


def _available(rec: Recording) -> tuple[list[str], dict[str, str]]:
    skipped: dict[str, str] = {}
    if rec.targets is None or rec.loss is None:
        reason = "needs targets and a loss: record(model, layers, X, y, loss=...)"
        skipped |= {"hess": reason, "hess_norm": reason}
    if not all(x.is_floating_point() for x in rec.inputs):
        reason = "needs inputs that can be differentiated, these are integers"
        skipped |= {"i_sens": reason, "i_sens_norm": reason}
    return [name for name in MEASURES if name not in skipped], skipped


def _find_all(
    matrices: dict[str, np.ndarray], used: np.ndarray, n_steps: int, seed: int, progress: bool
) -> dict[str, Modules]:
    found = {}
    for name in show_progress(list(matrices), progress, "modules"):
        matrix = _used_only(matrices[name], used)
        if (matrix - np.diag(np.diag(matrix))).any():
            found[name] = find_modules(matrix, method="lange2022", n_steps=n_steps, seed=seed)
    return found


def _q_under(matrices: Mapping[str, np.ndarray], partition: Partition) -> dict[str, float]:
    return {
        f"q_{name}": modularity(_used_only(matrix, ~partition.unused), partition)
        for name, matrix in matrices.items()
    }


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
        row |= _q_under(matrices, partition)
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


def _common_set(
    labels: Mapping[str, Partition],
    matrices: Mapping[str, np.ndarray],
    meter: ExchangeMeter,
    weighting: Weighting,
    seed: int,
    progress: bool,
) -> pd.DataFrame:
    """Every optimum with none to all of its units dealt anew: partitions of all qualities, in
    strata of equal module sizes."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    chosen: dict[Partition, tuple[str, float]] = {}
    for name, partition in labels.items():
        if partition.n_modules >= 2:
            for share in SHARES:
                chosen.setdefault(perturbed(partition, share, rng), (name, share))
    rows = []
    for partition in show_progress(list(chosen), progress, "common set"):
        measured = meter(partition, weighting)
        stratum, share = chosen[partition]
        rows.append(
            {
                "stratum": stratum,
                "dealt_anew": share,
                **_q_under(matrices, partition),
                "bits": measured.bits,
                "bits_given_context": measured.bits_given_context,
                "weighted": measured.weighted,
            }
        )
    return pd.DataFrame(rows)


def perturbed(partition: Partition, share: float, rng: np.random.Generator) -> Partition:
    """The partition with that share of its units' labels dealt out among themselves.

    Examples:
        >>> perturbed(Partition([0, 0, 1, 1]), 0.0, np.random.default_rng(0)).labels.tolist()
        [0, 0, 1, 1]
    """
    labels = partition.labels.copy()
    units = np.flatnonzero(labels >= 0)
    picked = rng.choice(units, round(share * len(units)), replace=False)
    labels[picked] = rng.permutation(labels[picked])
    return Partition(labels)


def _correlations(common: pd.DataFrame, measures: list[str]) -> pd.DataFrame:
    """Spearman and Kendall correlation of Q with -exchange within each stratum, averaged."""
    import pandas as pd

    rows = {}
    for name in measures:
        row = {}
        for what in QUANTITIES:
            inside = [
                _rank_correlations(group[f"q_{name}"].to_numpy(), -group[what].to_numpy())
                for _, group in common.groupby("stratum")
            ]
            known = np.array([pair for pair in inside if pair is not None]).reshape(-1, 2)
            spearman, kendall = known.mean(0) if len(known) else (np.nan, np.nan)
            row[f"spearman_{what}"], row[f"kendall_{what}"] = float(spearman), float(kendall)
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("measure")


def _rank_correlations(q: np.ndarray, exchange: np.ndarray) -> tuple[float, float] | None:
    from scipy.stats import kendalltau, spearmanr

    finite = np.isfinite(exchange)
    q, exchange = q[finite], exchange[finite]
    if len(np.unique(q)) < 3 or len(np.unique(exchange)) < 3:
        return None
    return float(spearmanr(q, exchange)[0]), float(kendalltau(q, exchange)[0])  # type: ignore[arg-type]
