"""Networks trained with penalties of growing strength, a row each.

python -m experiments.training.sweep
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
import tyro
from torch import Tensor
from torch.nn.functional import cross_entropy

import infoflow as ifl
from experiments.common.cells import measure_cells
from experiments.lesions.networks import wrong
from experiments.training.measure import FIELDS, measured
from infoflow.data import load
from infoflow.models import mlp
from infoflow.penalties import Goal, Links, ModularPenalty, SoftModules, hard_members
from infoflow.toys.trained import heads_cross_entropy
from infoflow.train import TrainConfig, train

PATH = Path(__file__).parent / "results" / "sweep.csv"
KEY = ("task", "penalty", "strength", "seed")
HIDDEN = (32, 32)
SEEDS = range(5)
PENALTIES: Mapping[str, tuple[Links, Goal, bool]] = {
    "cut of weights": ("weights", "cut", False),
    "cut of slopes": ("slopes", "cut", False),
    "Q of correlations": ("correlations", "q", False),
    "cut of weights and heads": ("weights", "cut", False),
    "Q of weights, learnt": ("weights", "q", True),
    "Q of slopes, learnt": ("slopes", "q", True),
}
"""What links modules, what is asked of the links, and whether modules are learnt."""
STRENGTHS = {"digits": (0.1, 0.3, 1.0, 3.0), "two digits": (0.1, 0.3, 1.0, 3.0)}
OF_TASK = {
    "digits": ("cut of weights", "cut of slopes", "Q of correlations"),
    "two digits": (
        "cut of weights",
        "cut of slopes",
        "cut of weights and heads",
        "Q of weights, learnt",
        "Q of slopes, learnt",
    ),
}  # fmt: skip


def cells() -> list[tuple[str, str, float, int]]:
    """(task, penalty, strength, seed) of every network; those without penalty first."""
    found = []
    for seed in SEEDS:
        for task, penalties in OF_TASK.items():
            found.append((task, "none", 0.0, seed))
            found += [(task, p, s, seed) for p in penalties for s in STRENGTHS[task]]
    return found


def study(task: str, penalty: str, strength: float, seed: int) -> list[dict[str, object]]:
    """The row of one network."""
    links, goal, learnt = PENALTIES.get(penalty, ("weights", "cut", False))
    modular = ModularPenalty(strength, links=links, goal=goal)
    if task == "digits":
        rec, accuracy, given = digits(modular, seed)
        tasks = None
    else:
        heads = penalty == "cut of weights and heads"
        rec, accuracy, given = two_digits(modular, seed, learnt=learnt, heads=heads)
        tasks = {f"head {h}": partial(wrong, head=h) for h in range(2)}
    about = {"task": task, "penalty": penalty, "strength": strength, "seed": seed}
    row = measured(rec, seed=seed, tasks=tasks, given=given)
    return [{**about, "accuracy": round(accuracy, 4), **row}]


def digits(modular: ModularPenalty, seed: int) -> tuple[ifl.Recording, float, ifl.Partition]:
    """Digits by `train`: the recording of all images, test accuracy, modules given."""
    data = load("digits", None)
    config = TrainConfig(hidden=HIDDEN, seed=seed, max_epochs=60, modular=modular)
    result = train(config, data)
    x, y = torch.cat([data.train_x, data.test_x]), torch.cat([data.train_y, data.test_y])
    rec = ifl.record(result.model, ["fc1", "fc2"], x, y, loss=cross_entropy)
    return rec, result.test_accuracy, modular.partition(HIDDEN)


def two_digits(
    modular: ModularPenalty, seed: int, *, learnt: bool, heads: bool = False, steps: int = 300
) -> tuple[ifl.Recording, float, ifl.Partition]:
    """Two digits side by side, a head for each, by a loop of one's own; accuracy over both heads
    on pairs of images not trained on.

    Args:
        modular: The penalty.
        seed: Of the pairs, the weights and the modules learnt.
        learnt: Modules are learnt rather than given.
        heads: The penalty also counts the last weights, and each head belongs to a module.
        steps: Of Adam.
    """
    data = load("digits", None)
    x, y = _pairs(data.train_x, data.train_y, seed)
    test_x, test_y = _pairs(data.test_x, data.test_y, seed)
    model = mlp(128, HIDDEN, 20, seed=seed)
    first, second, out = model.children()
    soft = SoftModules(HIDDEN, modular.n_modules, seed=seed) if learnt else None
    hard = hard_members(modular.partition(HIDDEN), HIDDEN)
    extra = list(soft.parameters()) if soft else []
    optimiser = torch.optim.Adam([*model.parameters(), *extra], lr=3e-3)
    directions = torch.Generator().manual_seed(seed)
    weights = [second.get_parameter("linear.weight")]
    if heads:
        hard.append(torch.eye(2).repeat_interleave(10, 0))
        weights.append(out.get_parameter("weight"))
    for _ in range(steps):
        optimiser.zero_grad()
        lower = first(x)
        upper = second(lower)
        members = soft() if soft else hard
        shared = modular(weights, [lower, upper], members, generator=directions)
        (heads_cross_entropy(out(upper), y) + shared).backward()
        optimiser.step()
    model.eval().zero_grad(set_to_none=True)
    every_x, every_y = torch.cat([x, test_x]), torch.cat([y, test_y])
    rec = ifl.record(model, ["fc1", "fc2"], every_x, every_y, loss=heads_cross_entropy)
    with torch.no_grad():
        outputs = model(test_x)
    errors = [float(wrong(outputs, test_y, head=h).mean()) for h in range(2)]
    given = soft.partition if soft else modular.partition(HIDDEN)
    return rec, 1 - sum(errors) / 2, given


def _pairs(x: Tensor, y: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    other = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    return torch.cat([x, x[other]], 1), torch.stack([y, y[other]], 1)


def main() -> None:
    """Train and measure every network of the sweep."""
    torch.set_num_threads(1)
    measure_cells(PATH, (*KEY, "accuracy", *FIELDS), KEY, cells(), study)


if __name__ == "__main__":
    tyro.cli(main)
