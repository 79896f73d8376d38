"""Does Q track the exchange? A common set of partitions and rank correlations within strata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from infoflow.compare.optima import q_under
from infoflow.exchange import ExchangeMeter
from infoflow.exchange.weighting import Weighting
from infoflow.partition import Partition
from infoflow.record import show_progress

if TYPE_CHECKING:
    import pandas as pd

SHARES = (0.0, 0.05, 0.1, 0.2, 0.33, 0.5, 0.67, 1.0)
QUANTITIES = ("bits", "bits_given_context", "weighted")


def common_set(
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
                **q_under(matrices, partition),
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


def correlations(common: pd.DataFrame, measures: list[str]) -> pd.DataFrame:
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
