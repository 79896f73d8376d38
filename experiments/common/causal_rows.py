"""The causal module score of one network, and that of the partitions which Q prefers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from infoflow.agreements import element_similarity
from infoflow.clustering import find_modules
from infoflow.exchanges import Exchange, ExchangeMeter, Values
from infoflow.measured import SEARCH, Objective, Weighting
from infoflow.partition import Partition
from infoflow.recording import Recording
from infoflow.searching import ModuleScore, search
from infoflow.searching.score import score_against
from infoflow.searching.space import divided_units, random_partitions
from infoflow.study import encode
from infoflow.unit_similarity import similarities

SEARCHED = "causal"
"""Source of the searched partition, as in the saved rows (a row of `compare` has another name)."""


def measure_causal(
    rec: Recording,
    *,
    measures: Sequence[str] | None = None,
    n_modules: int = 2,
    weighting: Weighting = "ncut",
    budget: int = 400,
    samples: int = 40,
    donors: int = 60,
    contexts: int = 40,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Module scores of one network, all recorded layers together: one row a source of partitions,
    `"causal"` for the search, then every measure for its partition of largest Q.

    The search does not start from Q's partitions, so that its score owes nothing to them. All
    partitions are judged on the same fresh donors and contexts, among the same units (those
    that send or receive anything detectable) and against the same random partitions.

    Args:
        rec: A recording.
        measures: Similarity measures; None: all eight, or those that the recording allows.
        n_modules: Modules of every partition.
        weighting: Of the exchange, given the context; selects and scores.
        budget: Partitions that the search measures.
        samples: Random partitions for the mean.
        donors, contexts: Samples drawn for every intervention.
        seed: Seed of everything.

    Returns:
        Rows with `source`, `q` (under that measure), `score` (mean of random ÷ this) and
        `score_se`, `log_score` (base 2, finite for isolated modules), `isolated`, `weighted`,
        `bits_given_context`, `bits`, `score_plain` and `score_plain_se` (the same score of
        plain bits), `n_units`, `smallest` (units of the smallest module), `agreement` (with the
        causal partition) and `partition` as text. A measure whose partition leaves one module of
        these units has none of the numbers.

    Raises:
        ValueError: Fewer than `n_modules` units that send or receive anything.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> rec = ifl.record(net, ["0", "2"], torch.randn(60, 4))
        >>> rows = measure_causal(rec, measures=["cov"], budget=20, samples=10)
        >>> [row["source"] for row in rows], rows[0]["agreement"]
        (['causal', 'cov'], 1.0)
    """
    meter = ExchangeMeter(rec, replace(SEARCH, donors=donors, contexts=contexts, seed=seed))
    best = search(
        rec, n_modules=n_modules, weighting=weighting, budget=budget, samples=samples,
        seed=seed, meter=meter,
    )  # fmt: skip
    heard = divided_units(meter, n_modules)
    judge = Judge.of(meter, heard, n_modules, weighting, samples)
    rows = [{**judge(best.partition), "source": SEARCHED, "q": None, "agreement": 1.0}]
    for measure, (q, partition) in _of_q(rec, measures, n_modules, seed):
        row = judge(partition.without(~heard))
        agreement = element_similarity(partition, best.partition)
        rows.append({**row, "source": measure, "q": q, "agreement": agreement})
    return rows


def _of_q(
    rec: Recording, measures: Sequence[str] | None, n_modules: int, seed: int
) -> Iterator[tuple[str, tuple[float | None, Partition]]]:
    """The partition of largest Q under every measure, and that Q; where nothing resembles
    anything, no modules."""
    for measure, S in similarities(rec, measures).items():
        linked = (S - np.diag(np.diag(S))).any(0)
        if linked.sum() < n_modules:
            yield measure, (None, Partition(np.full(len(S), -1)))
            continue
        found = find_modules(S, n_modules=n_modules, seed=seed)
        yield measure, (found.q, found.partition)


@dataclass(frozen=True)
class Judge:
    """Scores partitions of one network on common draws, against common random partitions.

    Attributes:
        meters: Given the context and plain, on the same donors and contexts.
        weighting: Weighting of both.
        random: For both, what random partitions exchange.
    """

    meters: tuple[ExchangeMeter, ExchangeMeter]
    weighting: Weighting
    random: tuple[Values, Values]

    @staticmethod
    def of(
        meter: ExchangeMeter, heard: np.ndarray, n_modules: int, weighting: Weighting, samples: int
    ) -> Judge:
        """On draws that `meter` has not seen; random partitions of the units in `heard`."""
        given = meter.fresh()
        plain = ExchangeMeter(meter.rec, given.draws, Objective(weighting, given_context=False))
        drawn = list(islice(random_partitions(heard, n_modules, given.draws.seed), samples))
        random = given.values(drawn, weighting), plain.values(drawn, weighting)
        return Judge((given, plain), weighting, random)

    def __call__(self, partition: Partition) -> dict[str, Any]:
        """Columns of one partition."""
        columns = {
            "partition": encode(partition),
            "n_units": int(partition.sizes.sum()),
            "smallest": int(min(partition.sizes, default=0)),
        }
        if partition.n_modules < 2:
            return {**dict.fromkeys(_NUMBERS), **columns}
        (given, score, se), (plain, score_plain, se_plain) = (
            self._score(partition, meter, random)
            for meter, random in zip(self.meters, self.random, strict=True)
        )
        numbers = {
            "score": score.ratio,
            "score_se": se,
            "log_score": score.log_ratio,
            "isolated": score.isolated,
            "weighted": score.minimum,
            "bits_given_context": given.bits_given_context,
            "bits": plain.bits,
            "score_plain": score_plain.ratio,
            "score_plain_se": se_plain,
        }
        return {**numbers, **columns}

    def _score(
        self, partition: Partition, meter: ExchangeMeter, random: Values
    ) -> tuple[Exchange, ModuleScore, float]:
        """What it exchanges, its score, and the standard error of the score's ratio (the errors
        of mean and minimum taken as independent; they share draws, so it is no less)."""
        measured = meter(partition, self.weighting)
        score = score_against(random, measured, meter.floor)
        if measured.amount <= 0:
            return measured, score, float("inf")
        relative = np.hypot(score.se / score.mean, measured.amount_se / measured.amount)
        return measured, score, float(score.ratio * relative)


_NUMBERS = (
    "score", "score_se", "log_score", "isolated", "weighted", "bits_given_context", "bits",
    "score_plain", "score_plain_se",
)  # fmt: skip
