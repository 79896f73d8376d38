"""Modularly varying goals: the retina with "and" and "or" of its two sides in turn.

python -m experiments.training.goals
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
import tyro
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import infoflow as ifl
from experiments.common.cells import measure_cells
from experiments.lesions.networks import wrong
from experiments.training.measure import FIELDS, measured
from infoflow.models import mlp
from infoflow.toys.trained import heads_cross_entropy, retina_pictures

PATH = Path(__file__).parent / "results" / "goals.csv"
KEY = ("goal", "seed")
GOALS = ("and", "or", "in turn")
STEPS = (0, 120, 320, 1000, 3000)
TURN = 20
SEEDS = range(8)
SIDES = {f"side {h}": partial(wrong, head=h) for h in range(2)}


def study(goal: str, seed: int) -> list[dict[str, object]]:
    """One network, a row a checkpoint."""
    pixels, left, right = retina_pictures()
    wanted = {"and": (left & right).long(), "or": (left | right).long()}
    model = mlp(8, (16, 16), 2, seed=seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    rows: list[dict[str, object]] = []
    for step in range(STEPS[-1] + 1):
        if step in STEPS:
            shown = wanted["or" if goal == "in turn" else goal]
            rec = ifl.record(model.eval(), ["fc1", "fc2"], pixels, shown, loss=cross_entropy)
            accuracy = float((rec.outputs[:].argmax(1) == shown).double().mean())
            about = {"goal": goal, "seed": seed, "step": step, "accuracy": round(accuracy, 4)}
            judged = with_side_heads(model, rec, torch.stack([left, right], 1).long())
            row = measured(rec, seed=seed, tasks=SIDES, lesioned=judged)
            rows.append({**about, "side": round(side(model), 5), **row})
        now = ("and", "or")[step // TURN % 2] if goal == "in turn" else goal
        model.train()
        optimiser.zero_grad()
        cross_entropy(model(pixels), wanted[now]).backward()
        optimiser.step()
    return rows


def with_side_heads(model: nn.Sequential, rec: ifl.Recording, sides: Tensor) -> ifl.Recording:
    """The same hidden layers with two heads, each a logistic regression for one side's object."""
    hidden = torch.as_tensor(rec["fc2"])
    heads = nn.Linear(hidden.shape[1], 4)
    nn.init.zeros_(heads.weight)
    nn.init.zeros_(heads.bias)
    optimiser = torch.optim.LBFGS(heads.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = heads_cross_entropy(heads(hidden), sides)
        loss = loss + 1e-3 * heads.weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    layers = dict(model.named_children())
    judged = nn.Sequential()
    for name in ("fc1", "fc2"):
        judged.add_module(name, layers[name])
    judged.add_module("out", heads)
    return ifl.record(judged, ["fc1", "fc2"], rec.inputs, sides, loss=heads_cross_entropy)


def side(model: nn.Module) -> float:
    """Mean over units of the first layer of |L - R| / (L + R), of absolute weights by side."""
    weight = model.get_parameter("fc1.linear.weight").detach().abs()
    left, right = weight[:, :4].sum(1), weight[:, 4:].sum(1)
    return float(((left - right).abs() / (left + right)).mean())


def main() -> None:
    """Train and measure every network."""
    torch.set_num_threads(1)
    cells = [(goal, seed) for seed in SEEDS for goal in GOALS]
    fields = (*KEY, "step", "accuracy", "side", *FIELDS)
    measure_cells(PATH, fields, KEY, cells, study, len(STEPS))


if __name__ == "__main__":
    tyro.cli(main)
