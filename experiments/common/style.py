"""Colours and layout that the figures of a study share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infoflow.plot import MODULE_COLORS, check_installed
from infoflow.study import Table

# 2 x 2 x 2 (figure 2 of the 2022 paper): columns are moments or gradients, upstream then
# downstream; rows plain or normalised. Upstream in blues and greens, downstream in reds and
# oranges, normalised paler.
GRID = (
    ("cov", "i_sens", "hess", "o_sens"),
    ("cov_norm", "i_sens_norm", "hess_norm", "o_sens_norm"),
)
ORDER = tuple(name for pair in zip(*GRID, strict=True) for name in pair)
MEASURE_COLOR = {
    "cov": "#08519c",
    "cov_norm": "#6baed6",
    "i_sens": "#006d2c",
    "i_sens_norm": "#74c476",
    "hess": "#a50f15",
    "hess_norm": "#fb6a4a",
    "o_sens": "#b35806",
    "o_sens_norm": "#fdae61",
}
LABEL = {
    name: f"$\\{'hat' if name.endswith('_norm') else 'mathrm'}{{S}}$ "
    + name.removesuffix("_norm").replace("_", "-")
    for name in ORDER
}
SETTINGS: Any = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}


@dataclass(frozen=True)
class Columns:
    """Which columns of a study's rows play which part.

    Attributes:
        strength: How strong a network's regularisation is: the horizontal axis.
        family: Which kind it is of: one line each.
        seed: Networks that differ in it alone are repetitions.
        trained: False for networks without training, which give the gray bands.
    """

    strength: str = "percent"
    family: str = "family"
    seed: str = "seed"
    trained: str = "trained"


@dataclass(frozen=True)
class Family:
    """How one kind of regularisation is drawn."""

    name: str
    color: str
    label: str


def families_of(rows: Table, columns: Columns) -> tuple[Family, ...]:
    """The kinds of regularisation among trained networks, in order of appearance."""
    names = list(dict.fromkeys(rows.loc[rows[columns.trained], columns.family]))
    return tuple(
        Family(name, MODULE_COLORS[number % len(MODULE_COLORS)], str(name))
        for number, name in enumerate(names)
    )


def layout_of(measures: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """The paper's 2 x 4 places, as far as there are measures for them; others in further rows.

    Examples:
        >>> layout_of(["cov", "hess", "cov_norm", "weights"])
        (('cov', 'hess'), ('cov_norm',), ('weights',))
    """
    present = list(dict.fromkeys(measures))
    lines = [tuple(name for name in line if name in present) for line in GRID]
    lines.append(tuple(name for name in present if name not in ORDER))
    return tuple(line for line in lines if line)


def styled() -> AbstractContextManager[None]:
    """The settings under which all figures are made.

    Raises:
        ImportError: matplotlib is not installed.
    """
    check_installed("matplotlib")
    from matplotlib import rc_context

    return rc_context(SETTINGS)


def new_figure(size: tuple[float, float]) -> Any:
    """A figure that belongs to no window."""
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def save_figure(figure: Any, folder: str | Path, name: str) -> list[Path]:
    """`name.svg` and `name.png`; the same figure gives the same files."""
    from matplotlib import rc_context

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.svg", folder / f"{name}.png"]
    with rc_context({"svg.hashsalt": "infoflow"}):
        figure.savefig(paths[0], metadata={"Date": None})
    figure.savefig(paths[1], dpi=110)
    return paths


def frame(ax: Any, name: str) -> None:
    """Title and axes in the measure's colour; black for what is none of the eight."""
    color = MEASURE_COLOR.get(name, "black")
    ax.set_title(LABEL.get(name, name), color=color, fontsize=9)
    for side in ("left", "bottom"):
        ax.spines[side].set(color=color, linewidth=1.4)


def hide_rest(axes: Any, lines: Sequence[Sequence[str]]) -> None:
    """Take off the axes of a grid that has shorter lines."""
    for number, line in enumerate(lines):
        for ax in axes[number, len(line) :]:
            ax.axis("off")
