"""A run folder: configuration, tables, figures and the report of one analysis."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infoflow._files import write_atomically
from infoflow._provenance import versions
from infoflow.comparing import Comparison
from infoflow.plot import check_installed

CONFIG = "config.json"


def prepare_folder(folder: str | Path, *, overwrite: bool = False) -> Path:
    """The folder of a run, made if missing. Only an earlier run is ever written over, also one that
    was interrupted: `config.json` marks the folder from the start.

    Asked for before a run; so what its figures and report need is checked here, too.

    Raises:
        ImportError: matplotlib or jinja2 is missing.
        FileExistsError: It holds an earlier run and `overwrite` is False, or it holds other files.
        NotADirectoryError: It is a file.
    """
    check_installed("matplotlib", "jinja2")
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; choose a folder with --out")
    present = [p.name for p in folder.iterdir()] if folder.exists() else []
    if present and not _is_run(folder / CONFIG):
        raise FileExistsError(f"{folder} holds other files; choose an empty folder with --out")
    if present and not overwrite:
        raise FileExistsError(
            f"{folder} holds an earlier run; choose another folder with --out, or --overwrite"
        )
    folder.mkdir(parents=True, exist_ok=True)
    started = {"finished": False, "versions": versions()}
    write_atomically(folder / CONFIG, json.dumps(started, indent=2) + "\n")
    return folder


def _is_run(config: Path) -> bool:
    """A `config.json` of ours, not that of another program."""
    try:
        return "infoflow" in json.loads(config.read_text(encoding="utf-8"))["versions"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def save_run(
    comparison: Comparison,
    folder: str | Path,
    config: Mapping[str, Any],
    *,
    title: str,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Write `config.json`, `tables/*.csv`, `figures/*.png` and `report.html`.

    Args:
        comparison: What `compare` returned.
        folder: A folder from `prepare_folder`.
        config: Settings of the run, JSON-able; versions are added.
        title: Heading of the report.
        about: Facts for the report.

    Returns:
        Path of the report.
    """
    from infoflow.reporting import figures, write_report

    folder = Path(folder)
    (folder / "tables").mkdir(exist_ok=True)
    (folder / "figures").mkdir(exist_ok=True)
    for name, table in run_tables(comparison).items():
        table.to_csv(folder / "tables" / f"{name}.csv")
    drawn = figures(comparison)
    for name, figure in drawn.items():
        figure.savefig(folder / "figures" / f"{name}.png", dpi=130)
    path = write_report(comparison, drawn, folder / "report.html", title=title, about=about)
    about_run = {**config, "versions": versions()}
    write_atomically(folder / CONFIG, json.dumps(about_run, indent=2, default=str) + "\n")
    return path


def run_tables(comparison: Comparison) -> dict[str, Any]:
    """All tables of a run, at full precision."""
    units = comparison.rec.units.table.set_index("unit")
    for name, partition in comparison.labels.items():
        units[name] = partition.labels
    return {
        "partitions": comparison.partitions,
        "q": comparison.q.set_index(["source", "measure"]),
        "weightings": comparison.weightings.set_index(["source", "weighting"]),
        "correlations": comparison.correlations.set_index(["kind", "scope", "predictor"]),
        "agreement": comparison.agreement,
        "layers": comparison.layers.set_index(["layer", "measure"]),
        "layer_to_layer": comparison.layer_to_layer.set_index(["source", "from", "to"]),
        "common_set": comparison.common.partitions,
        "common_predictions": comparison.common.predictions.set_index("partition"),
        "common_between_layers": comparison.common.between_layers.set_index("partition"),
        "units": units,
        "module_flow": comparison.search.exchange.to_frame().set_index(["source", "target"]),
        "search_history": comparison.search.history.rename_axis("evaluation"),
    }
