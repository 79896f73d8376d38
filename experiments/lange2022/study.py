"""The 2022 study from training to rows."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

from experiments.lange2022.measure import measure_networks
from experiments.lange2022.settings import tasks
from infoflow.data import load_mnist
from infoflow.sweep import Sweep, sweep


def run(
    out: Path = Path("runs/lange2022"),
    *,
    dataset: Literal["digits", "mnist"] = "digits",
    data_dir: Path | None = None,
    seeds: int = 2,
    untrained: int = 20,
    max_epochs: int = 500,
    n_steps: int = 5000,
    workers: int = 2,
    scheduler: str | None = None,
    shard: tuple[int, int] = (1, 1),
    progress: bool = True,
) -> Sweep:
    """Train and measure; the arguments are those of the command line."""
    if dataset == "mnist":
        load_mnist(data_dir)  # missing or damaged files are refused here, not in every task
    if data_dir is not None:
        os.environ["INFOFLOW_DATA"] = str(data_dir)  # the workers inherit it
    per_task = max(1, min(50, untrained // (2 * seeds)))
    return sweep(
        measure_networks,
        tasks(seeds, untrained, per_task=per_task),
        out / "sweep",
        fixed={"dataset": dataset, "max_epochs": max_epochs, "n_steps": n_steps},
        workers=workers,
        scheduler=scheduler,
        shard=shard,
        progress=progress,
    )


def main() -> None:
    """The command line."""
    import tyro

    found = tyro.cli(run)
    print(found)
    for failure in found.failures:
        print(f"failed: {failure.settings}\n{failure.error}", file=sys.stderr)
