"""Nested modules: modules inside modules, as deep as chance does not explain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from infoflow.clustering.find import find_modules
from infoflow.clustering.significances import Shuffle, significance
from infoflow.partition import Partition

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class ModuleTree:
    """A module and, where it divides significantly, the modules inside it.

    Attributes:
        units: `(u,)` flat indices of its units.
        n: Units in the whole matrix.
        q: Q* of its own submatrix; nan where it is too small to divide.
        p_value: Of that Q* against random matrices; nan likewise.
        children: Modules inside it, in label order; empty for a leaf.
    """

    units: np.ndarray
    n: int
    q: float
    p_value: float
    children: tuple[ModuleTree, ...] = ()

    @property
    def depth(self) -> int:
        """Levels below this one."""
        return 1 + max(child.depth for child in self.children) if self.children else 0

    @property
    def leaves(self) -> Partition:
        """The finest partition: every leaf a module."""
        modules = [node.units for _, node in self.walk() if not node.children]
        return Partition.from_modules(modules, self.n)

    def level(self, depth: int) -> Partition:
        """The partition at that depth: 0 is one module, 1 the first division, and so on."""
        modules = [
            node.units
            for at, node in self.walk()
            if at == depth or (at < depth and not node.children)
        ]
        return Partition.from_modules(modules, self.n)

    def walk(self, depth: int = 0) -> Iterator[tuple[int, ModuleTree]]:
        """Every module with its depth, each before those inside it."""
        yield depth, self
        for child in self.children:
            yield from child.walk(depth + 1)

    def to_frame(self) -> pd.DataFrame:
        """One row a module: depth, size, Q*, p, number of modules inside."""
        import pandas as pd

        rows = [
            {
                "depth": depth,
                "size": len(node.units),
                "q": node.q,
                "p_value": node.p_value,
                "n_children": len(node.children),
            }
            for depth, node in self.walk()
        ]
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        lines = []
        for depth, node in self.walk():
            q = round(node.q, 12) + 0.0  # no "-0.000" for the rounding of a single module's Q
            tested = "" if np.isnan(q) else f"  Q*={q:.3f} p={node.p_value:.2g}"
            lines.append(f"{'  ' * depth}{len(node.units)} units{tested}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return (
            f"ModuleTree({len(self.units)} units, depth {self.depth}, "
            f"{self.leaves.n_modules} leaves)"
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the tree as nested bars: units along x, depth along y, width is size.

        Raises:
            ImportError: matplotlib is not installed (`pip install "infoflow[plot]"`).
        """
        import matplotlib.pyplot as plt

        if ax is None:
            ax = plt.subplots()[1]
        self._draw(ax, 0.0, 0)
        ax.set(xlim=(0, len(self.units)), ylim=(self.depth + 1, 0))
        ax.set(xlabel="units, sorted by module", ylabel="depth", yticks=range(self.depth + 1))
        return ax

    def _draw(self, ax: Axes, left: float, depth: int) -> None:
        width = len(self.units)
        shade = f"{0.9 - 0.15 * min(depth, 4):.2f}"
        ax.bar(left, 1.0, width, bottom=depth, align="edge", color=shade, edgecolor="white")
        if width > 0.03 * self.n:
            label = str(width) if np.isnan(self.q) else f"{width}\nQ*={self.q:.2f}"
            ax.text(left + width / 2, depth + 0.5, label, ha="center", va="center", fontsize=7)
        for child in self.children:
            child._draw(ax, left, depth + 1)
            left += len(child.units)


def nested_modules(
    S: Any,
    *,
    alpha: float = 0.05,
    min_size: int = 4,
    max_depth: int = 10,
    shuffle: Shuffle = "weights",
    n_null: int = 99,
    seed: int = 0,
    **options: Any,
) -> ModuleTree:
    """Divide each module's own submatrix again, while its Q* is significant.

    Q of the whole cannot see small modules (its resolution limit, Fortunato & Barthélemy 2007);
    the submatrix of a module, with its own null, can.

    Args:
        S: `(n, n)` symmetric similarities.
        alpha: A module divides if p is at most this.
        min_size: Smaller modules are not divided.
        max_depth: Nor are those this deep.
        shuffle: Random matrices to compare with, see `significance`.
        n_null: Number of them, at each module.
        seed: Of searches and shuffles.
        options: Of `find_modules`.

    Raises:
        ValueError: A bad matrix or option, or too few random matrices to ever reach `alpha`.

    Examples:
        >>> inner = np.kron(np.eye(2), np.ones((6, 6)))
        >>> S = np.kron(np.eye(2), inner + 2) + 0.02 * np.arange(24) / 24
        >>> print(nested_modules(S + S.T, n_null=19))
        24 units  Q*=0.496 p=0.05
          12 units  Q*=0.055 p=0.05
            6 units  Q*=0.000 p=1
            6 units  Q*=0.000 p=1
          12 units  Q*=0.055 p=0.05
            6 units  Q*=0.000 p=1
            6 units  Q*=0.000 p=1
    """
    if 1 / (1 + n_null) > alpha:
        raise ValueError(
            f"{n_null} random matrices give p of at least {1 / (1 + n_null):.3g}, above "
            f"alpha={alpha}; use n_null of at least {int(np.ceil(1 / alpha)) - 1}"
        )
    matrix = np.array(S, dtype=np.float64)
    top = find_modules(matrix, seed=seed, **options)  # checks the matrix and finds unused units
    tests = {"shuffle": shuffle, "n_null": n_null, "seed": seed, **options}

    def grow(units: np.ndarray, depth: int) -> ModuleTree:
        block = matrix[np.ix_(units, units)]
        apart = ~np.eye(len(units), dtype=bool)
        if len(units) < min_size or depth >= max_depth or not block[apart].any():
            return ModuleTree(units, len(matrix), float("nan"), float("nan"))
        tested = significance(block, **tests)
        children = ()
        if tested.p_value <= alpha:
            found = find_modules(block, seed=seed, **options).partition
            inside = [*found.modules, *np.flatnonzero(found.unused)[:, None]]
            if len(inside) > 1:
                children = tuple(grow(units[module], depth + 1) for module in inside)
        return ModuleTree(units, len(matrix), tested.q, tested.p_value, children)

    return grow(np.flatnonzero(~top.partition.unused), 0)
