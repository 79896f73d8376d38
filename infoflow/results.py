"""A run folder: configuration, tables, figures and the report of one analysis."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infoflow._files import without_formulas, write_atomically
from infoflow._provenance import versions
from infoflow._warnings import warn
from infoflow.comparing import Comparison
from infoflow.plot import check_installed

CONFIG = "config.json"


def prepare_folder(folder: str | Path, *, overwrite: bool = False) -> Path:
    """Where to write a run: `NAME.unfinished` beside the folder, which becomes the folder when
    `save_run` is done, so that it holds one whole run or none. What an interrupted run left is
    taken away.

    Asked for before a run; so what its figures and report need is checked here, too.

    Raises:
        ImportError: matplotlib or jinja2 is missing.
        FileExistsError: It holds an earlier run and `overwrite` is False, or it holds other files.
        NotADirectoryError: It is a file or a link.
    """
    check_installed("matplotlib", "jinja2")
    folder = Path(folder).expanduser().absolute()
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        what = f"a link to {folder.resolve()}" if folder.is_symlink() else "a file"
        raise NotADirectoryError(f"{folder} is {what}; choose a folder with --out")
    unfinished, replaced = _beside(folder)
    if replaced.exists() and not folder.exists():  # killed between the two renamings of save_run
        replaced.rename(folder)
    present = folder.exists() and any(folder.iterdir())
    if present and not _is_run(folder / CONFIG):
        raise FileExistsError(f"{folder} holds other files; choose an empty folder with --out")
    if present and not overwrite:
        raise FileExistsError(
            f"{folder} holds an earlier run; choose another folder with --out, or --overwrite"
        )
    for left in (unfinished, replaced):
        if left.exists() and not _is_run(left / CONFIG):
            raise FileExistsError(f"{left} holds other files; move it, or choose another --out")
        shutil.rmtree(left, ignore_errors=True)
    unfinished.mkdir(parents=True)
    _write_config(unfinished, {"finished": False})
    return unfinished


def _beside(folder: Path) -> tuple[Path, Path]:
    """Where a run is written, and where an earlier one is put while it is replaced."""
    return folder.with_name(folder.name + ".unfinished"), folder.with_name(
        folder.name + ".replaced"
    )


def _write_config(folder: Path, facts: Mapping[str, Any]) -> None:
    text = json.dumps({**facts, "versions": versions()}, indent=2, default=str)
    write_atomically(folder / CONFIG, text + "\n")


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
    """Write `config.json`, `tables/*.csv`, `figures/*.png`, `report.html` and `comparison`, which
    `infoflow.load` reads, and give the folder its name.

    Args:
        comparison: What `compare` returned.
        folder: What `prepare_folder` returned.
        config: Settings of the run, JSON-able; versions are added.
        title: Heading of the report.
        about: Facts for the report.

    Returns:
        Path of the report.
    """
    from infoflow.reporting import figures, report

    folder = Path(folder)
    (folder / "tables").mkdir(exist_ok=True)
    (folder / "figures").mkdir(exist_ok=True)
    for name, table in run_tables(comparison).items():
        without_formulas(table).to_csv(folder / "tables" / f"{name}.csv")
    for name, figure in figures(comparison).items():
        figure.savefig(folder / "figures" / f"{name}.png", dpi=130)
    path = report(
        comparison, folder / "report.html", title=title, about=about, settings=_flat(config)
    )
    try:
        comparison.save(folder / "comparison")
    except TypeError as error:  # something of the user's own: no reason to lose the rest
        warn(f"the comparison itself is not kept: {error}")
    _write_config(folder, config)
    finished = folder.with_name(folder.name.removesuffix(".unfinished"))
    _, replaced = _beside(finished)
    if finished.exists():
        finished.rename(replaced)
    folder.rename(finished)
    shutil.rmtree(replaced, ignore_errors=True)
    return finished / path.name


def _flat(settings: Mapping[str, Any], under: str = "") -> dict[str, Any]:
    """Settings within settings as `outer.inner`."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        inner = isinstance(value, Mapping)
        found |= _flat(value, f"{under}{name}.") if inner else {f"{under}{name}": value}
    return found


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
