"""Rows of the lesion study: 58 partitions of every network, their exchange and what breaks.

python -m experiments.lesions.study --family digits --seeds 5
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro

import infoflow as ifl
from experiments.common.cells import measure_cells
from experiments.lesions.networks import CLASS_MODULES, HEAD_MODULES, cells, network
from experiments.lesions.partitions import best_of, climbed, dealt, exchanged, q_matrix
from infoflow.exchanges import ExchangeMeter
from infoflow.lesioning import Lesions
from infoflow.measured import SCORE, SEARCH, Objective
from infoflow.study import encode

HERE = Path(__file__).parent
PATH = HERE / "results" / "rows.csv"
KEY = ("family", "setting", "seed")
GRAPHS = ("o_sens", "cov_norm", "hess_norm", "weights")
"""Graphs whose Q is maximised, and measured of every partition."""
METHODS = ("causal", "unit flow", *(f"Q {graph}" for graph in GRAPHS))
BLURS = (0.0, 0.25, 0.5)
RANDOM = 40
JUDGE = replace(SCORE, seed=50_000)
FIELDS = (
    *KEY, "k", "accuracy", "method", "blur", "bits", "weighted", "cut",
    *(f"q_{graph}" for graph in GRAPHS), "damage", "specialisation", "se", "floor",
    "by_loss", "by_change", "dissociated", "seconds", "partition",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Graphs:
    """What the partitions of a network are found by.

    Attributes:
        layers: `(n,)` number of each unit's layer.
        used: `(n,)` bool.
        flow: `(n, n)` unit flows given the context, both directions added.
        q: By graph, the matrix whose sum within modules is their Q.
    """

    layers: np.ndarray
    used: np.ndarray
    flow: np.ndarray
    q: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, rec: ifl.Recording, meter: ExchangeMeter) -> Graphs:
        """Those of one recording."""
        flow = np.maximum(meter.traffic.unit_flow, 0.0)
        q = {name: q_matrix(S) for name, S in ifl.similarities(rec, list(GRAPHS)).items()}
        return cls(rec.units.layer_index, ~rec.units.unused, flow + flow.T, q)


def within(matrix: np.ndarray, partition: ifl.Partition) -> float:
    """Sum of a matrix within modules."""
    return float(sum(matrix[np.ix_(module, module)].sum() for module in partition.modules))


def partitions(
    graphs: Graphs, meter: ExchangeMeter, k: int, seed: int, budget: int
) -> list[tuple[str, float, ifl.Partition]]:
    """(method, blur, partition), all of equal sizes in every layer: each method's best one, that
    with a quarter and half of its units dealt anew, and random ones."""
    rng = np.random.default_rng(seed)
    layers, used = graphs.layers, graphs.used
    cut = best_of(graphs.flow, layers, used, k, rng)
    found = {
        "causal": climbed(lambda some: meter.values(some).weighted, cut, layers, rng, budget),
        "unit flow": cut,
    }
    found |= {f"Q {name}": best_of(q, layers, used, k, rng) for name, q in graphs.q.items()}
    made = [
        (name, blur, exchanged(best, layers, blur, rng))
        for name, best in found.items()
        for blur in BLURS
    ]
    return made + [("random", 1.0, dealt(layers, used, k, rng)) for _ in range(RANDOM)]


def study(family: str, setting: str, seed: int, budget: int = 240) -> list[dict[str, object]]:
    """Rows of one network, one a partition."""
    start = time.process_time()
    rec, tasks = network(family, setting, seed)
    k = HEAD_MODULES if tasks else CLASS_MODULES
    meter = ExchangeMeter(rec, replace(SEARCH, seed=seed), Objective())
    graphs = Graphs.of(rec, meter)
    some = partitions(graphs, meter, k, seed, budget)
    judge = ExchangeMeter(rec, JUDGE, Objective(), traffic=lambda: meter.traffic)
    values = judge.values([partition for _, _, partition in some])
    total = within(graphs.flow, ifl.Partition(np.zeros(len(graphs.layers), int)))
    about = {"family": family, "setting": setting, "seed": seed, "k": k}
    about["accuracy"] = round(_accuracy(rec), 4)
    rows = []
    for number, (method, blur, partition) in enumerate(some):
        hurt = ifl.lesions(rec, partition, tasks=tasks, donors=4, seed=1000)
        rows.append(
            {
                **about,
                "method": method,
                "blur": blur,
                "bits": round(float(values.bits[number]), 4),
                "weighted": round(float(values.weighted[number]), 5),
                "cut": round(1 - within(graphs.flow, partition) / total, 5),
                **{f"q_{g}": round(within(q, partition), 5) for g, q in graphs.q.items()},
                **broken(hurt),
                "partition": encode(partition),
            }
        )
    rows[0]["seconds"] = round(time.process_time() - start, 1)
    return rows


def broken(hurt: Lesions) -> dict[str, float]:
    """What one partition's lesions come to: the mean damage over modules and tasks by errors, how
    specialised the modules are (by errors, by loss and by change of the outputs, where there are
    these), and the share of pairs of modules with a double dissociation by errors."""
    found = hurt.specialisation()
    pairs = hurt.dissociations()[["module_a", "module_b"]].drop_duplicates()
    k = hurt.partition.n_modules
    other = {m: hurt.specialisation(m).bits for m in ("loss", "change") if m in hurt.measures}
    return {
        "damage": round(float(hurt.damage().to_numpy().mean()), 5),
        "specialisation": round(found.bits, 6),
        "se": round(found.se, 6),
        "floor": round(found.floor, 6),
        "by_loss": round(other.get("loss", float("nan")), 6),
        "by_change": round(other.get("change", float("nan")), 6),
        "dissociated": round(len(pairs) / (k * (k - 1) / 2), 4),
    }


def _accuracy(rec: ifl.Recording) -> float:
    assert rec.targets is not None
    targets = rec.targets.reshape(len(rec), -1)
    answers = rec.outputs[:].reshape(*targets.shape, -1).argmax(2)
    return float((answers == targets).double().mean())


def main(
    family: Literal["digits", "mnist", "heads"] = "digits", seeds: int = 5, first: int = 0
) -> None:
    """Measure so many seeds of a family's networks, from seed `first` on."""
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    each = RANDOM + len(METHODS) * len(BLURS)
    measure_cells(PATH, FIELDS, KEY, cells(family, range(first, first + seeds)), study, each)


if __name__ == "__main__":
    tyro.cli(main)
