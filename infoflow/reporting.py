"""report.html: one self-contained file that says what was found in a network."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from infoflow import plot
from infoflow._arguments import door, has, mapping, text
from infoflow._files import write_atomically
from infoflow.comparing import CAUSAL, KINDS, Comparison

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@door(
    comparison=has("a Comparison, as compare returns", "partitions", "searches"),
    title=text,
    about=mapping,
)
def report(
    comparison: Comparison,
    path: str | Path,
    *,
    title: str = "Modules and what they exchange",
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Write one HTML file that opens from disk, without network access.

    Args:
        comparison: What `compare` returned.
        path: Where to write; folders on the way are made.
        title: Heading.
        about: Facts about the network and its training to list, such as test accuracy.

    Returns:
        The path.

    Raises:
        ImportError: matplotlib or jinja2 is missing (`pip install 'infoflow[report]'`).
    """
    return write_report(comparison, figures(comparison), path, title=title, about=about)


def write_report(
    comparison: Comparison,
    drawn: Mapping[str, Figure],
    path: str | Path,
    *,
    title: str,
    about: Mapping[str, Any] | None,
) -> Path:
    """As `report`, with the figures drawn already."""
    try:
        from jinja2 import Environment, PackageLoader
    except ImportError as error:
        raise ImportError("reports need jinja2: pip install 'infoflow[report]'") from error
    environment = Environment(loader=PackageLoader("infoflow", "."), autoescape=True)
    page = environment.get_template("report.html.j2").render(
        title=title,
        finding=finding(comparison),
        facts={**network_facts(comparison), **(about or {})},
        figures={name: _data_uri(figure) for name, figure in drawn.items()},
        tables={name: _html(table) for name, table in report_tables(comparison).items()},
        skipped=comparison.skipped,
        weighting=comparison.weighting,
        best=comparison.partitions.loc[CAUSAL],
        searched=comparison.search.score,
    )
    path = Path(path).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page)
    return path


def finding(comparison: Comparison) -> str:
    """In a few sentences, what the comparison found; `verdict` has the rule.

    Every number in it is in the tables. All scores are those of `Comparison.partitions`, measured
    beside the same random partitions on draws that the search did not see.
    """
    best: dict[str, Any] = comparison.partitions.loc[CAUSAL].to_dict()
    first = _least_exchange(best, comparison.weighting)
    tracked = comparison.tracking
    if not tracked:
        return first
    top, *_, least = [*tracked, *tracked]
    rivals = _of_largest_q(comparison)
    own = float(rivals["score"].to_dict().get(top, np.nan))
    said = verdict(tracked[top], own, best["score"])
    measured = rivals.loc[rivals.index.isin(list(tracked))]
    worse = int((measured["score"] < 1).sum())
    outcome = ""
    if top in measured.index:
        outcome = (
            f" The division into {best['n_modules']} modules of largest Q has a module score of "
            f"{own:.2f} under {top}; under {worse} of {len(measured)} measures it exchanges more "
            "than random divisions do."
        )
    return (
        f"{first} {said}: over partitions of all qualities Q under {top} ranks them most like "
        f"their exchange does (Spearman {tracked[top]:.2f}{_of_equal_sizes(comparison, top)}; the "
        f"least telling measure, {least}, {tracked[least]:.2f})."
        f"{_other_proxy(comparison, tracked[top])}{outcome}{_closest(comparison, rivals)}"
    )


def verdict(rho: float, score: float, best: float) -> str:
    """Would Q of a measure have told which division exchanges least?

    - "nothing to tell": no division was found with a score above 1.05.
    - "misleads": Q ranks partitions the wrong way round (Spearman below -0.3), or the division of
      largest Q exchanges more than random ones (score below 0.95).
    - "largely", "partly" (else "hardly"): both the correlation and the share that the division of
      largest Q reaches of the search's reduction, (1 - 1/score) / (1 - 1/best), are above 0.7, 0.3.

    Args:
        rho: Spearman's correlation of Q with -exchange.
        score: Module score of the division of largest Q; nan if there is none.
        best: Module score of the causal search.

    Examples:
        >>> verdict(0.8, 1.9, 2.0), verdict(0.8, 1.2, 2.0), verdict(0.5, 0.5, 1.2)
        ('Q largely tells', 'Q partly tells', 'Q misleads')
    """
    if not best > 1.05:
        return "There is nothing for Q to tell"
    if rho < -0.3 or score < 0.95:
        return "Q misleads"
    reached = (1 - 1 / score) / (1 - 1 / best) if score == score else rho
    least = min(rho, reached)
    return f"Q {'largely' if least > 0.7 else 'partly' if least > 0.3 else 'hardly'} tells"


