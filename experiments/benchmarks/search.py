"""Time of one true evaluation against the bare matrix products it needs, and of the search loops.

    python -m experiments.benchmarks.search

All compared times are taken in turn in one run; what is printed are ratios of medians.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

import infoflow as ifl
from infoflow.exchanges import ExchangeMeter, Values
from infoflow.measured import SCORE
from infoflow.models import isolated_rng
from infoflow.searching.flow_cut import FlowCut, screened
from infoflow.searching.log import EvaluationLog
from infoflow.searching.methods import annealing, climbing, genetic, sampling
from infoflow.searching.space import Space


def perceptron(samples: int = 12_000) -> ifl.Recording:
    """784-64-64-10 with random weights on random inputs, its two hidden layers recorded."""
    with isolated_rng(0):
        net = nn.Sequential(
            nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
        )
        x = torch.rand(samples, 784)
    return ifl.record(net, ["1", "3"], x)


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def against_matmuls(rec: ifl.Recording, repeats: int = 60) -> None:
    """10,000 rows: 100 donors in 100 contexts; new partitions every time, so no cache helps."""
    meter = ExchangeMeter(rec, replace(SCORE, donors=100, contexts=100))
    rng = np.random.default_rng(0)
    rows, weight = rec["1"][:10_000], rec.model[2].weight.detach()  # type: ignore[index]
    bare, lean, whole, batched = [], [], [], []
    for _ in range(repeats):
        drawn = [ifl.Partition(rng.integers(0, 2, 128)) for _ in range(10)]
        bare.append(seconds(lambda: [rows @ weight.T for _ in range(2)]))
        lean.append(seconds(lambda: meter.values(drawn[:1])))  # noqa: B023
        batched.append(seconds(lambda: meter.values(drawn[2:])) / 8)  # noqa: B023
        if len(whole) < 10:
            whole.append(seconds(lambda: meter(drawn[1])))  # noqa: B023
    unit = np.median(bare)
    print(f"one bipartition / two bare products     {np.median(lean) / unit:.2f}")
    print(f"one of 8 in a batch / the same          {np.median(batched) / unit:.2f}")
    print(f"with standard errors (Exchange) / same  {np.median(whole) / unit:.2f}")


def loop_overhead(rec: ifl.Recording, budget: int = 300, repeats: int = 3) -> None:
    """Time of a search that is not spent in the evaluator, over the time that is."""
    meter = ExchangeMeter(rec, replace(SCORE, donors=60, contexts=40))
    space = Space(~rec.units.unused, 2, 2)
    proxy = FlowCut(meter.traffic, "pairs")
    methods: dict[str, Callable[[EvaluationLog], None]] = {
        "sampling": lambda log: sampling(log, space, []),
        "climbing": lambda log: climbing(log, space, []),
        "annealing": lambda log: annealing(log, space, [], spread=0.01),
        "genetic": lambda log: genetic(log, space, [], spread=0.01),
        "screened": lambda log: screened(log, space, [], proxy, spread=0.01),
    }
    screened(
        EvaluationLog(meter.values, budget=4, seed=0), space, [], proxy, spread=0.01
    )  # compiles
    for name, method in methods.items():
        found = [overhead(method, meter, budget, seed) for seed in range(repeats)]
        print(f"loop / evaluator, {name:10}            {np.median(found):.3f}  {np.sort(found)}")


def overhead(
    method: Callable[[EvaluationLog], None], meter: ExchangeMeter, budget: int, seed: int
) -> float:
    inside = 0.0

    def evaluate(some: Sequence[ifl.Partition]) -> Values:
        nonlocal inside
        start = time.perf_counter()
        values = meter.values(some, "pairs")
        inside += time.perf_counter() - start
        return values

    total = seconds(lambda: method(EvaluationLog(evaluate, budget=budget, seed=seed)))
    return total / inside - 1


def main() -> None:
    torch.set_num_threads(1)
    np.set_printoptions(precision=3)
    rec = perceptron()
    against_matmuls(rec)
    loop_overhead(rec)


if __name__ == "__main__":
    main()
