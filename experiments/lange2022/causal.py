"""The causal module score beside Q*: `python -m experiments.lange2022.causal`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch.nn.functional import cross_entropy

from experiments.common.causal_rows import measure_causal
from experiments.common.layer_rows import classifier_facts
from experiments.common.style import save_figure
from experiments.lange2022.networks import LAYERS, LEAST_ACCURACY, task_networks
from experiments.lange2022.settings import tasks
from infoflow.data import load_mnist
from infoflow.measured import Weighting
from infoflow.plot import check_installed
from infoflow.recording import record
from infoflow.sweep import Sweep, sweep

PER_TASK = 27  # untrained networks in one task
BUDGETS: dict[Weighting, int] = {"ncut": 2, "pairs": 1, "conductance": 2}  # times the option


@dataclass(frozen=True)
class CausalStudy:
    """Train networks of the 2022 study again, and give each its causal module score.

    The same command goes on after an interruption.
    """

    out: Path = Path("runs/lange2022-causal")
    """Folder for the sweep, causal.csv.gz, findings.md and the figure."""
    study: Path | None = None
    """Folder with rows.csv.gz of the 2022 study that the networks are those of; without it only
    causal.csv.gz is written."""
    dataset: Literal["digits", "mnist"] = "digits"
    """The bundled 8x8 digits, or MNIST."""
    data_dir: Path | None = None
    """Folder of the four MNIST files; by default the environment variable INFOFLOW_DATA."""
    seeds: int = 3
    """Networks of each of the 30 settings."""
    untrained: int = 27
    """Untrained networks."""
    max_epochs: int = 500
    """Training ends here at the latest."""
    weightings: tuple[Weighting, ...] = tuple(BUDGETS)
    """Of the exchange: one search and one score under each."""
    budget: int = 400
    """Partitions that the causal search under pairs measures; under the others twice as many."""
    samples: int = 40
    """Random partitions that a score is set against."""
    donors: int = 60
    """Samples that a module's values are taken from."""
    contexts: int = 40
    """Samples that they are put in."""
    workers: int = 1
    """Processes on this machine."""
    progress: bool = True
    """Show a bar over tasks."""


def measure_causal_networks(
    first_seed: int,
    networks: Sequence[Mapping[str, Any]],
    *,
    dataset: str,
    data_dir: str | None = None,
    max_epochs: int = 500,
    weightings: Sequence[Weighting] = tuple(BUDGETS),
    budget: int = 400,
    **options: Any,
) -> list[dict[str, Any]]:
    """Rows of all networks of one task that reach 80 % (the paper's rule): one a network, weighting
    and source of partitions; both hidden layers together.

    Args:
        first_seed, networks, dataset, data_dir, max_epochs: As for `task_networks`.
        weightings: One search and one score under each.
        budget: Of a search; times `BUDGETS`.
        options: As for `measure_causal`.
    """
    rows: list[dict[str, Any]] = []
    found = task_networks(
        first_seed, networks, dataset=dataset, data_dir=data_dir, max_epochs=max_epochs
    )
    for about, result, data in found:
        rec = record(result.model, list(LAYERS), data.test_x, data.test_y, loss=cross_entropy)
        facts = {**about, **classifier_facts(rec)}
        if about["trained"] and facts["test_accuracy"] < LEAST_ACCURACY:
            continue
        for weighting in weightings:
            most, first = BUDGETS[weighting] * budget, result.config.seed
            scored = measure_causal(rec, weighting=weighting, budget=most, seed=first, **options)
            rows += [{**facts, "weighting": weighting, **row} for row in scored]
    return rows


def run(study: CausalStudy) -> Sweep:
    """Score all networks that are not yet in the folder.

    Raises:
        FileNotFoundError: MNIST's files are missing.
        ValueError: They are damaged, or the folder holds a study with other settings.
    """
    if study.dataset == "mnist":
        load_mnist(study.data_dir)  # refused here, not in every task
        if study.data_dir is not None:
            os.environ["INFOFLOW_DATA"] = str(study.data_dir.resolve())
    names = ("dataset", "max_epochs", "weightings", "budget", "samples", "donors", "contexts")
    return sweep(
        measure_causal_networks,
        tasks(study.seeds, study.untrained, per_task=PER_TASK),
        study.out / "sweep",
        fixed={name: getattr(study, name) for name in names},
        workers=study.workers,
        progress=study.progress,
    )


def finish(out: Path, study: Path | None) -> list[Path]:
    """From the sweep in `out` to the table; with the study's rows also the findings and the figure.

    Raises:
        ValueError: A network is not the one in the study's rows.
    """
    from experiments.lange2022.causal_findings import CAUSAL_ROWS, figure_causal, pages, save_causal
    from experiments.lange2022.rows import load_rows

    causal = save_causal(out / "sweep", out / CAUSAL_ROWS)
    if study is None:
        return [out / CAUSAL_ROWS]
    rows = load_rows(study)
    (out / "findings.md").write_text("\n".join(pages(causal, rows)), encoding="utf-8")
    figures = save_figure(figure_causal(causal, rows), out / "figures", "figure_causal")
    return [out / CAUSAL_ROWS, out / "findings.md", *figures]


def main() -> None:
    """The command line."""
    import tyro

    study = tyro.cli(CausalStudy)
    try:
        if study.study is not None:
            check_installed("matplotlib")  # before training, not after it
        found = run(study)
        print(found)
        found.check()
        print(*finish(study.out, study.study), sep="\n")
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
