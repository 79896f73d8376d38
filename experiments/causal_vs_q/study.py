"""The study from training to figures."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from experiments.causal_vs_q.measure import TABLES, measure
from infoflow.data import load_mnist
from infoflow.measured import Weighting
from infoflow.plot import check_installed
from infoflow.study import Table, save_table
from infoflow.sweep import Sweep, load_sweep, sweep

Family = Literal["toys", "digits", "mnist", "conv", "transformer"]
FEWER_SEEDS = ("mnist", "conv", "transformer")
NETWORK = ("family", "setting", "seed", "trained", "accuracy")  # columns of every table
FIRST_SEED = 1  # seed 0 was used to write the code


@dataclass(frozen=True)
class Study:
    """Compare Q and other cheap scores with the exchange that interventions measure.

    The same command goes on after an interruption.
    """

    out: Path = Path("runs/causal_vs_q")
    """Folder for the sweep, the tables and the figures."""
    families: tuple[Family, ...] = ("digits",)
    """Which networks."""
    seeds: int = 3
    """Seeds of each family; MNIST, conv and transformer stop at 5."""
    budget: int = 400
    """Partitions that each search measures."""
    weighting: Weighting = "pairs"
    """Of the exchange. The study's own, whatever the package's default is by now."""
    data_dir: Path | None = None
    """Folder of the four MNIST files; by default the environment variable INFOFLOW_DATA."""
    max_epochs: int = 500
    """Training of perceptrons ends here at the latest."""
    workers: int = 2
    """Processes on this machine."""
    scheduler: str | None = None
    """Address of a Dask scheduler to run on instead, tcp://HOST:PORT."""
    progress: bool = True
    """Show a bar over tasks."""


def tasks(families: tuple[str, ...], seeds: int) -> list[dict[str, Any]]:
    """Seed by seed, so that an interrupted run is a whole study of fewer seeds."""
    return [
        {"family": family, "seed": seed}
        for seed in range(FIRST_SEED, FIRST_SEED + seeds)
        for family in families
        if family not in FEWER_SEEDS or seed < FIRST_SEED + 5
    ]


def run(study: Study) -> Sweep:
    """Train and measure all networks that are not yet in the folder.

    Raises:
        FileNotFoundError: MNIST's files are missing.
        ValueError: They are damaged, no family or seed, or a folder of a study with other settings.
    """
    if not study.families or study.seeds < 1:
        raise ValueError(f"expected families and seeds >= 1, got {study.families}, {study.seeds}")
    if "mnist" in study.families:
        load_mnist(study.data_dir)  # refused here, not in every task
        if study.data_dir is not None:
            # for the workers to inherit: a path is no part of what makes two runs equal
            os.environ["INFOFLOW_DATA"] = str(study.data_dir.resolve())
    return sweep(
        measure,
        tasks(study.families, study.seeds),
        study.out / "sweep",
        fixed={
            "budget": study.budget,
            "max_epochs": study.max_epochs,
            "weighting": study.weighting,
        },
        workers=study.workers,
        scheduler=study.scheduler,
        progress=study.progress,
    )


def save_tables(out: Path) -> list[Path]:
    """The sweep's rows as one CSV a table."""
    import pandas as pd

    rows: Table = pd.DataFrame(load_sweep(out / "sweep"))
    paths = []
    for table in TABLES:
        part = rows[rows["table"] == table].drop(columns="table")
        known = [c for c in part if c in NETWORK or part[c].notna().any()]
        paths.append(out / f"{table}.csv.gz")
        save_table(part[known].round(7), paths[-1])
    return paths


def main() -> None:
    """The command line."""
    import tyro

    from experiments.causal_vs_q.draw import draw

    study = tyro.cli(Study)
    try:
        check_installed("matplotlib")  # before training, not after it
        found = run(study)
        print(found)
        found.check()
        print(*save_tables(study.out), *draw(study.out, study.out), sep="\n")
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        sys.exit(f"error: {error}")
