"""How modular networks are before, during and after ordinary training on digits.

python -m experiments.training.course
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import tyro
from torch.nn.functional import cross_entropy

import infoflow as ifl
from experiments.common.cells import measure_cells
from experiments.training.measure import FIELDS, measured
from infoflow.data import load
from infoflow.models import isolated_rng, mlp
from infoflow.train import Seeds, TrainConfig, epoch_batches

PATH = Path(__file__).parent / "results" / "course.csv"
KEY = ("setting", "seed")
SETTINGS: Mapping[str, Mapping[str, Any]] = {"plain": {}, "dropout 0.5": {"dropout": 0.5}}
EPOCHS = (0, 1, 3, 10, 30, 100)
SEEDS = range(5)


def study(setting: str, seed: int) -> list[dict[str, object]]:
    """One network, a row a checkpoint: Adam on cross-entropy and the usual small L2."""
    data = load("digits", None)
    config = TrainConfig(hidden=(32, 32), seed=seed, **SETTINGS[setting])
    seeds = Seeds.of(seed)
    model = mlp(64, config.hidden, 10, config.dropout, seeds.weights)
    optimiser = torch.optim.Adam(model.parameters(), lr=config.lr)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    batches = epoch_batches(len(data.train_x), config)
    x, y = torch.cat([data.train_x, data.test_x]), torch.cat([data.train_y, data.test_y])
    rows: list[dict[str, object]] = []
    with isolated_rng(seeds.dropout):
        for epoch in range(EPOCHS[-1] + 1):
            if epoch in EPOCHS:
                rec = ifl.record(model.eval(), ["fc1", "fc2"], x, y, loss=cross_entropy)
                right = (rec.outputs[-len(data.test_y) :].argmax(1) == data.test_y).double()
                about = {"setting": setting, "seed": seed, "epoch": epoch}
                about["accuracy"] = round(float(right.mean()), 4)
                rows.append({**about, **measured(rec, seed=seed)})
            model.train()
            for some in next(batches):
                optimiser.zero_grad()
                loss = cross_entropy(model(data.train_x[some]), data.train_y[some])
                (loss + config.l2 * sum(w.square().sum() for w in matrices)).backward()
                optimiser.step()
    return rows


def main() -> None:
    """Train and measure every network."""
    torch.set_num_threads(1)
    fields = (*KEY, "epoch", "accuracy", *FIELDS)
    cells = [(setting, seed) for seed in SEEDS for setting in SETTINGS]
    measure_cells(PATH, fields, KEY, cells, study, len(EPOCHS))


if __name__ == "__main__":
    tyro.cli(main)
