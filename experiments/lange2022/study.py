"""The 2022 study from training to figures."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.lange2022.measure import measure_networks
from experiments.lange2022.settings import tasks
from infoflow.data import load_mnist
from infoflow.plot import check_installed
from infoflow.sweep import Sweep, sweep

PER_TASK = 27  # untrained networks in one task: about as long as training a stack


@dataclass(frozen=True)
class Study:
    """Reproduce Lange et al. (2022): train, measure, cluster, compare, draw.

    The same command goes on after an interruption.
    """

    out: Path = Path("runs/lange2022")
    """Folder for the sweep, rows.csv.gz, claims.md and the figures."""
    dataset: Literal["digits", "mnist"] = "digits"
    """The bundled 8x8 digits, or MNIST."""
    data_dir: Path | None = None
    """Folder of the four MNIST files; by default the environment variable INFOFLOW_DATA."""
    seeds: int = 2
    """Networks of each of the 30 settings; the paper has 9."""
    untrained: int = 20
    """Untrained networks; the paper has 500."""
    max_epochs: int = 500
    """Training ends here at the latest."""
    n_steps: int = 5000
    """Monte Carlo steps of the paper's clustering."""
    workers: int = 2
    """Processes on this machine."""
    scheduler: str | None = None
    """Address of a Dask scheduler to run on instead, tcp://HOST:PORT."""
    shard: str = "1/1"
    """i/n: train and measure the i-th of n parts, draw nothing; then run once without it."""
    progress: bool = True
    """Show a bar over tasks."""


def run(study: Study) -> Sweep:
    """Train and measure all networks that are not yet in the folder.

    Raises:
        FileNotFoundError: MNIST's files are missing.
        ValueError: They are damaged, or the folder holds a study with other settings.
    """
    if study.dataset == "mnist":
        load_mnist(study.data_dir)  # refused here, not in every task
        if study.data_dir is not None:
            # for the workers to inherit: a path is no part of what makes two runs equal
            os.environ["INFOFLOW_DATA"] = str(study.data_dir.resolve())
    fixed = {name: getattr(study, name) for name in ("dataset", "max_epochs", "n_steps")}
    return sweep(
        measure_networks,
        tasks(study.seeds, study.untrained, per_task=PER_TASK),
        study.out / "sweep",
        fixed=fixed,
        workers=study.workers,
        scheduler=study.scheduler,
        shard=_shard(study.shard),
        progress=study.progress,
    )


def finish(out: Path) -> list[Path]:
    """From the sweep in `out` to the table of rows, the claims and the figures."""
    from experiments.lange2022.claims import page
    from experiments.lange2022.draw import draw
    from experiments.lange2022.rows import ROWS, save_rows

    rows = save_rows(out / "sweep", out / ROWS)
    (out / "claims.md").write_text(page(rows), encoding="utf-8")
    return [out / ROWS, out / "claims.md", *draw(out)]


def _shard(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal()):
        raise ValueError(f"shard: expected i/n such as 2/8, got {text!r}")
    return int(number), int(count)


def main() -> None:
    """The command line."""
    import tyro

    study = tyro.cli(Study)
    try:
        if study.shard == Study.shard:
            check_installed("matplotlib")  # before training, not after it
        found = run(study)
        print(found)
        found.check()
        if study.shard == Study.shard:
            print(*finish(study.out), sep="\n")
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        sys.exit(f"error: {error}")
