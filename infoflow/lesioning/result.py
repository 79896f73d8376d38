"""Lesions: what each module is needed for, and how far modules differ in it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from infoflow.partition import Partition
from infoflow.saving import Saved
from infoflow.units import UnknownName, unknown_name

if TYPE_CHECKING:
    import pandas as pd

ALL = ""
"""The task of everything together."""


class Specialisation(NamedTuple):
    """How far modules differ in what they are needed for.

    Attributes:
        bits: I(module; task) of damage as a joint distribution, what noise adds taken off; at most
            log2 of the fewer of both. 0: every module hurts all tasks in the same proportions.
        se: Standard error.
        floor: 95th percentile of `bits` where modules differ by noise alone.
    """

    bits: float
    se: float
    floor: float


@dataclass(frozen=True, eq=False)
class Lesions(Saved):
    """What is done worse when a module is resampled, module by module.

    Attributes:
        partition: The modules, units that never change at -1.
        table: One row a module, measure and task (`to_frame`).
        donors: Donors that every sample met.
        disjoint: Measures whose tasks rest on different samples, as classes do.

    The damage of a measure is positive where the network does worse: "loss" how much the loss
    rises, "accuracy" how much accuracy falls, "change" the mean square change of the outputs over
    twice their variance (0: none; 1: as if they were those of another sample), "task" the rise of
    what the caller's own functions give.
    """

    partition: Partition
    table: pd.DataFrame
    donors: int
    disjoint: tuple[str, ...] = ()

    @property
    def measures(self) -> tuple[str, ...]:
        """Measures that there are of single tasks; the first is meant where none is named."""
        names = set(self.table["measure"][self.table["task"] != ALL])
        return tuple(name for name in ("task", "accuracy", "change", "loss") if name in names)

    def _named(self, measure: str | None) -> str:
        if not self.measures:
            raise ValueError(
                "no single task was measured: the targets are no classes and the outputs too many; "
                "pass lesions(..., tasks={name: function})"
            )
        if measure is not None and measure not in self.measures:
            raise UnknownName(unknown_name("measure", measure, self.measures))
        return self.measures[0] if measure is None else measure

    def to_frame(self) -> pd.DataFrame:
        """The table: `module` (the label it was given), `units`, `measure`, `task` (a class, an
        output, the name of the caller's; empty: everything), `normal` and `lesioned` value,
        `damage` and its standard error `se`."""
        return self.table.copy()

    def damage(self, measure: str | None = None, *, value: str = "damage") -> pd.DataFrame:
        """Modules × tasks: the damage by one measure, or its "se", "normal", "lesioned" values.

        Raises:
            UnknownName: A measure that there is not.
            ValueError: No single task was measured.
        """
        measure = self._named(measure)
        rows = self.table[(self.table["measure"] == measure) & (self.table["task"] != ALL)]
        found = rows.pivot(index="module", columns="task", values=value)
        return found.loc[list(self.partition.names), list(dict.fromkeys(rows["task"]))]

    def specialisation(
        self, measure: str | None = None, *, draws: int = 200, seed: int = 0
    ) -> Specialisation:
        """How far the modules' damage profiles over tasks differ, in bits.

        The damage d[m, t], nothing where a task gets better, is read as a joint distribution
        d / Σd of modules and tasks, and their mutual information is taken. What noise adds, and
        the standard error, are found by adding noise of the size of the standard errors to the
        damage; the floor by adding it to a damage that is a product of modules and tasks.

        Args:
            measure: One of `measures`; None: the first of them.
            draws: Draws of the noise.
            seed: Of the draws.

        Returns:
            A `Specialisation`; nan where nothing is hurt at all.

        Raises:
            UnknownName: A measure that there is not.
        """
        damage, se = (self.damage(measure, value=v).to_numpy(float) for v in ("damage", "se"))
        noise = se * np.random.default_rng(seed).standard_normal((draws, *damage.shape))
        kept = damage.clip(0)
        if not kept.sum() > 0:
            return Specialisation(np.nan, np.nan, np.nan)
        alike = kept.sum(1, keepdims=True) * kept.sum(0) / kept.sum()
        bits, noisy = _dependence(damage), _dependence(damage + noise)
        nothing = _dependence(alike + noise)
        bias = np.nanmean(noisy) - bits
        floor = np.nanquantile(nothing, 0.95) - np.nanmean(nothing)
        return Specialisation(float(bits - bias), float(np.nanstd(noisy)), float(floor))

    def dissociations(self, measure: str | None = None, *, level: float = 0.95) -> pd.DataFrame:
        """Double dissociations: pairs of modules and of tasks where the one module hurts the one
        task more, and the other module the other.

        Module a hurts task i more than j where the interval of d[a, i] - d[a, j] lies above 0;
        intervals hold together for all modules and pairs of tasks (Bonferroni). Errors of tasks
        that share samples are added, which is the most that they can make.

        Args:
            measure: One of `measures`; None: the first of them.
            level: Of the intervals.

        Returns:
            One row each, the clearest first: `module_a`, `task_i`, `more_a` (d[a, i] - d[a, j]),
            `low_a` (of its interval), `module_b`, `task_j`, `more_b` (d[b, j] - d[b, i]), `low_b`.

        Raises:
            UnknownName: A measure that there is not.
        """
        import pandas as pd
        from scipy.stats import norm

        measure = self._named(measure)
        damage, se = self.damage(measure), self.damage(measure, value="se").to_numpy(float)
        values, (k, tasks) = damage.to_numpy(float), damage.shape
        more = values[:, :, None] - values[:, None]  # [a, i, j]: how much more a hurts i than j
        one, other = se[:, :, None], se[:, None]
        error = np.hypot(one, other) if measure in self.disjoint else one + other
        contrasts = max(k * tasks * (tasks - 1) // 2, 1)
        low = more - norm.ppf(1 - (1 - level) / 2 / contrasts) * error
        found = []
        for a, b in combinations(range(k), 2):
            for i, j in zip(*np.nonzero((low[a] > 0) & (low[b].T > 0)), strict=True):
                found.append(
                    (damage.index[a], damage.columns[i], more[a, i, j], low[a, i, j],
                     damage.index[b], damage.columns[j], more[b, j, i], low[b, j, i])
                )  # fmt: skip
        names = ["module_a", "task_i", "more_a", "low_a", "module_b", "task_j", "more_b", "low_b"]
        frame = pd.DataFrame(found, columns=names)
        clearest = frame[["low_a", "low_b"]].min(axis=1).sort_values(ascending=False, kind="stable")
        return frame.loc[clearest.index].reset_index(drop=True)

    def __repr__(self) -> str:
        parts = []
        found: Any = self.table[self.table["task"] == ALL].groupby("measure", sort=False)
        for measure, rows in found:
            worst = rows.loc[rows["damage"].idxmax()]
            start, end = (float(worst[name]) for name in ("normal", "lesioned"))
            parts.append(f"{measure} {start:.3g} to {end:.3g} without module {worst['module']}")
        said = f"{self.partition.n_modules} modules{self.partition.said_unused}"
        return f"Lesions({said}; at worst {'; '.join(parts)})"


def _dependence(damage: np.ndarray) -> np.ndarray:
    """I(module; task) in bits of damage `(..., k, T)` as a joint distribution; nan of none."""
    kept = damage.clip(0)
    joint = kept / np.where((total := kept.sum((-2, -1), keepdims=True)) > 0, total, np.nan)
    product = joint.sum(-1, keepdims=True) * joint.sum(-2, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        terms = np.where(joint > 0, joint * np.log2(joint / product), 0.0 * joint)
    return terms.sum((-2, -1))