def _least_exchange(best: Mapping[str, Any], weighting: str) -> str:
    """What the search found."""
    k = best["n_modules"]
    if best["isolated"]:
        return (
            f"The network falls into {k} modules that send each other nothing that can be "
            "detected: whatever one is forced to do, the others do not notice."
        )
    saved = 100 * (1 - 1 / best["score"])
    return (
        f"The best division into {k} modules found exchanges "
        f"{best['bits_given_context']:.1f} bits given the context ({best['bits']:.1f} plain); "
        f"weighted by {weighting} that is {abs(saved):.0f} % {'less' if saved >= 0 else 'more'} "
        f"than random divisions (module score {best['score']:.2f})."
    )


def _of_largest_q(comparison: Comparison) -> pd.DataFrame:
    """Rows of the partitions into as many modules as the search's that maximise Q, by measure."""
    table = comparison.partitions
    k = table.loc[CAUSAL, "n_modules"]
    rows = table.loc[(table["origin"] == "Q*") & (table["k"] == k) & table["score"].notna()]
    return rows.set_index("measure")


def _closest(comparison: Comparison, rivals: pd.DataFrame) -> str:
    """Of the partitions of largest Q, that which exchanges least."""
    if rivals.empty:
        return ""
    name = str(rivals["score"].idxmax())
    table = comparison.partitions
    chance = table.loc[table["origin"] == "random", "agreement_with_causal"].mean()
    return (
        f" That of {name} exchanges least (module score {rivals['score'][name]:.2f}, causal "
        f"search {table.loc[CAUSAL, 'score']:.2f}); it agrees with the causal one to "
        f"{rivals['agreement_with_causal'][name]:.2f} (random partitions: {chance:.2f})."
    )


def _of_equal_sizes(comparison: Comparison, measure: str) -> str:
    """The same where it is hardest: among random partitions of equal module sizes."""
    rho = comparison.spearman(kind="same sizes").get(measure)
    return "" if rho is None else f", among random ones of equal sizes {rho:.2f}"


def _other_proxy(comparison: Comparison, rho: float) -> str:
    """What tells more than Q of any of the eight measures, if anything does."""
    others = comparison.spearman(others=True)
    name = next(iter(others), "")
    return f" {name} tells more ({others[name]:.2f})." if name and others[name] > rho else ""


def network_facts(comparison: Comparison) -> dict[str, Any]:
    """What was looked at: model, layers, units, samples."""
    rec = comparison.rec
    parameters = sum(p.numel() for p in rec.model.parameters())
    sizes = zip(rec.units.layers, rec.units.sizes, strict=True)
    return {
        "model": f"{type(rec.model).__name__} with {parameters:,} parameters",
        "recorded layers": ", ".join(f"{name} ({size} units)" for name, size in sizes),
        "unused units": f"{int(rec.units.unused.sum())} of {len(rec.units)}",
        "samples": f"{len(rec):,} of shape {tuple(rec.inputs[0].shape[1:])}",
    }


def report_tables(comparison: Comparison) -> dict[str, Any]:
    """The tables of the report, rounded by the reader's eye only when shown."""
    layers = comparison.layers
    q_star = layers.pivot(index="measure", columns="layer", values="q_star")
    effective = layers.pivot(index="measure", columns="layer", values="n_effective")
    order = [m for m in comparison.similarities if m in q_star.index]
    columns = list(dict.fromkeys(layers["layer"]))
    by_measure = q_star.loc[order, columns].add_prefix("Q* ")
    by_measure = by_measure.join(effective.loc[order, columns].add_prefix("effective modules "))
    by_layer = _by_layer(comparison)
    return {
        "by_measure": by_measure,
        "partitions": comparison.partitions.drop(columns=["origin", "measure", "k", "method"]),
        "weightings": _wide(comparison.weightings, "weighting", "value"),
        "q_under": _wide(comparison.q, "measure", "q"),
        "correlations": _by_kind(comparison),
        **({} if by_layer.empty else {"by_layer": by_layer}),
        "layer_to_layer": comparison.layer_to_layer.set_index(["source", "from", "to"]),
        "flow": comparison.search.exchange.to_frame().set_index(["source", "target"]),
    }


