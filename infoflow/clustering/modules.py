"""Modules: what `find_modules` found, and the trace of how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from infoflow._notebook import card
from infoflow.partition import Partition
from infoflow.saving import Saved

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Trace:
    """The Monte Carlo search step by step (figures S2 and onwards of Lange et al. 2022).

    Attributes:
        score: `(n_steps,)` Q after each step.
        temperature: `(n_steps,)` τ in units of Q; 0 where the best moves tie and no τ > 0 has the
            entropy asked for.
        entropy: `(n_steps,)` nats, of the distribution that each step drew from.
    """

    score: np.ndarray
    temperature: np.ndarray
    entropy: np.ndarray

    def to_frame(self) -> pd.DataFrame:
        """One row a step."""
        import pandas as pd

        return pd.DataFrame(vars(self)).rename_axis("step")

    def __repr__(self) -> str:
        return f"Trace({len(self.score)} steps)"


@dataclass(frozen=True, eq=False)
class Modules(Saved):
    """The best partition found of a similarity matrix.

    Attributes:
        partition: P*; units without any similarity to others are unused (-1).
        q: Q* = Q(P*), eq. 6.
        upper_bound: No partition has a larger Q.
        proven_optimal: The bound is reached: no partition is better by more than 1e-7.
        method: The method that found it.
        seed: Its seed.
        trace: Step by step, for methods with Monte Carlo steps.
    """

    partition: Partition
    q: float
    upper_bound: float
    proven_optimal: bool
    method: str
    seed: int
    trace: Trace | None = None

    @property
    def n_effective(self) -> float:
        """Effective number of modules, exp(entropy of module sizes) (eq. 8)."""
        return self.partition.n_effective

    @property
    def n_modules(self) -> int:
        """Number of modules."""
        return self.partition.n_modules

    def to_frame(self) -> pd.DataFrame:
        """One row a unit: `unit` and its `module` (-1: unused)."""
        import pandas as pd

        labels = self.partition.labels
        return pd.DataFrame({"unit": np.arange(len(labels)), "module": labels})

    def _repr_html_(self) -> str:
        import pandas as pd

        facts = {
            "Q": f"{self.q:.4f}",
            "upper bound": "reached" if self.proven_optimal else f"{self.upper_bound:.4f}",
            "modules": f"{self.n_modules} ({self.n_effective:.2f} effective)",
            "units": f"{len(self.partition)}{self.partition.said_unused}",
            "method": self.method,
        }
        own = {"module": self.partition.names, "units": self.partition.sizes}
        return card("Modules of largest Q", facts, pd.DataFrame(own))

    def __repr__(self) -> str:
        proof = "proven optimal" if self.proven_optimal else f"at most {self.upper_bound:.4f}"
        return (
            f"Modules(q={self.q:.4f} ({proof}), {self.n_modules} modules, "
            f"{self.n_effective:.2f} effective{self.partition.said_unused}, "
            f"method={self.method!r})"
        )
