"""Colours and layout that the figures of the study share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

# 2 x 2 x 2 (figure 2): columns are moments or gradients, upstream then downstream; rows plain or
# normalised. Upstream in blues, downstream in reds; gradients lighter in hue, normalised paler.
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
FAMILIES = ("l2", "l1", "dropout")
FAMILY_COLOR = {"l2": "#0072B2", "l1": "#009E73", "dropout": "#D55E00"}
FAMILY_NAME = {"l2": "L2 (weight decay)", "l1": "L1 weight penalty", "dropout": "dropout"}
LABEL = {
    name: f"$\\{'hat' if name.endswith('_norm') else 'mathrm'}{{S}}$ "
    + name.removesuffix("_norm").replace("_", "-")
    for name in ORDER
}
SETTINGS: Any = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.bbox": "tight",
    "svg.hashsalt": "infoflow",
    "svg.fonttype": "none",
}


def save(figure: Any, folder: Path, name: str) -> list[Path]:
    """`name.svg` and `name.png`; the figure is closed."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.svg", folder / f"{name}.png"]
    figure.savefig(paths[0], metadata={"Date": None})
    figure.savefig(paths[1], dpi=110)
    plt.close(figure)
    return paths


def frame(ax: Any, measure: str) -> None:
    """Title and axes in the measure's colour."""
    ax.set_title(LABEL[measure], color=MEASURE_COLOR[measure], fontsize=9)
    for side in ("left", "bottom"):
        ax.spines[side].set(color=MEASURE_COLOR[measure], linewidth=1.4)
