"""The study's questions on other architectures: a convolutional and a recurrent network, digits.

    python -m experiments.lange2022.architectures

The 2022 paper leaves them to future work. Small: five seeds of each setting. Units of a convolution
are its channels; those of the recurrent network its state, at all eight steps (an image is read row
by row). Rows go to `results/architectures.csv.gz`; interrupted, it begins again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import tyro
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import infoflow as ifl
from experiments.common.builders import fit
from experiments.common.layer_rows import classifier_facts, measure_modularity
from experiments.lange2022.claims import pairs_of
from infoflow.data import load_digits
from infoflow.models import isolated_rng
from infoflow.study import Table, agreement_table, estimate, load_table, save_table
from infoflow.unit_similarity import DOWNSTREAM, UPSTREAM

ROWS = Path(__file__).parent / "results" / "architectures.csv.gz"
SETTINGS = {
    "plain": (0.0, 1e-5),
    "dropout 0.2": (0.2, 1e-5),
    "dropout 0.5": (0.5, 1e-5),
    "L2": (0.0, 1e-1),
}
"""Dropout, and weight decay as AdamW has it."""
UNTRAINED = "untrained"
STEPS = 800  # of 200 images each


class Convolutional(nn.Module):
    """Two convolutions of 16 and 32 channels on 8 × 8 images, dropout of whole channels."""

    layers = ("first", "second")

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.enter, self.middle = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
        self.first, self.second = nn.ReLU(), nn.ReLU()
        self.drop, self.leave = nn.Dropout2d(dropout), nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(batch, 10)` of flat images `(batch, 64)`."""
        h = self.drop(self.first(self.enter(x.reshape(-1, 1, 8, 8))))
        h = self.drop(self.second(self.middle(nn.functional.max_pool2d(h, 2))))
        return self.leave(nn.functional.max_pool2d(h, 2).flatten(1))


class Recurrent(nn.Module):
    """A gated recurrent network of 32 units that reads an image row by row."""

    layers = (ifl.Site("state", call="all"),)

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.cell, self.state = nn.GRUCell(8, 32), nn.Identity()
        self.drop, self.leave = nn.Dropout(dropout), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(batch, 10)` of flat images `(batch, 64)`."""
        h = x.new_zeros(len(x), 32)
        for row in x.reshape(-1, 8, 8).unbind(1):
            h = self.drop(self.state(self.cell(row, h)))
        return self.leave(h)


KINDS = {"convolutional": Convolutional, "recurrent": Recurrent}


def networks(kind: str, seed: int) -> Iterator[tuple[str, nn.Module]]:
    """Trained networks by setting, and an untrained one."""
    data = load_digits()
    for setting, (dropout, decay) in {**SETTINGS, UNTRAINED: (0.0, 0.0)}.items():
        with isolated_rng(seed):
            model = KINDS[kind](dropout)
            if setting != UNTRAINED:
                fit(
                    model,
                    data.train_x,
                    data.train_y,
                    steps=STEPS,
                    batch=200,
                    seed=seed,
                    decay=decay,
                )
        yield setting, model.eval()


def measure(seeds: int) -> Iterator[dict[str, Any]]:
    """One row a network, layer and measure."""
    data = load_digits()
    for kind, made in KINDS.items():
        for seed in range(seeds):
            for setting, model in networks(kind, seed):
                rec = ifl.record(
                    model, list(made.layers), data.test_x, data.test_y, loss=cross_entropy
                )
                about: dict[str, object] = {"kind": kind, "setting": setting, "seed": seed}
                about["test_accuracy"] = classifier_facts(rec)["test_accuracy"]
                print(about, flush=True)
                for row in measure_modularity(rec, seed=seed):
                    yield {**about, **{k: v for k, v in row.items() if k != "matrix"}}


def page(rows: Table) -> str:
    """Q* against plain networks, and agreement of clusters, as Markdown."""
    lines = [
        "| network | setting | accuracy | Q* | ... − plain, upstream | downstream "
        "| agreement within − across |",
        "|---|---|---|---|---|---|---|",
    ]
    found = agreement_table(
        rows[rows["partition"] != ""], by=["kind", "setting", "seed", "layer"], unused="cluster"
    )
    within = found[pairs_of("upstream") + pairs_of("downstream")].mean(axis=1)
    split = found.assign(split=within - found[pairs_of("across")].mean(axis=1))
    for kind in KINDS:
        own = rows[rows["kind"] == kind]
        plain = own[own["setting"] == "plain"]
        for setting in (*SETTINGS, UNTRAINED):
            some = plain if setting == "plain" else own[own["setting"] == setting]
            rises = [
                "" if some is plain else str(estimate(_q(some, part) - _q(plain, part)))
                for part in (UPSTREAM, DOWNSTREAM)
            ]
            apart = split[(split["kind"] == kind) & (split["setting"] == setting)]
            apart = estimate(apart.groupby("seed")["split"].mean())
            lines.append(
                f"| {kind} | {setting} | {some['test_accuracy'].mean():.3f} "
                f"| {_q(some).mean():.3f} | {rises[0]} | {rises[1]} | {apart} |"
            )
    return "\n".join(lines) + "\n"


def _q(rows: Table, measures: tuple[str, ...] = (*UPSTREAM, *DOWNSTREAM)) -> Table:
    """Mean Q* by seed."""
    return rows[rows["measure"].isin(measures)].groupby("seed")["q_star"].mean()


def main(seeds: int = 5) -> None:
    """Train, measure, save the rows, print the table."""
    torch.set_num_threads(1)
    save_table(pd.DataFrame(measure(seeds)).round(7), ROWS)
    print(page(load_table(ROWS)))


if __name__ == "__main__":
    tyro.cli(main)
