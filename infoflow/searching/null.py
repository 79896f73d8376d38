"""What the module score is where there are no modules: shuffled units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from infoflow.exchanges import ExchangeMeter, PartitionLike
from infoflow.exchanges.weighting import Weighting
from infoflow.partition import Partition

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class NullDistribution:
    """A value beside those that chance gives.

    Attributes:
        observed: The value.
        null: `(N,)` what it is where there is nothing.
        smaller_is_better: Whether small values speak for modules.
        what: The value's name, and how the null was made.
    """

    observed: float
    null: np.ndarray
    smaller_is_better: bool
    what: str

    @property
    def p_value(self) -> float:
        """Share of the null that is at least as good, the observed one counted in."""
        sign = 1 if self.smaller_is_better else -1
        as_good = int((sign * self.null <= sign * self.observed).sum())
        return (1 + as_good) / (1 + len(self.null))

    def to_frame(self) -> pd.DataFrame:
        """One row per null value."""
        import pandas as pd

        return pd.DataFrame({self.what: self.null})

    def __repr__(self) -> str:
        low, high = np.percentile(self.null, [5, 95])
        return (
            f"NullDistribution({self.what}: {self.observed:.4g}, null {low:.4g} to {high:.4g} "
            f"(5 to 95 %), p = {self.p_value:.3g})"
        )


def shuffled_units(
    meter: ExchangeMeter,
    partition: PartitionLike,
    *,
    weighting: Weighting = "ncut",
    n: int = 99,
    seed: int = 0,
) -> NullDistribution:
    """Weighted exchange of a partition against that with the units of each layer shuffled.

    Module sizes, and how many units of each layer a module has, stay. Use a meter whose donors
    and contexts the partition was not chosen on (`meter.fresh()`).

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
        labels = cleaned.labels.copy()
        for position in np.unique(layer):
            own = np.flatnonzero((layer == position) & ~cleaned.unused)
            labels[own] = rng.permutation(labels[own])
        drawn.append(Partition(labels))
    values = meter.values([cleaned, *drawn], weighting)[:, 0]
    return NullDistribution(float(values[0]), values[1:], True, f"{weighting}, units shuffled")
