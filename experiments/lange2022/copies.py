"""Does dropout make near-copies of units? The paper's own guess why it raises Q*.

    python -m experiments.lange2022.copies experiments/lange2022/results/mnist --data-dir FOLDER

Trains the dropout networks of some seeds again (their test accuracy must be the committed one) and
asks of every hidden layer: how near is each used unit's nearest other unit (largest |ρ| over the
test inputs), and what breaks when units are set to their means: the units of a cluster one by one,
and all of them together? If clusters hold near-copies, single units can be spared and whole
clusters cannot: joint ÷ sum of single is above 1, and above that of random groups of the same
sizes. Clusters are the study's own under `i_sens_norm`, where dropout raises Q* most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import tyro
from torch.nn.functional import cross_entropy

import infoflow as ifl
from experiments.lange2022.networks import LAYERS, task_networks
from experiments.lange2022.rows import load_rows
from experiments.lange2022.settings import tasks
from infoflow.interventions import Mean
from infoflow.study import Table, decode, estimate, load_table, save_table

ROWS = "copies.csv.gz"
MEASURE = "i_sens_norm"
COLUMNS = ("nearest", "copies", "ratio", "ratio_random")


def nearest(rec: ifl.Recording, layer: str) -> np.ndarray:
    """Of each used unit: its largest |ρ| with another of the layer."""
    used = ~rec.units.unused[rec.units.indices(layer)]
    rho = np.abs(np.corrcoef(rec.matrix(layer)[:, used].T))
    np.fill_diagonal(rho, 0)
    return rho.max(1)


def harm(rec: ifl.Recording, layer: str, groups: Sequence[np.ndarray]) -> float:
    """Rise of the mean cross-entropy (nats) when a group is set to its means, over the groups."""
    rise, inputs = 0.0, rec.rows(slice(None))
    before = float(cross_entropy(rec.outputs, rec.targets))  # type: ignore[arg-type]
    for group in groups:
        with torch.no_grad(), ifl.do(rec.model, {layer: Mean(group)}, recording=rec) as model:
            rise += float(cross_entropy(model(*inputs), rec.targets)) - before  # type: ignore[arg-type]
    return rise


def joint_to_single(rec: ifl.Recording, layer: str, partition: ifl.Partition) -> float:
    """Harm of whole clusters ÷ harm of their units one by one."""
    groups = [np.flatnonzero(partition.labels == k) for k in range(partition.n_modules)]
    single = [np.array([unit]) for group in groups for unit in group.tolist()]
    return harm(rec, layer, groups) / harm(rec, layer, single)


def measure(
    results: Table, seeds: int, dataset: str, data_dir: str | None, max_epochs: int
) -> Iterator[dict[str, Any]]:
    """One row a network and layer.

    Raises:
        RuntimeError: A network is not the one in the study's rows.
    """
    rows = results[(results["family"] == "dropout") & (results["measure"] == MEASURE)]
    known = rows.set_index(["seed", "dropout", "layer"])
    for task in tasks(seeds, 0):
        if task["networks"][0]["family"] != "dropout":
            continue
        options = {"dataset": dataset, "data_dir": data_dir, "max_epochs": max_epochs}
        for about, result, data in task_networks(**task, **options):
            rec = ifl.record(result.model, list(LAYERS), data.test_x, data.test_y)
            accuracy = float((rec.outputs.argmax(1) == rec.targets).double().mean())
            for layer in LAYERS:
                saved = known.loc[(about["seed"], about["dropout"], layer)]
                if saved["test_accuracy"] != accuracy:
                    raise RuntimeError(f"{about}: accuracy {accuracy}, not that of the study")
                clusters = decode(saved["partition"])
                near = nearest(rec, layer)
                dealt = clusters.shuffled(np.random.default_rng(about["seed"]))
                yield {
                    "seed": about["seed"],
                    "dropout": about["dropout"],
                    "layer": layer,
                    "q_star": saved["q_star"],
                    "nearest": float(np.median(near)),
                    "copies": float((near > 0.9).mean()),
                    "ratio": joint_to_single(rec, layer, clusters),
                    "ratio_random": joint_to_single(rec, layer, dealt),
                }


def page(table: Table) -> str:
    """Layers by dropout rate as Markdown, and strong − weak per seed."""
    lines = [
        "| dropout | layer | median of the largest \\|ρ\\| | units with one above .9 "
        "| clusters: joint ÷ single | random groups |",
        "|---|---|---|---|---|---|",
    ]
    mean = table.groupby(["dropout", "layer"])[list(COLUMNS)].mean()
    for rate in (0.05, 0.2, 0.35, 0.5, 0.7):
        for layer in LAYERS:
            found = mean.loc[(rate, layer)]
            lines.append(
                f"| {rate:g} | {layer} | {found['nearest']:.2f} | {100 * found['copies']:.0f} % "
                f"| {found['ratio']:.2f} | {found['ratio_random']:.2f} |"
            )
    change = _change(table.assign(excess=table["ratio"] - table["ratio_random"]))
    lines += ["", "Strong − weak (three strongest less three weakest rates, per seed):", ""]
    names = {
        "nearest": "largest \\|ρ\\|",
        "copies": "share above .9",
        "ratio": "joint ÷ single",
        "excess": "the same less that of random groups",
    }
    lines += ["| layer | " + " | ".join(names.values()) + " |", "|---" * (len(names) + 1) + "|"]
    for layer in LAYERS:
        found = [str(estimate(change.loc[layer, name])) for name in names]
        lines.append(f"| {layer} | " + " | ".join(found) + " |")
    return "\n".join(lines) + "\n"


def _change(table: Table) -> Table:
    """Per layer and seed: means of the three strongest rates less those of the three weakest."""
    rates = sorted(table["dropout"].unique())
    columns = ["nearest", "copies", "ratio", "excess"]
    ends = [
        table[table["dropout"].isin(some)].groupby(["layer", "seed"])[columns].mean()
        for some in (rates[-3:], rates[:3])
    ]
    return ends[0] - ends[1]


def load(path: Path) -> Table:
    """Saved rows."""
    return load_table(path / ROWS)


def main(
    results: tyro.conf.Positional[Path],
    seeds: int = 3,
    dataset: str = "mnist",
    data_dir: str | None = None,
    max_epochs: int = 500,
) -> None:
    """Measure, save the rows beside the study's, print the tables."""
    table = pd.DataFrame(measure(load_rows(results), seeds, dataset, data_dir, max_epochs))
    save_table(table.round(6), results / ROWS)
    print(page(load(results)))


if __name__ == "__main__":
    tyro.cli(main)
