"""The 2022 study from training to figures."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

from experiments.lange2022.measure import measure_networks
from experiments.lange2022.settings import tasks
from infoflow.data import load_mnist
from infoflow.sweep import Sweep, sweep

PER_TASK = 27  # untrained networks in one task: about as long as training a stack


def run(
    *,
    out: Path = Path("runs/lange2022"),
    dataset: Literal["digits", "mnist"] = "digits",
    data_dir: Path | None = None,
    seeds: int = 2,
    untrained: int = 20,
    max_epochs: int = 500,
    n_steps: int = 5000,
    workers: int = 2,
    scheduler: str | None = None,
    shard: str = "1/1",
    progress: bool = True,
) -> Sweep:
    """Reproduce Lange et al. (2022): train, measure, cluster, compare, draw.

    Run the same command again to go on after an interruption.

    Args:
        out: Folder for the sweep, `rows.csv.gz`, `claims.md` and the figures.
        dataset: The bundled digits, or MNIST.
        data_dir: Folder of the four MNIST files; by default the environment variable INFOFLOW_DATA.
        seeds: Networks of each of the 30 settings; the paper has 9.
        untrained: Untrained networks; the paper has 500.
        max_epochs: Training ends here at the latest.
        n_steps: Monte Carlo steps of the paper's clustering.
        workers: Processes on this machine.
        scheduler: Address of a Dask scheduler to run on instead.
        shard: `i/n` trains and measures the i-th of n parts only and draws nothing; run without it
            in the same folder afterwards.
        progress: Show a bar over tasks.
    """
    if dataset == "mnist":
        load_mnist(data_dir)  # missing or damaged files are refused here, not in every task
        if data_dir is not None:
            os.environ["INFOFLOW_DATA"] = str(data_dir.resolve())  # the workers inherit it
    return sweep(
        measure_networks,
        tasks(seeds, untrained, per_task=PER_TASK),
        out / "sweep",
        fixed={"dataset": dataset, "max_epochs": max_epochs, "n_steps": n_steps},
        workers=workers,
        scheduler=scheduler,
        shard=_shard(shard),
        progress=progress,
    )


def finish(out: Path) -> list[Path]:
    """From the sweep in `out` to the table of rows, the claims and the figures."""
    from experiments.lange2022.claims import claims, to_markdown
    from experiments.lange2022.draw import draw
    from experiments.lange2022.rows import ROWS, save_rows

    rows = save_rows(out / "sweep", out / ROWS)
    page = out / "claims.md"
    page.write_text(to_markdown(claims(rows)) + "\n", encoding="utf-8")
    return [out / ROWS, page, *draw(out)]


def _shard(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal()):
        raise ValueError(f"shard: expected i/n such as 2/8, got {text!r}")
    return int(number), int(count)


def main() -> None:
    """The command line."""
    import tyro

    try:
        found = tyro.cli(run)
        print(found)
        for failure in found.failures:
            print(f"failed: {failure.settings}\n{failure.error}", file=sys.stderr)
        if not found.failures and "--shard" not in " ".join(sys.argv):
            print(*finish(found.folder.parent), sep="\n")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    if found.failures:
        sys.exit("some tasks failed; the same command tries them again")
