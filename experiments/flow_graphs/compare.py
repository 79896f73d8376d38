"""Forms of the flow graph from gradients beside measured unit flows: one row a network and graph.

python -m experiments.flow_graphs.compare --first 0
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import tyro
from scipy.stats import spearmanr

import infoflow as ifl
from experiments.flow_graphs.forms import FORMS, graphs
from experiments.flow_graphs.networks import KINDS, LATER
from infoflow.exchanges import ExchangeMeter
from infoflow.exchanges.weighting import Traffic, measure_traffic
from infoflow.information.unit_flows import single_flows
from infoflow.measured import SEARCH, TRAFFIC, Objective
from infoflow.searching.flow_cut import FlowCut
from infoflow.searching.space import random_partition
from infoflow.searching.starts import normalised_cut

RESULTS = Path(__file__).parent / "results"
TRUTH = replace(TRAFFIC, donors=200, contexts=100, seed=7)


def main(first: int = 0, count: int = 2, kinds: tuple[str, ...] = ()) -> None:
    """Rows of so many seeds, written as they come; networks that have rows are left out.

    Args:
        first: First seed; from 2 on, the kinds of the showing half are there as well.
        count: How many seeds.
        kinds: Only these kinds of network.
    """
    torch.set_num_threads(1)
    path = RESULTS / ("chosen.csv" if first < 2 else "shown.csv")
    path.parent.mkdir(exist_ok=True)
    made: Mapping[str, Callable[[int], ifl.Recording]] = KINDS if first < 2 else {**KINDS, **LATER}
    for seed in range(first, first + count):
        for kind in kinds or made:
            known = pd.read_csv(path) if path.exists() else pd.DataFrame({"kind": [], "seed": []})
            if (kind, seed) in set(zip(known["kind"], known["seed"], strict=True)):
                continue
            rows = [{"kind": kind, "seed": seed, **row} for row in compared(made[kind](seed))]
            table = pd.concat([known, pd.DataFrame(rows).round(4)]) if len(known) else rows
            pd.DataFrame(table).to_csv(path, index=False)
            print(kind, seed, flush=True)


def compared(rec: ifl.Recording) -> Iterator[dict[str, Any]]:
    """Rows of one network: the measured graph, and each form."""
    meter = ExchangeMeter(rec, SEARCH, Objective("ncut"))
    base = measure_traffic(rec, SEARCH, Objective("ncut"))
    truth = replace(base, unit_flow=single_flows(rec, TRUTH, given_context=True))
    layer, used = rec.units.layer_index, ~rec.units.unused
    pairs = base.connected & used[:, None] & used & (layer[:, None] != layer)
    partitions = list(_partitions(truth.unit_flow, used))
    by_truth = _weighted(meter, partitions, truth)
    start = time.process_time()
    found: dict[str, np.ndarray] = {"measured": single_flows(rec, TRAFFIC, given_context=True)}
    seconds = {"measured": time.process_time() - start}
    slow = graphs(rec, seconds)
    for name, flow in {**found, **slow}.items():
        own = replace(truth, unit_flow=flow)
        cut = FlowCut(own, "ncut")
        yield {
            "graph": name,
            "units": int(used.sum()),
            "flows": _rho(flow[pairs], truth.unit_flow[pairs]),
            "traffic": _rho(own.per_unit[used], truth.per_unit[used]),
            "partitions": _rho(_weighted(meter, partitions, own), by_truth),
            "cut": _rho(np.array([cut(p) for p in partitions]), by_truth),
            "bits": float(flow[pairs].sum() / truth.unit_flow[pairs].sum()),
            "seconds": seconds[name.split(" ")[0]],
        }


def _rho(a: np.ndarray, b: np.ndarray) -> float:
    return float(spearmanr(a, b)[0])  # type: ignore[arg-type]


def _weighted(
    meter: ExchangeMeter, partitions: list[ifl.Partition], traffic: Traffic
) -> np.ndarray:
    """Weighted exchanges, with the meter's bits and that traffic; by k, each over its mean, so that
    numbers of modules compare."""
    values = []
    for partition, flow in zip(partitions, meter.flows(partitions), strict=True):
        crossing, volume = flow[1].sum(0) + flow[1].sum(1), traffic.volume(partition)
        values.append(float((crossing / volume).sum()))
    return np.array(values)


def _partitions(flow: np.ndarray, used: np.ndarray) -> Iterator[ifl.Partition]:
    rng = np.random.default_rng(0)
    for k in (2, 4):
        both = flow + flow.T
        best = normalised_cut(both * np.outer(used, used), k)
        for number in range(30):
            if number < 12 or best is None:
                yield random_partition(used, k, rng, uneven=number % 2 == 0)
                continue
            labels = np.where(best.labels < 0, 0, best.labels)
            moved = rng.random(len(labels)) < rng.choice([0.0, 0.1, 0.2, 0.3, 0.5])
            labels[moved] = rng.integers(k, size=int(moved.sum()))
            yield ifl.Partition(np.where(used, labels, -1))


if __name__ == "__main__":
    assert FORMS
    tyro.cli(main)