def _wide(table: pd.DataFrame, columns: str, values: str) -> pd.DataFrame:
    """One row a partition, both ways in the order of the table."""
    wide = table.pivot(index="source", columns=columns, values=values)
    return wide.loc[list(dict.fromkeys(table["source"])), list(dict.fromkeys(table[columns]))]


def _by_kind(comparison: Comparison) -> pd.DataFrame:
    """Spearman's correlation of every predictor with its interval, over all partitions and over
    each kind."""
    table = comparison.correlations
    table = table.loc[(table["scope"] == "together") & (table["quantity"] == "weighted")]
    return _interval_table(table.assign(column=table["kind"]), ["all", *KINDS])


def _by_layer(comparison: Comparison) -> pd.DataFrame:
    """The same layer by layer."""
    table = comparison.correlations
    table = table.loc[table["scope"] != "together"]
    between = table["layer"] + "→" + table["to"]
    table = table.assign(column=between.where(table["scope"] == "between", table["layer"]))
    return _interval_table(table, list(dict.fromkeys(table["column"])))


def _interval_table(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    text = table.assign(text=[_interval(row) for row in table.to_dict("records")])
    wide = text.pivot(index="predictor", columns="column", values="text")
    return wide.reindex(index=list(dict.fromkeys(table["predictor"])), columns=columns)


def _interval(row: Mapping[Any, Any]) -> str:
    if not np.isfinite(row["spearman"]):
        return "–"
    return f"{row['spearman']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


def figures(comparison: Comparison) -> dict[str, Figure]:
    """All figures of the report by name."""
    from matplotlib.figure import Figure

    names = list(comparison.modules)
    drawn: dict[str, Figure] = {"overview": _overview(comparison)}
    matrices = Figure(figsize=(10.4, 2.75 * -(-len(names) // 4)), layout="constrained")
    for ax, name in zip(_grid(matrices, len(names)), names, strict=False):
        modules = comparison.modules[name]
        plot.similarity_matrix(
            comparison.similarities[name],
            modules.partition,
            ax=ax,
            title=f"{name}: Q* = {modules.q:.3f}, {modules.n_effective:.1f} effective",
        )
    drawn["similarity"] = matrices
    drawn["q_by_measure"] = plot.q_by_measure(comparison).figure
    drawn["module_flow"] = plot.module_flow(
        comparison.search.exchange, units=comparison.rec.units
    ).figure
    scatter = Figure(figsize=(10.4, 2.4 * -(-len(names) // 4)), layout="constrained")
    for ax, name in zip(_grid(scatter, len(names)), names, strict=False):
        plot.q_against_exchange(comparison, name, ax=ax)
    drawn["q_against_exchange"] = scatter
    drawn["tracking"] = plot.tracking(comparison).figure
    drawn["agreement"] = plot.agreement(comparison).figure
    drawn["search"] = plot.search_history(comparison.search).figure
    return drawn


def _overview(comparison: Comparison) -> Figure:
    """The whole story in one row: units alike, modules that talk least, does Q know."""
    from matplotlib.figure import Figure

    tracked = comparison.tracking
    best = next(iter(tracked), next(iter(comparison.modules)))
    figure = Figure(figsize=(11.5, 3.3), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1.35, 1.15])
    modules = comparison.modules[best]
    plot.similarity_matrix(
        comparison.similarities[best],
        modules.partition,
        ax=left,
        title=f"Similarity of units ({best}),\nmodules of largest Q ({modules.q:.3f})",
    )
    plot.module_flow(
        comparison.search.exchange,
        units=comparison.rec.units,
        ax=middle,
        title="The modules that exchange least:\nbits (given the context)",
    )
    plot.q_against_exchange(comparison, best, ax=right)
    right.set_title(f"Would Q have told? ρ = {tracked.get(best, float('nan')):.2f}", fontsize=10)
    return figure


def _grid(figure: Figure, count: int) -> list[Any]:
    axes = np.atleast_1d(figure.subplots(-(-count // 4), 4, squeeze=False)).ravel()
    for ax in axes[count:]:
        ax.axis("off")
    return list(axes)


def _data_uri(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def _html(table: pd.DataFrame) -> str:
    shown = table.copy()
    shown.columns = [str(c).replace("_", " ") for c in shown.columns]
    return shown.to_html(border=0, na_rep="–", float_format=_number, classes="data")


def _number(value: float) -> str:
    if not np.isfinite(value):
        return "∞" if value > 0 else "–"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.1f}"
