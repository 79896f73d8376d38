"""Modules within modules by the exchange, in a few of the study's networks.

    python -m experiments.lange2022.nested --data-dir FOLDER

Networks of seed 0, trained again, and an untrained one; both hidden layers together, halves within
halves as long as a division exchanges less than the same with the units of each layer shuffled
(p < .05, 99 shuffles). Rows, one a module: `results/mnist/nested.csv.gz`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import tyro

import infoflow as ifl
from experiments.lange2022.networks import LAYERS, task_networks
from experiments.lange2022.settings import table_1, tasks
from infoflow.module_tree import ModuleTree
from infoflow.searching.tree import hierarchy
from infoflow.study import Table, load_table, save_table

ROWS = Path(__file__).parent / "results" / "mnist" / "nested.csv.gz"
CHOSEN = {("dropout", 0.05), ("dropout", 0.35), ("dropout", 0.65), ("l2", 1e-2)}


def networks(
    dataset: str, data_dir: str | None, epochs: int
) -> Iterator[tuple[str, ifl.Recording]]:
    """The chosen networks by name, and an untrained one."""
    wanted = [asdict(s) for s in table_1() if (s.family, _strength(asdict(s))) in CHOSEN]
    for task in tasks(1, 1):
        untrained = task["networks"][0]["family"] == "untrained"
        if not untrained and not any(network in wanted for network in task["networks"]):
            continue
        options = {"dataset": dataset, "data_dir": data_dir, "max_epochs": epochs}
        for about, result, data in task_networks(**task, **options):
            setting = {name: about[name] for name in ("family", "dropout", "l1", "l2")}
            if untrained or setting in wanted:
                name = "untrained" if untrained else f"{setting['family']} {_strength(setting):g}"
                yield name, ifl.record(result.model, list(LAYERS), data.test_x[:2000])


def _strength(setting: dict[str, Any]) -> float:
    return setting[setting["family"]] if setting["family"] != "untrained" else 0.0


def rows_of(name: str, tree: ModuleTree) -> Iterator[dict[str, Any]]:
    """One row a module, the whole network first."""
    for path, node in tree.walk():
        yield {
            "network": name,
            "path": "".join(f"/{k}" for k in path) or "/",
            "units": len(node.units),
            "score": 2**node.value,
            "p_value": node.p_value,
            "divides": bool(node.children),
            "why_not": node.why,
        }


def page(rows: Table) -> str:
    """How deep each network divides, as Markdown."""
    lines = [
        "| network | score of the first halves (p) | modules by level: units "
        "| divisions that stand |",
        "|---|---|---|---|",
    ]
    for name, own in rows.groupby("network", sort=False):
        top = own[own["path"] == "/"].iloc[0]
        depth = own["path"].str.rstrip("/").str.count("/")
        levels = [
            " + ".join(map(str, own.loc[depth == level, "units"])) for level in sorted(set(depth))
        ]
        lines.append(
            f"| {name} | {top['score']:.2f} ({top['p_value']:.2f}) | {'; '.join(levels)} "
            f"| {int(own['divides'].sum())} of {int(own['p_value'].notna().sum())} tried |"
        )
    return "\n".join(lines) + "\n"


def main(
    dataset: str = "mnist",
    data_dir: str | None = None,
    budget: int = 200,
    max_epochs: int = 500,
    max_depth: int = 3,
) -> None:
    """Train, divide, save the rows, print the table."""
    rows: list[dict[str, Any]] = []
    for name, rec in networks(dataset, data_dir, max_epochs):
        tree = hierarchy(
            rec, budget=budget, samples=40, donors=60, contexts=40, max_depth=max_depth
        )
        rows += rows_of(name, tree)
        print(name, tree, flush=True)
        save_table(pd.DataFrame(rows).round(6), ROWS)
    print(page(load_table(ROWS)))


if __name__ == "__main__":
    tyro.cli(main)
