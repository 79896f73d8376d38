"""The module score: mean exchange of random partitions over that of the best one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from infoflow.exchange import Exchange
from infoflow.search.sampling import mean_and_se

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ModuleScore:
    """How much less the best partition's modules exchange than those of a random partition.

    Attributes:
        mean: Mean weighted exchange of random partitions.
        se: Its standard error.
        n_samples: Random partitions it rests on.
        minimum: Weighted exchange of the best partition, on fresh donors and contexts.
        floor: Detection floor of `minimum` in the same weighted units: two standard errors, at
            least what one changed code among all runs amounts to.
        weighting: Weighting of all of these.
        raw_mean, raw_minimum: The same two in bits, unweighted.
        given_context: Whether those bits are given the context, or plain.
    """

    mean: float
    se: float
    n_samples: int
    minimum: float
    floor: float
    weighting: str
    raw_mean: float
    raw_minimum: float
    given_context: bool

    @property
    def ratio(self) -> float:
        """mean / minimum, the score of the yardstick post; inf where nothing is exchanged."""
        return self.mean / self.minimum if self.minimum > 0 else float("inf")

    @property
    def log_ratio(self) -> float:
        """log2((mean + floor) / (minimum + floor)): finite also for isolated modules."""
        return float(np.log2((self.mean + self.floor) / (max(self.minimum, 0.0) + self.floor)))

    @property
    def bounded(self) -> float:
        """1 - minimum / mean: 1 for isolated modules, 0 for no better than random."""
        return 1 - max(self.minimum, 0.0) / self.mean if self.mean > 0 else 0.0

    @property
    def isolated(self) -> bool:
        """The best partition's exchange cannot be told from nothing."""
        return self.minimum <= self.floor

    def to_frame(self) -> pd.DataFrame:
        """One row with every attribute and derived value."""
        import pandas as pd

        derived = {
            "ratio": self.ratio,
            "log_ratio": self.log_ratio,
            "bounded": self.bounded,
            "isolated": self.isolated,
        }
        return pd.DataFrame([{**derived, **asdict(self)}])

    def __repr__(self) -> str:
        tail = ", isolated" if self.isolated else ""
        return (
            f"ModuleScore(ratio {self.ratio:.3g}, mean {self.mean:.4g} ± {self.se:.2g} over "
            f"{self.n_samples} random partitions, minimum {self.minimum:.4g}, "
            f"{self.weighting}{tail})"
        )


def score_against(
    sampled: np.ndarray, sampled_bits: np.ndarray, best: Exchange, resolution: float
) -> ModuleScore:
    """The score of `best` against random partitions.

    Args:
        sampled: `(samples,)` weighted exchange of random partitions.
        sampled_bits: `(samples,)` the same in bits, unweighted.
        best: The exchange of the partition to score, under the same weighting.
        resolution: Bits that one changed code amounts to.
    """
    mean, se = mean_and_se(sampled)
    raw_mean = float(sampled_bits.mean())
    if best.amount > 0 and np.isfinite(best.weighted):
        per_bit = best.weighted / best.amount
    else:
        per_bit = mean / raw_mean if raw_mean > 0 else 1.0
    return ModuleScore(
        mean=mean,
        se=se,
        n_samples=len(sampled),
        minimum=best.weighted,
        floor=max(2 * best.amount_se, resolution) * per_bit,
        weighting=best.weighting,
        raw_mean=raw_mean,
        raw_minimum=best.amount,
        given_context=best.given_context,
    )
