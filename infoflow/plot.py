"""Figures. Every function takes a matplotlib axes (or makes one) and returns it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from infoflow.partition import PartitionLike, as_partition
from infoflow.unit_similarity import UPSTREAM

if TYPE_CHECKING:
    from infoflow.comparing import Comparison
    from infoflow.exchanges import Exchange
    from infoflow.lesioning import Lesions
    from infoflow.searching import SearchResult
    from infoflow.units import UnitSpace

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


def similarity_matrix(
    S: np.ndarray, partition: PartitionLike, *, ax: Any = None, title: str = ""
) -> Any:
    """The matrix sorted by module, with module borders and unused units last.

    Args:
        S: `(n, n)` similarities.
        partition: Of the same units: a `Partition`, a result that holds one, or labels.
        ax: Where to draw.
        title: Above it.

    Raises:
        ValueError: Matrix and partition of different sizes.
    """
    partition = as_partition(partition)
    if S.shape != (len(partition), len(partition)):
        raise ValueError(f"similarities {S.shape} do not fit a partition of {len(partition)} units")
    ax = _axes(ax, (3.4, 3.4))
    rank = np.where(partition.labels < 0, partition.n_modules, partition.labels)
    order = np.argsort(rank, kind="stable")
    shown = S[np.ix_(order, order)].copy()
    np.fill_diagonal(shown, np.nan)
    top = np.nanpercentile(shown, 99.5) if np.isfinite(shown).any() else 1.0
    ax.imshow(shown, cmap="magma", vmin=0, vmax=top or 1.0, interpolation="nearest")
    for border in np.cumsum([*partition.sizes])[:-1] if partition.n_modules else []:
        ax.axhline(border - 0.5, color="white", lw=0.9)
        ax.axvline(border - 0.5, color="white", lw=0.9)
    used = int(partition.sizes.sum())
    if used < len(partition):
        ax.axhline(used - 0.5, color="#56B4E9", lw=0.9, ls=":")
        ax.axvline(used - 0.5, color="#56B4E9", lw=0.9, ls=":")
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=9)
    return ax


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
    ax = _axes(ax, (4.8, 4.8 * height / 1.6))
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
    return "\n".join(f"{len(inside)} of {_literal(layer)}" for layer, inside in parts.items())


def _disc(ax: Any, center: np.ndarray, radius: float, module: int, text: str) -> None:
    from matplotlib.patches import Circle

    ax.add_patch(Circle(tuple(center), radius, color=module_color(module), zorder=3))
    bold = {"ha": "center", "va": "center", "fontsize": 11, "fontweight": "bold", "zorder": 4}
    ax.text(*center, str(module), color="white", **bold)
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


def q_by_measure(comparison: Comparison, *, ax: Any = None) -> Any:
    """Q* of every measure, one group of bars a layer."""
    ax = _axes(ax, (6.4, 3.0))
    table = comparison.layers.pivot(index="measure", columns="layer", values="q_star")
    table = table.reindex([m for m in comparison.similarities if m in table.index])
    layers = list(dict.fromkeys(comparison.layers["layer"]))
    width, colors = 0.8 / len(layers), [measure_color(m) for m in table.index]
    for number, layer in enumerate(layers):
        place = np.arange(len(table)) + (number - (len(layers) - 1) / 2) * width
        q, alpha = table[layer].to_numpy(dtype=float), 1.0 - 0.65 * number / max(len(layers) - 1, 1)
        ax.bar(place, q, width * 0.92, color=colors, alpha=alpha, label=_literal(layer))
    ax.set_xticks(np.arange(len(table)), table.index, rotation=30, ha="right", fontsize=8)
    ax.set_ylabel("Q*")
    ax.legend(title="layer", fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    _plain(ax)
    return ax


def q_against_exchange(comparison: Comparison, measure: str, *, ax: Any = None) -> Any:
    """Q under one measure against weighted exchange, over the common set of partitions.

    The exchange is divided by the mean of random partitions into as many modules, so that
    partitions of different numbers of modules can be seen together.
    """
    ax = _axes(ax, (3.2, 2.8))
    common = comparison.common.partitions
    predictions = comparison.common.predictions
    own = (predictions["predictor"] == measure) & (predictions["layer"] == "")
    q = predictions[own].set_index("partition")["value"]
    ax.axhline(1.0, color=CHANCE_COLOR, lw=0.6)
    for kind, color in KIND_COLORS.items():
        part = common[common["kind"] == kind]
        ax.scatter(q[part.index], part["of_random"], s=8, color=color, alpha=0.7, linewidths=0)
    rho = comparison.tracking.get(measure, float("nan"))
    ax.set_title(f"{measure}: ρ = {rho:.2f}", fontsize=9, color=measure_color(measure))
    ax.set_xlabel("Q", fontsize=8)
    ax.set_ylabel("exchange ÷ chance", fontsize=8)
    ax.tick_params(labelsize=7)
    _plain(ax)
    return ax


def tracking(comparison: Comparison, *, ax: Any = None) -> Any:
    """How well every predictor tracks the exchange: Spearman's correlation with -weighted
    exchange and its 95 % interval, over all partitions (black) and over each kind of them."""
    table = comparison.correlations
    table = table[(table["scope"] == "together") & (table["quantity"] == "weighted")]
    names = list(dict.fromkeys(table["predictor"]))[::-1]
    ax = _axes(ax, (6.4, 0.32 * len(names) + 1.0))
    rank = {name: place for place, name in enumerate(names)}
    colors = {**KIND_COLORS, "all": "black"}
    for number, (kind, color) in enumerate(colors.items()):
        part = table[table["kind"] == kind]
        at = np.array([rank[name] for name in part["predictor"]]) + 0.3 - 0.15 * number
        rho = np.asarray(part["spearman"], dtype=float)
        ax.hlines(at, part["low"], part["high"], color=color, lw=2.0 if kind == "all" else 0.8)
        ax.plot(rho, at, "o", ms=4.5 if kind == "all" else 3, color=color, label=kind)
    ax.axvline(0.0, color=CHANCE_COLOR, lw=0.8)
    ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.set(xlim=(-1.05, 1.05), xlabel="Spearman's ρ with −exchange")
    ax.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    _plain(ax)
    return ax


def search_history(result: SearchResult, *, ax: Any = None) -> Any:
    """Weighted exchange of every partition measured, and the best so far."""
    ax = _axes(ax, (6.4, 2.6))
    history = result.history
    finite = np.isfinite(history["weighted"])
    steps = np.arange(1, len(history) + 1)
    ax.plot(steps[finite], history["weighted"][finite], ".", ms=2.5, color=CHANCE_COLOR)
    ax.plot(steps, history["best"], color=CAUSAL_COLOR, lw=1.6, label="best so far")
    ax.axhline(result.score.mean, color="black", lw=0.8, ls="--", label="mean of random")
    ax.set(xlabel="partitions measured", ylabel=f"exchange, {result.score.weighting}")
    ax.legend(fontsize=7)
    _plain(ax)
    return ax


def confidence(result: SearchResult, *, ax: Any = None, title: str = "") -> Any:
    """How often each two units were in one module when the search was made again, sorted by the
    modules of the search itself.

    Raises:
        ValueError: A search without `confidence=`.
    """
    if result.confidence is None:
        raise ValueError("this search was made once only; search(..., confidence=20) repeats it")
    return similarity_matrix(result.confidence.together, result.partition, ax=ax, title=title)


def agreement(comparison: Comparison, *, ax: Any = None) -> Any:
    """Element-centric similarity of every pair of partitions."""
    ax, table = _axes(ax, (5.2, 4.4)), comparison.agreement
    return _image(ax, table, 1.0, "element-centric similarity")


def lesions(hurt: Lesions, measure: str | None = None, *, ax: Any = None, title: str = "") -> Any:
    """Damage, modules in rows and tasks in columns; nothing where a task gets better.

    Args:
        hurt: What `infoflow.lesions` gives.
        measure: One of `hurt.measures`; None: the first of them.
        ax: Where to draw.
        title: Above it.
    """
    table = hurt.damage(measure)
    ax = _axes(ax, (1.8 + 0.35 * table.shape[1], 1.2 + 0.35 * len(table)))
    ax.set_title(title, fontsize=9)
    top = max(float(table.to_numpy().max()), 1e-12)
    return _image(ax, table, top, f"damage, {measure or hurt.measures[0]}")


def _image(ax: Any, table: Any, top: float, label: str) -> Any:
    image = ax.imshow(table.to_numpy(), cmap="magma", vmin=0, vmax=top, aspect="auto")
    columns, rows = ([_literal(str(n)) for n in names] for names in (table.columns, table.index))
    ax.set_xticks(range(len(columns)), columns, rotation=45, ha="right", fontsize=7)
    ax.set_yticks(range(len(rows)), rows, fontsize=7)
    ax.figure.colorbar(image, ax=ax, shrink=0.8, label=label)
    return ax


def against(
    rows: Any,
    x: str,
    y: str,
    *,
    by: str,
    styles: Mapping[Any, Mapping[str, Any]] | None = None,
    baseline: Any = None,
    ax: Any = None,
) -> Any:
    """Mean ± standard error of `y` at each `x`, one line for each value of `by`.

    Args:
        rows: A DataFrame, one row a network, or several (layers, measures).
        x, y: Columns: a setting, and what was measured.
        by: Column whose values get a line each.
        styles: Of each line, in matplotlib's words; only these are drawn. None: all.
        baseline: A Series, values of `y` in networks to compare with (untrained, say): gray bands
            of ±1, 2, 3 standard deviations.
        ax: Where to draw.

    Examples:
        >>> import pandas as pd
        >>> rows = pd.DataFrame({"kind": "l2", "percent": [0, 0, 9, 9], "q": [0.1, 0.2, 0.3, 0.4]})
        >>> ax = against(rows, "percent", "q", by="kind")
        >>> [round(float(q), 2) for q in ax.containers[0].lines[0].get_ydata()]
        [0.15, 0.35]
    """
    ax = _axes(ax, (4.0, 3.0))
    if styles is None:
        names = list(dict.fromkeys(rows[by]))
        styles = {name: {"color": module_color(n)} for n, name in enumerate(names)}
    if baseline is not None and len(baseline) > 1:
        mean, spread = baseline.mean(), baseline.std()
        for times in (3, 2, 1):
            ax.axhspan(mean - times * spread, mean + times * spread, color="0.5", alpha=0.15, lw=0)
    for name, style in styles.items():
        of_x = rows[rows[by] == name].groupby(x)[y]
        mean = of_x.mean()
        options: Any = {"label": str(name), "lw": 1.2, "ms": 3, "marker": "o", **style}
        ax.errorbar(mean.index, mean, of_x.sem(), **options)
    return ax


def _literal(name: str) -> str:
    """A name of the caller's that may hold dollars, which are not to be read as mathematics."""
    return name.replace("$", r"\$")


def _axes(ax: Any, size: tuple[float, float]) -> Any:
    if ax is not None:
        return ax
    check_installed("matplotlib")
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained").subplots()


def _plain(ax: Any) -> None:
    ax.spines[["top", "right"]].set_visible(False)
