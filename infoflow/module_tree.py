"""ModuleTree: modules within modules, as deep as chance does not explain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from infoflow.partition import Partition
from infoflow.saving import Saved

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class ModuleTree(Saved):
    """A module and, where it divides significantly, the modules inside it.

    Attributes:
        units: `(u,)` flat indices of its units.
        n: Units in the whole network or matrix.
        quantity: What was tested: `"Q*"`, or `"log2 score"` (of its best division).
        value: Of that quantity; nan where no division was tried.
        p_value: Of that value against chance; nan likewise.
        children: Modules inside it, in label order; empty for a leaf.
        why: Why it does not divide, empty if it does.
    """

    units: np.ndarray
    n: int
    quantity: str
    value: float = float("nan")
    p_value: float = float("nan")
    children: tuple[ModuleTree, ...] = ()
    why: str = ""

    @property
    def depth(self) -> int:
        """Levels below this one."""
        return 1 + max(child.depth for child in self.children) if self.children else 0

    @property
    def leaves(self) -> Partition:
        """The finest partition: every leaf a module."""
        return self.level(self.depth)

    def level(self, depth: int) -> Partition:
        """The partition at that depth: 0 is one module, 1 the first division, and so on; what
        does not divide that far stays whole."""
        modules = [
            node.units
            for path, node in self.walk()
            if len(path) == depth or (len(path) < depth and not node.children)
        ]
        return Partition.from_modules(modules, self.n)

    def walk(self, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], ModuleTree]]:
        """Every module with its path (which child of which child), each before those inside it."""
        yield path, self
        for number, child in enumerate(self.children):
            yield from child.walk((*path, number))

    def to_frame(self) -> pd.DataFrame:
        """One row a module: `path`, `depth`, `units`, `divides` (into so many), `value`,
        `p_value`, `why`."""
        import pandas as pd

        rows = [
            {
                "path": ".".join(["root", *map(str, path)]),
                "depth": len(path),
                "units": len(node.units),
                "divides": len(node.children),
                "value": node.value,
                "p_value": node.p_value,
                "why": node.why,
            }
            for path, node in self.walk()
        ]
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        return "\n".join(self._lines("", ""))

    def _lines(self, first: str, rest: str) -> list[str]:
        tested = f"{self.quantity} {self.value:.3g}, p = {self.p_value:.2g}"
        lines = [f"{first}{len(self.units)} units: {self.why or tested}"]
        for number, child in enumerate(self.children, 1):
            ends = number == len(self.children)
            lines += child._lines(
                rest + ("└─ " if ends else "├─ "), rest + ("   " if ends else "│  ")
            )
        return lines

    def plot(self, *, ax: Any = None) -> Any:
        """The tree from above: bars as wide as modules, each over the modules it divides into.

        Raises:
            ImportError: matplotlib is not installed (`pip install "infoflow[plot]"`).
        """
        if ax is None:
            from matplotlib.figure import Figure

            ax = Figure(figsize=(6, 1 + 0.6 * self.depth), layout="constrained").subplots()
        self._draw(ax, 0.0, 0)
        ax.set(xlim=(0, len(self.units)), ylim=(-self.depth - 1, 0), yticks=[])
        ax.set_xlabel("units, sorted by module")
        return ax

    def _draw(self, ax: Any, left: float, depth: int) -> None:
        width = len(self.units)
        ax.barh(-depth - 0.5, width, 0.8, left, color=f"C{depth}", edgecolor="white")
        text = f"{width}" + (f"\np {self.p_value:.2g}" if self.children else "")
        ax.text(left + width / 2, -depth - 0.5, text, ha="center", va="center", fontsize=7)
        for child in self.children:
            child._draw(ax, left, depth + 1)
            left += len(child.units)


@dataclass(frozen=True, eq=False)
class Division:
    """The best division of some units.

    Attributes:
        modules: Flat indices of the units of each.
        value: Of the quantity that speaks for it.
        p_value: Of that value against chance.
    """

    modules: Sequence[np.ndarray]
    value: float
    p_value: float


def grown(
    divide: Callable[[np.ndarray], Division | str],
    units: np.ndarray,
    n: int,
    *,
    quantity: str,
    alpha: float,
    min_size: int,
    max_depth: int,
) -> ModuleTree:
    """Divide some units, then every module found, as long as the divisions are significant.

    Args:
        divide: The best division of some units, or why there is none.
        units: Flat indices to begin with.
        n: Units in all.
        quantity: See `ModuleTree`.
        alpha: A division stands if its p-value is at most this.
        min_size: Smaller modules are not divided.
        max_depth: Nor are those this deep.
    """
    if len(units) < min_size or max_depth <= 0:
        why = "deepest level" if len(units) >= min_size else "too small to divide"
        return ModuleTree(units, n, quantity, why=why)
    found = divide(units)
    if isinstance(found, str):
        return ModuleTree(units, n, quantity, why=found)
    why, children = "", ()
    if found.p_value > alpha:
        why = f"no significant division (p = {found.p_value:.2g})"
    elif len(found.modules) < 2:
        why = "one module is best"
    else:
        bounds: Any = {"alpha": alpha, "min_size": min_size, "max_depth": max_depth - 1}
        children = tuple(
            grown(divide, module, n, quantity=quantity, **bounds) for module in found.modules
        )
    return ModuleTree(units, n, quantity, found.value, found.p_value, children, why)
