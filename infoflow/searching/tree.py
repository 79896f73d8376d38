"""Modules within modules: search inside a found module, as long as what is found is significant."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from infoflow.exchanges import ExchangeMeter
from infoflow.measured import SEARCH, Budget, Weighting
from infoflow.partition import Partition
from infoflow.recording import Recording
from infoflow.searching.null import shuffled_units
from infoflow.searching.run import search
from infoflow.searching.score import ModuleScore

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class ModuleTree:
    """A module, and the modules within it.

    Attributes:
        units: `(m,)` flat indices of its units.
        children: The modules that it divides into; empty for one that does not.
        score: Module score of that division, None if there were too few units to try.
        p_value: Of its exchange against units shuffled within layers.
        why: Why it was not divided, empty if it was.
    """

    units: np.ndarray
    children: tuple[ModuleTree, ...]
    score: ModuleScore | None
    p_value: float
    why: str

    @property
    def leaves(self) -> list[ModuleTree]:
        """Modules that do not divide, from left to right."""
        return [leaf for c in self.children for leaf in c.leaves] if self.children else [self]

    @property
    def depth(self) -> int:
        """Levels below this module."""
        return 1 + max(c.depth for c in self.children) if self.children else 0

    def partition(self, n: int, level: int | None = None) -> Partition:
        """The modules so many levels down (None: the leaves) as a partition of n units."""
        return Partition.from_modules([m.units for m in self._at(level)], n)

    def _at(self, level: int | None) -> list[ModuleTree]:
        if level == 0 or not self.children:
            return [self]
        return [m for c in self.children for m in c._at(None if level is None else level - 1)]

    def to_frame(self) -> pd.DataFrame:
        """One row a module: `path`, `units`, `divides`, `score` (log2), `p_value`, `why`."""
        import pandas as pd

        return pd.DataFrame(self._rows("root"))

    def _rows(self, path: str) -> list[dict[str, Any]]:
        own = {
            "path": path,
            "units": len(self.units),
            "divides": len(self.children),
            "score": float("nan") if self.score is None else self.score.log_ratio,
            "p_value": self.p_value,
            "why": self.why,
        }
        return [own] + [
            row for i, child in enumerate(self.children) for row in child._rows(f"{path}.{i}")
        ]

    def __repr__(self) -> str:
        return "\n".join(self._lines("", ""))

    def _lines(self, first: str, rest: str) -> list[str]:
        if self.children and self.score is not None:
            told = f"score {self.score.ratio:.3g}, p = {self.p_value:.2g}"
        else:
            told = self.why
        lines = [f"{first}{len(self.units)} units: {told}"]
        for number, child in enumerate(self.children, 1):
            last = number == len(self.children)
            lines += child._lines(
                rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  ")
            )
        return lines

    def plot(self, *, ax: Any = None) -> Any:
        """The tree from above: bars as wide as modules, each over the modules it divides into."""
        if ax is None:
            from matplotlib.figure import Figure

            ax = Figure(figsize=(6, 1 + 0.6 * self.depth), layout="constrained").subplots()
        self._draw(ax, 0.0, 0)
        ax.set(xlim=(0, len(self.units)), ylim=(-self.depth - 1, 0), yticks=[], xlabel="units")
        return ax

    def _draw(self, ax: Any, left: float, level: int) -> None:
        width = len(self.units)
        ax.barh(-level - 0.5, width, 0.8, left, color=f"C{level}", edgecolor="white")
        text = f"{width}" + (f"\np {self.p_value:.2g}" if self.children else "")
        ax.text(left + width / 2, -level - 0.5, text, ha="center", va="center", fontsize=7)
        for child in self.children:
            child._draw(ax, left, level + 1)
            left += len(child.units)


def hierarchy(
    rec: Recording,
    *,
    n_modules: int | range | None = 2,
    weighting: Weighting = "ncut",
    alpha: float = 0.05,
    smallest: int = 4,
    deepest: int = 6,
    n_null: int = 99,
    donors: Budget = SEARCH.donors,
    contexts: Budget = SEARCH.contexts,
    seed: int = 0,
    **options: Any,
) -> ModuleTree:
    """Divide the network, then every module found, until nothing significant is left.

    A module is divided as if its units were all there is: the others are left alone, at what the
    context gives them. A division stands if its exchange, on fresh donors and contexts, is below
    that of all but `alpha` of the same division with the units of each layer shuffled.

    Args:
        rec: A recording.
        n_modules: As for `search`, at each division.
        weighting: Of the exchange.
        alpha: Level of significance; with the number of divisions tried, a Bonferroni bound.
        smallest: A module of fewer units is not divided.
        deepest: Levels at most.
        n_null: Shuffles per division; 1 / (n_null + 1) is the smallest p-value.
        donors, contexts, seed: As for `search`.
        options: Further ones for `search`: `budget`, `samples`, `method`.

    Raises:
        ValueError: alpha outside (0, 1), or below what n_null shuffles can tell; as `search`.

    Examples:
        >>> import infoflow as ifl
        >>> from infoflow import toys
        >>> toy = toys.load_modules("isolated_tracks")
        >>> tree = hierarchy(toy.record(), budget=60, samples=10)
        >>> tree.partition(8, level=1) == toy.planted[0]
        True
    """
    if not 1 / (n_null + 1) <= alpha < 1:
        raise ValueError(
            f"expected alpha in [{1 / (n_null + 1):.3g}, 1): {n_null} shuffles tell no smaller "
            f"p-value; got {alpha}"
        )
    settings = {**options, "n_modules": n_modules, "weighting": weighting, "seed": seed}
    meter = ExchangeMeter(rec, replace(SEARCH, donors=donors, contexts=contexts, seed=seed))
    everyone = np.flatnonzero(~rec.units.unused)
    return _divided(meter, everyone, settings, alpha, max(smallest, 2), deepest, n_null)


def _divided(
    meter: ExchangeMeter,
    units: np.ndarray,
    settings: dict[str, Any],
    alpha: float,
    smallest: int,
    levels: int,
    n_null: int,
) -> ModuleTree:
    def leaf(why: str, score: ModuleScore | None = None, p: float = 1.0) -> ModuleTree:
        return ModuleTree(units, (), score, p, why)

    if len(units) < smallest or levels == 0:
        return leaf("too small to divide" if levels else "deepest level")
    inside = meter.within(units)
    if (~inside.traffic.silent & ~inside.left_out).sum() < smallest:
        return leaf("too few units that exchange anything")
    found = search(meter.rec, meter=inside, **settings)
    null = shuffled_units(
        inside.fresh(), found.partition, weighting=settings["weighting"], n=n_null,
        seed=settings["seed"],
    )  # fmt: skip
    if null.p_value > alpha:
        return leaf(f"no significant division (p = {null.p_value:.2g})", found.score, null.p_value)
    children = tuple(
        _divided(meter, module, settings, alpha, smallest, levels - 1, n_null)
        for module in found.partition.modules
    )
    return ModuleTree(units, children, found.score, null.p_value, "")
