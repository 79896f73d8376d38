"""Networks whose modules are kept apart in training; their weights are stored (`make.py`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import infoflow as ifl
from experiments.recovery import problems
from experiments.recovery.known import KnownNetwork
from experiments.recovery.problems import Problem
from infoflow.models import isolated_rng

WEIGHTS = Path(__file__).parent / "weights"
COUNTS = {
    "digits": 16, "sum": 12, "heads": 12, "experts": 12, "boolean": 12, "moduli": 12,
    "recurrent": 16,
}  # fmt: skip
LINKS = (0.0, 0.05, 0.1, 0.2)
SAMPLES = 400
REASON = (
    "after every step of training, weights between modules were cut to `links` times the root mean "
    "square of those within them in the same layer"
)
LIMITS = {
    "digits": "what the links allow may be used, most where the digits are correlated",
    "sum": "the halves serve one output, so that their effects on it meet in a dense readout",
    "heads": "all heads hear the same trunk, whose units are in no module",
    "experts": "an expert that is not asked is silent: what it would send is seen only when it is",
    "boolean": "the roots are scored; in the first layer the XORs within a root are apart as well",
    "moduli": "all blocks read the same two numbers",
    "recurrent": "a unit is as many units as there are steps, all in its module",
}


@dataclass(frozen=True)
class Plan:
    """A network to train.

    Attributes:
        family: One of `COUNTS`.
        number: The network's number in it.
        k: Modules.
        links: Largest weight between modules, in root mean squares of those within.
        correlated: Whether the modules' inputs are.
    """

    family: str
    number: int
    k: int
    links: float
    correlated: bool

    @property
    def name(self) -> str:
        """The network's name."""
        inputs = "-correlated" if self.correlated else ""
        return f"{self.family}-k{self.k}-links{self.links:g}{inputs}-{self.number}"

    @property
    def seed(self) -> int:
        """Of its weights, batches and inputs."""
        return 20_000 + 100 * list(COUNTS).index(self.family) + self.number

    def problem(self) -> Problem:
        """Before training."""
        make: Any = getattr(problems, {"sum": "total"}.get(self.family, self.family))
        options: dict[str, int] = {}
        if self.family in ("digits", "recurrent"):
            options["correlated"] = self.correlated
        if self.family not in ("sum", "recurrent"):
            options["k"] = self.k
        return make(self.seed, **options)


def _plan(family: str, number: int) -> Plan:
    turn = number // 2
    most = {"digits": 3, "sum": 2, "recurrent": 2, "moduli": 3}.get(family, 4)
    correlated = family in ("digits", "recurrent") and turn // 4 % 2 == 1
    return Plan(family, number, 2 + turn % (most - 1), LINKS[turn % 4], correlated)


_PLANS = {
    plan.name: plan
    for family, count in COUNTS.items()
    for plan in (_plan(family, number) for number in range(count))
}
NAMES = tuple(_PLANS)


def build(name: str) -> KnownNetwork:
    """The stored network of that name, with 400 inputs drawn from its seed."""
    plan = _PLANS[name]
    problem = plan.problem()
    problem.model.load_state_dict(stored(plan.family)[name])
    return known(plan, problem)


def known(plan: Plan, problem: Problem) -> KnownNetwork:
    """A trained problem as a network with known modules."""
    x, y = problem.draw(SAMPLES, torch.Generator().manual_seed(plan.seed + 50_000))
    recurrent = plan.family == "recurrent"
    model = ifl.unrolled(problem.model) if recurrent else problem.model
    return KnownNetwork(
        name=plan.name,
        family=plan.family,
        model=model.eval(),
        inputs=x,
        sites=problem.sites,
        labels=problem.owners,
        reason=REASON,
        limits=LIMITS[plan.family],
        targets=y,
        loss=problem.loss,
    )


@cache
def stored(family: str) -> dict[str, dict[str, Tensor]]:
    """Weights of a family's networks by name.

    Raises:
        FileNotFoundError: They have not been made.
    """
    from safetensors.torch import load_file

    path = WEIGHTS / f"{family}.safetensors"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: python -m experiments.recovery.make")
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in load_file(path).items():
        name, parameter = key.split("/")
        found.setdefault(name, {})[parameter] = tensor
    return found


def train(name: str) -> tuple[nn.Module, float]:
    """Train a network from its seed; the model, and its accuracy on fresh rows."""
    plan = _PLANS[name]
    problem = plan.problem()
    draws = torch.Generator().manual_seed(plan.seed)
    optimiser = torch.optim.AdamW(problem.model.parameters(), lr=3e-3, weight_decay=1e-2)
    hold(problem, plan.links)
    with isolated_rng(plan.seed):
        for _ in range(problem.steps):
            x, y = problem.draw(100, draws)
            optimiser.zero_grad()
            problem.loss(problem.model(x), y).backward()
            optimiser.step()
            hold(problem, plan.links)
    x, y = problem.draw(1000, draws)
    with torch.no_grad():
        right = (problem.model.eval()(x).argmax(1) == y).float().mean()
    return problem.model, float(right)


@torch.no_grad()
def hold(problem: Problem, links: float) -> None:
    """Cut the weights between modules to `links` × the root mean square of those within."""
    for weight, across in held(problem):
        most = float(links * weight[~across].square().mean().sqrt())
        weight[across] = weight[across].clamp(-most, most)


def held(problem: Problem) -> Iterator[tuple[Tensor, Tensor]]:
    """Each parameter that is held, and which of its weights go between modules."""
    parameters = dict(problem.model.named_parameters())
    for name, across in problem.across.items():
        if across.any():
            yield parameters[name], across


def modules_of(name: str) -> int:
    """How many modules a network has."""
    return len(np.unique([o for o in _PLANS[name].problem().owners if o >= 0]))
