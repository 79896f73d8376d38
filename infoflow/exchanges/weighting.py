"""Weightings: what an exchange is divided by, since small modules send little anyway."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from infoflow.exchanges.traffic import Traffic
from infoflow.measured import WEIGHTINGS, Weighting, check_weighting
from infoflow.partition import Partition

__all__ = ["WEIGHTINGS", "Weighting", "check_weighting", "weigh"]


def weigh(
    weighting: Weighting,
    flow: np.ndarray,
    partition: Partition,
    traffic: Callable[[], Traffic],
    chance: Callable[[], tuple[float, float]],
) -> float:
    """The weighted exchange of a partition.

    | weighting | exchange is divided by |
    |---|---|
    | none | 1 |
    | min_size | units in the smallest module |
    | pairs | ordered pairs of units in different modules |
    | min_entropy | entropy of the least varied module, unit by unit |
    | cut_connections | ordered pairs of units in different modules that layers connect |
    | conductance | traffic of the least busy module: sent and received by its units, inside too |
    | ncut | each module's own traffic: Σ_a (sent + received by a) / traffic of a |
    | size_null | mean exchange of random partitions with the same module sizes |
    | size_z | their standard deviation, after their mean is taken off (may be negative) |

    Args:
        weighting: One of the names above.
        flow: `(k, k)` bits from module to module, diagonal 0.
        partition: The partition, unused units at -1.
        traffic: Gives the network's `Traffic`; called only where needed.
        chance: Gives mean and standard deviation of the exchange of same-size random partitions,
            likewise.

    Returns:
        The weighted value; inf where the divisor is 0 (a module without any traffic).
    """
    total = float(flow.sum())
    if weighting == "none":
        return total
    if weighting == "ncut":
        volume = traffic().volume(partition)
        crossing = flow.sum(0) + flow.sum(1)
        return sum(_ratio(c, v) for c, v in zip(crossing, volume, strict=True))
    if weighting == "size_null":
        return _ratio(total, chance()[0])
    if weighting == "size_z":
        mean, spread = chance()
        return _ratio(total - mean, spread)
    return _ratio(total, _divisor(weighting, partition, traffic))


def _divisor(weighting: str, partition: Partition, traffic: Callable[[], Traffic]) -> float:
    if weighting == "min_size":
        return float(partition.sizes.min())
    labels = partition.labels
    used = labels >= 0
    apart = (labels[:, None] != labels) & used[:, None] & used
    if weighting == "pairs":
        return float(apart.sum())
    if weighting == "cut_connections":
        return float((apart & traffic().connected).sum())
    if weighting == "min_entropy":
        entropy = traffic().entropy
        return min(float(entropy[module].sum()) for module in partition.modules)
    return float(traffic().volume(partition).min())


def _ratio(value: float, divisor: float) -> float:
    return float(value) / float(divisor) if divisor > 0 else float("inf")
