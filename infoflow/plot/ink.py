"""What all figures share: colours, axes, names of the caller's."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from infoflow.unit_similarity import UPSTREAM

# Colour-blind safe (Okabe & Ito); upstream measures blue, downstream orange, causal green.
UPSTREAM_COLOR, DOWNSTREAM_COLOR = "#0072B2", "#D55E00"
CAUSAL_COLOR, CHANCE_COLOR = "#009E73", "#999999"
MODULE_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
KIND_COLORS = {
    "around optima": "#009E73",
    "same sizes": "#999999",
    "random": "#56B4E9",
    "search trail": "#CC79A7",
}
"""Where a partition of the common set comes from."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""Beside colours, so that a print in black and white can be read."""


def check_installed(*packages: str) -> None:
    """What figures (matplotlib) and reports (jinja2) need is there; asked before a run, not after.

    Raises:
        ImportError: One of the packages is missing.
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ImportError(f"plots need {' and '.join(missing)}: pip install 'infoflow[plot]'")


def measure_color(measure: str) -> str:
    """Blue for upstream measures, orange for downstream ones."""
    return UPSTREAM_COLOR if measure in UPSTREAM else DOWNSTREAM_COLOR


def module_color(module: int) -> str:
    """Colour of a module; grey for unused units."""
    return "#BBBBBB" if module < 0 else MODULE_COLORS[module % len(MODULE_COLORS)]


def ink() -> Any:
    """The colour of text in the style that is in use: black, white under "dark_background"."""
    import matplotlib

    return matplotlib.rcParams["text.color"]


def ink_on(color: str) -> str:
    """Black or white, whichever can be read on a colour.

    Examples:
        >>> ink_on("#0072B2"), ink_on("#F0E442")
        ('white', 'black')
    """
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"


def literal(name: str) -> str:
    """A name of the caller's that may hold dollars, which are not to be read as mathematics."""
    return name.replace("$", r"\$")


def shortened(names: Sequence[str], most: int = 24) -> list[str]:
    """Names without the dotted beginning that all share; where they are still long, without the
    end that all share, and else with a gap. All different.

    Examples:
        >>> shortened(["transformer.h.0.mlp.act", "transformer.h.1.mlp.act"])
        ['h.0.mlp.act', 'h.1.mlp.act']
        >>> shortened(["encoder.0.attention.projection", "encoder.1.attention.projection"])
        ['encoder.0', 'encoder.1']
    """
    split = [name.split(".") for name in names]
    fewest = min((len(parts) for parts in split), default=1)
    first = next((i for i in range(fewest) if len({p[i] for p in split}) > 1), 0)
    first -= bool(first and all(parts[first].isdigit() for parts in split))
    texts = [".".join(parts[first:]) for parts in split]
    if max(map(len, texts), default=0) > most and len(names) > 1:
        last = next((i for i in range(1, fewest - first) if len({p[-i] for p in split}) > 1), 1)
        texts = [".".join(parts[first : len(parts) - last + 1]) for parts in split]
    cut = [
        t if len(t) <= most else f"{t[: most // 3]}…{t[-(most - most // 3 - 1) :]}" for t in texts
    ]
    return cut if len(set(cut)) == len(names) else list(names)


def axes(ax: Any, size: tuple[float, float]) -> Any:
    """The axes given, or new ones. In a notebook they are pyplot's, which shows them under the
    cell; elsewhere they belong to nobody else, so that a loop over networks piles up no figures.
    """
    if ax is not None:
        return ax
    check_installed("matplotlib")
    if _in_notebook():
        import matplotlib.pyplot as plt

        return plt.subplots(figsize=size, layout="constrained")[1]
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained").subplots()


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return shell is not None and shell() is not None


def plain(ax: Any) -> None:
    """Without the frame's upper and right side."""
    ax.spines[["top", "right"]].set_visible(False)
