"""report.html: one self-contained file that says what was found in a network."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from infoflow._arguments import door, flag, instance, mapping, recorded, text
from infoflow._files import write_atomically
from infoflow._provenance import versions
from infoflow.comparing import CAUSAL, Comparison
from infoflow.lesioning import Lesions
from infoflow.plot.ink import shortened
from infoflow.recording import Recording
from infoflow.reporting.contents import contents
from infoflow.reporting.sentences import (
    References,
    known_references,
    listed,
    more_about_q,
    score_verdict,
    three_sentences,
)
from infoflow.reporting.subject import Subject, subject
from infoflow.reporting.tables import number, report_tables, shown
from infoflow.saving import Absent
from infoflow.searching import SearchResult

MOST_MODULE_CARDS = 40
_MOST_TASKS = 40
_MOST_PARTS = 300


@door(
    comparison=instance((Comparison, SearchResult), "what compare or search returned"),
    title=text,
    about=mapping,
    rec=recorded(none=True),
    references=mapping,
    settings=mapping,
    measure=flag,
)
def report(
    comparison: Comparison | SearchResult,
    path: str | Path,
    *,
    title: str = "Modules and what they exchange",
    about: Mapping[str, Any] | None = None,
    rec: Recording | None = None,
    references: References | None = None,
    settings: Mapping[str, Any] | None = None,
    measure: bool = True,
) -> Path:
    """Write one interactive HTML file that opens from disk and asks for nothing on a network.

    Args:
        comparison: What `compare` returned, or `search`.
        path: Where to write; folders on the way are made.
        title: Heading.
        about: Facts about the network and its training to list, such as test accuracy.
        rec: The recording of a search, for layers' names and what is measured; a comparison has
            its own.
        references: Module scores that networks without learnt modules reach in the same search, by
            what they are, such as `{"untrained networks": [1.08, 1.11]}`, beside those that the
            comparison has (`infoflow.comparing.with_references`). The search's score is judged
            against them; without any, against random divisions of this network.
        settings: How the result was made, to list.
        measure: Also run the network: what breaks when each module is resampled (`lesions`), and
            what the modules' parts in single layers send each other. A comparison that was loaded
            without its network has neither.

    Returns:
        The path.

    Raises:
        TypeError: Neither a comparison nor a search.
        ValueError: A recording of other units, or references without a score.
        ImportError: jinja2 is missing.

    Examples:
        >>> import tempfile, torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> rec = ifl.record(net, ["0", "2"], torch.randn(60, 4))
        >>> found = ifl.search(rec, n_modules=2, budget=10, samples=4, donors=8, contexts=8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     "<html" in ifl.report(found, folder + "/report.html", rec=rec).read_text()
        True
    """
    empty = [name for name, scores in (references or {}).items() if not len(scores)]
    if empty:
        raise ValueError(f"expected at least one module score of {listed(empty)}, got none")
    try:
        from jinja2 import Environment, PackageLoader
    except ImportError as error:
        raise ImportError("reports need jinja2: pip install jinja2") from error
    environment = Environment(
        loader=PackageLoader("infoflow.reporting", "."), autoescape=True, trim_blocks=True
    )
    known = known_references(comparison, references)
    about_page = _about(subject(comparison, rec, measure=measure), known)
    page = environment.get_template("page.html.j2").render(
        title=title,
        facts={**about_page.pop("facts"), **(about or {})},
        settings=settings or {},
        css=_asset("page.css"),
        scripts=[_asset(name) for name in ("charts.js", "page.js")],
        **about_page,
    )
    path = Path(path).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page)
    return path


def _asset(name: str) -> str:
    return (files("infoflow.reporting") / name).read_text(encoding="utf-8")


def _about(about: Subject, references: References) -> dict[str, Any]:
    """What the template names."""
    comparison, search = about.comparison, about.search
    result = comparison if comparison is not None else search
    units = None if about.rec is None else about.rec.units
    tables = {} if comparison is None else report_tables(comparison, references)
    tables.setdefault("flow", search.exchange.to_frame().set_index(["source", "target"]))
    if about.sent is not None:
        largest = about.sent.nlargest(_MOST_PARTS, "bits_given_context", keep="first")
        tables["parts"] = largest.set_index(["from", "from_module", "to", "to_module"])
    if about.hurt is not None:
        tables["lesions"] = about.hurt.to_frame().set_index(["module", "measure", "task"])
    return {
        "data": contents(about, references),
        "sentences": three_sentences(result, references, units),
        "more": [] if comparison is None else more_about_q(comparison),
        "compared": comparison is not None,
        "tables": {name: shown(table) for name, table in tables.items()},
        "modules": _modules(about),
        "damage": None if about.hurt is None else _damage(about.hurt),
        "score": _score(about, references),
        "facts": _facts(about),
        "warnings": _warnings(about),
        "versions": versions(),
        "parts_left": 0 if about.sent is None else max(0, len(about.sent) - _MOST_PARTS),
        "skipped": {} if comparison is None else comparison.skipped,
    }


def _score(about: Subject, references: References) -> dict[str, Any]:
    """The search's two scores, and the verdict on the first."""
    searched = about.search.score
    found: dict[str, Any] = {
        "weighting": about.search.weighting,
        "searched": number(searched.ratio),
        "samples": searched.n_samples,
        "against": list(references),
        "value": number(searched.ratio),
        "mean": f"{searched.mean:.4g}",
        "own": f"{searched.minimum:.4g}",
        "verdict": score_verdict(
            {"score": searched.ratio, "score_se": searched.ratio_se, "isolated": searched.isolated},
            references,
        ),
    }
    if about.comparison is not None:
        best: Mapping[str, Any] = about.comparison.partitions.loc[CAUSAL].to_dict()
        found["value"] = number(best["score"])
        found["mean"], found["own"] = f"{best['random_weighted']:.4g}", f"{best['weighted']:.4g}"
        found["verdict"] = score_verdict(best, references)
    return found


def _modules(about: Subject) -> list[dict[str, Any]]:
    """A card for each module: its units by layer, and in words what breaks."""
    partition, rec = about.search.partition, about.rec
    cards = []
    for name, module in zip(partition.names, partition.modules, strict=True):
        if rec is None:
            parts = {"units": module.tolist()}
        else:
            parts = {k: v.tolist() for k, v in rec.units.by_layer(module).items()}
        names = list(rec.units.layers) if rec is not None else ["units"]
        short = dict(zip(names, shortened(names), strict=True))
        cards.append(
            {
                "name": name,
                "size": len(module),
                "layers": [(layer, short[layer], inside) for layer, inside in parts.items()],
                "breaks": [] if about.hurt is None else breaks(about.hurt, name),
            }
        )
    if len(cards) > MOST_MODULE_CARDS:
        cards = sorted(cards, key=lambda card: -card["size"])[:MOST_MODULE_CARDS]
    return cards


def breaks(hurt: Lesions, module: int) -> list[str]:
    """What the network does worse when a module is resampled, in words; tasks are named where their
    damage is more than two standard errors."""
    rows = [row for row in hurt.table.to_dict("records") if row["module"] == module]
    whole = {row["measure"]: row for row in rows if row["task"] == ""}
    found = [_worse(whole[measure]) for measure in ("accuracy", "loss") if measure in whole]
    if not found:
        row = whole["change"]
        found = [f"outputs change by {row['damage']:.2g} ± {row['se']:.2g} (1: lost)"]
    if hurt.measures:
        measure = hurt.measures[0]
        clear = [r for r in rows if r["measure"] == measure and r["damage"] > 2 * r["se"]]
        worst = sorted((r for r in clear if r["task"] != ""), key=lambda r: -r["damage"])[:3]
        kind = {"accuracy": "class", "change": "output", "task": "task", "loss": "class"}[measure]
        words = [f"{kind} {r['task']} ({r['damage']:.2g})" for r in worst]
        found.append(f"hurts most {listed(words)}" if words else "no single task is clearly hurt")
    return found


def _worse(row: Mapping[Any, Any]) -> str:
    change = f"by {abs(row['damage']):.2g} ± {row['se']:.2g} (from {row['normal']:.3g})"
    if abs(row["damage"]) <= 2 * row["se"]:
        return f"{row['measure']} does not clearly change (±{row['se']:.2g}, {row['normal']:.3g})"
    up = (row["damage"] > 0) == (row["measure"] == "loss")
    return f"{row['measure']} {'rises' if up else 'falls'} {change}"


def _damage(hurt: Lesions) -> dict[str, Any] | None:
    """Modules × tasks with a shade for each, and how far the profiles differ."""
    if not hurt.measures:
        return None
    damage, se = hurt.damage(), hurt.damage(value="se")
    damage, se = damage.iloc[:, :_MOST_TASKS], se.iloc[:, :_MOST_TASKS]
    most = max(float(damage.to_numpy().max()), 1e-12)
    rows = [
        (name, [(f"{d:.2f}", f"{e:.2g}", max(0.0, d) / most) for d, e in zip(ds, es, strict=True)])
        for name, ds, es in zip(damage.index, damage.to_numpy(), se.to_numpy(), strict=True)
    ]
    special = hurt.specialisation()
    return {
        "measure": hurt.measures[0],
        "tasks": [str(task) for task in damage.columns],
        "rows": rows,
        "donors": hurt.donors,
        "bits": f"{special.bits:.3f} ± {special.se:.2g}",
        "floor": f"{special.floor:.3f}",
        "special": special.bits > special.floor,
    }


def _facts(about: Subject) -> dict[str, Any]:
    """What was looked at: model, layers, units, samples; and how."""
    rec, search = about.rec, about.search
    facts: dict[str, Any] = {}
    if rec is not None:
        facts |= network_facts(rec)
    facts["search"] = f"{search.method}, {search.evaluations} partitions measured"
    facts["exchange"] = (
        f"{'given the context' if search.exchange.given_context else 'plain'}, weighted by "
        f"{search.weighting}, targets coded by {search.exchange.coding}"
    )
    return facts


def network_facts(rec: Recording) -> dict[str, Any]:
    """What was recorded: model, layers, units, samples."""
    parameters = sum(p.numel() for p in rec.model.parameters())
    absent = isinstance(rec.model, Absent)
    sizes = list(zip(rec.units.layers, rec.units.sizes, strict=True))
    more = f" and {len(sizes) - 20} more" if len(sizes) > 20 else ""
    named = ", ".join(f"{name} ({size} units)" for name, size in sizes[:20])
    return {
        "model": "not loaded"
        if absent
        else f"{type(rec.model).__name__} with {parameters:,} parameters",
        "recorded layers": named + more,
        "unused units": f"{int(rec.units.unused.sum())} of {len(rec.units)}",
        "samples": f"{len(rec):,} of shape {tuple(rec.inputs[0].shape[1:])}",
    }


def _warnings(about: Subject) -> list[str]:
    """What a reader should know before believing a number."""
    search, rec = about.search, about.rec
    found = list(about.notes)
    if search.exchange.doubts:
        found.append(f"The exchange: {search.exchange.doubts.removeprefix('; ')}.")
    outside = int(search.partition.unused.sum())
    if outside:
        dead = 0 if rec is None else int(rec.units.unused.sum())
        silent = outside - dead
        why = f"{dead} never change over the data, {silent} neither send nor receive anything"
        found.append(
            f"{outside} units are in no module" + (f" ({why} detectable)." if rec else ".")
        )
    if about.comparison is None:
        found.append("Only a search was made: compare(rec) also asks whether Q would have told.")
    for name, why in (about.comparison.skipped if about.comparison is not None else {}).items():
        found.append(f"{name} was left out: {why}.")
    if len(search.partition.modules) > MOST_MODULE_CARDS:
        found.append(f"Only the {MOST_MODULE_CARDS} largest modules have a card.")
    return found
