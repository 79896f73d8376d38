"""How modular a network is, by every measure of the study."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

import infoflow as ifl
from experiments.lesions.partitions import dealt
from infoflow.lesioning.run import Task

GRAPHS = ("o_sens", "cov_norm", "weights")
RANDOM = 5
FIELDS = (
    "score", "bits", *(f"q_{graph}" for graph in GRAPHS), "unused", "specialisation",
    "random_specialisation", "damage", "given_specialisation", "given_exchange", "agreement",
)  # fmt: skip


def measured(
    rec: ifl.Recording,
    *,
    seed: int,
    tasks: Mapping[str, Task] | None = None,
    given: ifl.Partition | None = None,
    lesioned: ifl.Recording | None = None,
) -> dict[str, float]:
    """`score` (log2 of mean random ÷ least exchange), Q* of the graphs, and what lesions tell: of
    the modules found, of random ones, and of those given, if any, whose exchange is then told in
    that of random ones."""
    judged = rec if lesioned is None else lesioned
    found = ifl.search(rec, method="screened", objective="codes", budget=100, samples=20, seed=seed)
    similar = ifl.similarities(rec, list(GRAPHS))
    layers, used = rec.units.layer_index, ~rec.units.unused
    rng = np.random.default_rng(seed)
    by_chance = [specialised(judged, dealt(layers, used, 2, rng), tasks)[0] for _ in range(RANDOM)]
    own, damage = specialised(judged, found.partition, tasks)
    row = {
        "score": found.score.log_ratio,
        "bits": found.score.raw_minimum,
        **{f"q_{name}": best_q(S, seed) for name, S in similar.items()},
        "unused": int(rec.units.unused.sum()),
        "specialisation": own,
        "random_specialisation": float(np.mean(by_chance)),
        "damage": damage,
    }
    if given is not None and given.without(rec.units.unused).n_modules > 1:
        row["given_specialisation"] = specialised(judged, given, tasks)[0]
        exchange = ifl.exchange(rec, given, donors=100, contexts=50, seed=50_000)
        row["given_exchange"] = exchange.weighted / found.score.mean
        row["agreement"] = ifl.agreement(found, given.without(rec.units.unused))
    return {name: round(float(value), 5) for name, value in row.items()}


def best_q(S: np.ndarray, seed: int) -> float:
    """Q*, the number of modules free; nan where no two units have anything in common."""
    apart = S - np.diag(np.diag(S))
    return ifl.find_modules(S, seed=seed).q if apart.any() else float("nan")


def specialised(
    rec: ifl.Recording, partition: ifl.Partition, tasks: Mapping[str, Task] | None
) -> tuple[float, float]:
    """Specialisation in bits, and the mean damage over modules and tasks, by errors."""
    hurt = ifl.lesions(rec, partition, tasks=tasks, seed=1000)
    return hurt.specialisation().bits, float(hurt.damage().to_numpy().mean())
