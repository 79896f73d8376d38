"""A partition's exchange against that of shuffled units."""

from __future__ import annotations

import numpy as np

from infoflow.exchanges import ExchangeMeter, PartitionLike
from infoflow.measured import Null, Weighting


def shuffled_units(
    meter: ExchangeMeter,
    partition: PartitionLike,
    *,
    weighting: Weighting = "ncut",
    n: int = 99,
    seed: int = 0,
) -> Null:
    """Weighted exchange of a partition against that with the units of each layer shuffled.

    Module sizes, and how many units of each layer a module has, stay. The p-value holds for a
    partition that was given beforehand: planted, of a similarity measure, of another network. The
    best of a search is nearly always below all its shuffles, also where nothing is planted and on
    fresh draws; whether there are modules at all `how_many` tests.

    The p-value places a partition among others of its kind. It is no test that the network has
    modules where a search has chosen the partition by what it exchanges: then it is small in any
    network, for fresh draws undo the luck of the draws, not the choice among partitions.

    Raises:
        ValueError: As the meter does, or n < 1.

    Examples:
        >>> import torch, infoflow as ifl
        >>> from infoflow.exchanges import ExchangeMeter
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 4))
        >>> rec = ifl.record(net, ["1", "2"], torch.randn(100, 4))
        >>> shuffled_units(ExchangeMeter(rec), [0, 0, 1, 0, 0, 1, 1], n=9).p_value > 0
        True
    """
    if n < 1:
        raise ValueError(f"expected n >= 1, got {n}")
    cleaned = meter.checked(partition)
    rng = np.random.default_rng(seed)
    layer = meter.rec.units.layer_index
    drawn = []
    for _ in range(n):
        shuffled = cleaned
        for position in np.unique(layer):
            own = np.flatnonzero((layer == position) & ~cleaned.unused)
            shuffled = shuffled.shuffled(rng, own)
        drawn.append(shuffled)
    values = meter.values([cleaned, *drawn], weighting).weighted
    return Null(float(values[0]), values[1:], True, f"{weighting}, units shuffled")
