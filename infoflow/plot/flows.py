"""What modules send each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from infoflow.plot.ink import axes, ink_on, literal, module_color, shortened

if TYPE_CHECKING:
    from infoflow.exchanges import Exchange
    from infoflow.units import UnitSpace


def module_flow(
    exchange: Exchange, *, units: UnitSpace | None = None, ax: Any = None, title: str = ""
) -> Any:
    """Modules as discs (area: units), arrows between them (width: bits given the context).

    Numbers on an arrow: plain bits, and in brackets bits given the context.

    Args:
        exchange: What to draw.
        units: The recording's units, to say how many of each layer a module has.
        ax: Where to draw.
        title: Above it.
    """
    k = len(exchange.flow)
    height = 1.0 if k == 2 else 1.5
    ax = axes(ax, (4.8, 4.8 * height / 1.6))
    angle = np.pi / 2 + 2 * np.pi * np.arange(k) / k + (np.pi / 2 if k == 2 else 0)
    at = np.column_stack([np.cos(angle), np.sin(angle)])
    sizes = exchange.partition.sizes
    radius = 0.16 + 0.16 * np.sqrt(sizes / sizes.max())
    widest = max(float(exchange.flow_given_context.max()), 1e-12)
    for a in range(k):
        for b in range(k):
            if a != b:
                _arrow(ax, exchange, a, b, at, radius, widest)
    for module in range(k):
        _disc(ax, at[module], radius[module], module, _composition(exchange, units, module))
    ax.set(xlim=(-1.6, 1.6), ylim=(-height, height), aspect="equal")
    ax.axis("off")
    ax.set_title(title, fontsize=10)
    return ax


def _composition(exchange: Exchange, units: UnitSpace | None, module: int) -> str:
    members = exchange.partition.modules[module]
    if units is None or len(units.layers) == 1:
        return f"{len(members)} units"
    parts = units.by_layer(members)
    if len(parts) > 4:
        return f"{len(members)} units\nin {len(parts)} layers"
    short = dict(zip(units.layers, shortened(units.layers), strict=True))
    return "\n".join(f"{len(inside)} of {literal(short[name])}" for name, inside in parts.items())


def _disc(ax: Any, center: np.ndarray, radius: float, module: int, text: str) -> None:
    from matplotlib.patches import Circle

    ax.add_patch(Circle(tuple(center), radius, color=module_color(module), zorder=3))
    bold = {"ha": "center", "va": "center", "fontsize": 11, "fontweight": "bold", "zorder": 4}
    ax.text(*center, str(module), color=ink_on(module_color(module)), **bold)
    side = 1 if center[1] > 0.1 else -1  # outside the ring, where no arrow passes
    beside = center + np.array([0, side * (radius + 0.04)])
    ax.text(*beside, text, ha="center", va="bottom" if side > 0 else "top", fontsize=8)


def _arrow(
    ax: Any, exchange: Exchange, a: int, b: int, at: np.ndarray, radius: np.ndarray, widest: float
) -> None:
    given, plain = exchange.flow_given_context[a, b], exchange.flow[a, b]
    start, end = at[a], at[b]
    direction = (end - start) / np.linalg.norm(end - start)
    normal = np.array([direction[1], -direction[0]])
    shift = 0.09 * normal
    ax.annotate(
        "",
        xy=tuple(end - direction * (radius[b] + 0.03) + shift),
        xytext=tuple(start + direction * (radius[a] + 0.03) + shift),
        arrowprops={
            "arrowstyle": "-|>",
            "lw": 0.6 + 5 * max(given, 0) / widest,
            "color": module_color(a),
            "alpha": 0.85,
            "ls": "-" if given > 0 else ":",
        },
    )
    label = (start + end) / 2 + (0.26 + 0.06 * abs(normal[0])) * normal
    ax.text(*label, f"{plain:.2f}\n({given:.2f})", fontsize=7, ha="center", va="center")
