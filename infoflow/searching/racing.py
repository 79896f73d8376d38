"""Racing: many candidates on few samples, the few best on many."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from infoflow.exchanges import ExchangeMeter, PartitionLike
from infoflow.measured import SEARCH, Objective, Weighting
from infoflow.partition import Partition
from infoflow.recording import Recording


def race(
    rec: Recording,
    partitions: Iterable[PartitionLike],
    *,
    weighting: Weighting = "ncut",
    rounds: Sequence[tuple[int, int]] = ((15, 15), (40, 30), (100, 60)),
    keep: float = 0.25,
    seed: int = 0,
    given_context: bool = True,
) -> list[tuple[Partition, float]]:
    """Successive halving: every round has more donors and contexts, and fewer candidates.

    All candidates of a round are measured with the same draws, so that their differences are
    sharper than their values.

    Args:
        rec: A recording.
        partitions: Candidates.
        weighting: Of the exchange.
        rounds: Donors and contexts of each round.
        keep: Share of the candidates that goes on to the next, at least two of them.
        seed: Every round draws its own samples from it.
        given_context: As for `exchange`.

    Returns:
        Those of the last round with their weighted exchange, best first.

    Raises:
        ValueError: No candidates, no rounds, or a share outside (0, 1].

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2))
        >>> rec = ifl.record(net, ["1", "2"], torch.randn(100, 4))
        >>> len(race(rec, [[0, 0, 1, 0, 1], [0, 1, 0, 1, 0], [0, 1, 1, 0, 1]]))
        2
    """
    if not 0 < keep <= 1 or not rounds:
        raise ValueError(f"expected keep in (0, 1] and at least one round, got {keep}, {rounds}")
    meter = ExchangeMeter(rec)
    left = list(dict.fromkeys(meter.checked(p) for p in partitions))
    if not left:
        raise ValueError("expected at least one partition, got none")
    values = np.zeros(len(left))
    for number, (donors, contexts) in enumerate(rounds):
        meter = ExchangeMeter(
            rec,
            replace(SEARCH, donors=donors, contexts=contexts, seed=seed + 7919 * number),
            Objective(weighting, given_context),
            traffic=meter.traffic if number else None,
        )  # fmt: skip
        values = meter.values(left, weighting)[:, 0]
        order = np.argsort(values, kind="stable")
        if number < len(rounds) - 1:
            order = order[: max(2, int(np.ceil(keep * len(left))))]
        left, values = [left[i] for i in order], values[order]
    return list(zip(left, values.tolist(), strict=True))
