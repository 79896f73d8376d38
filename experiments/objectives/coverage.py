"""Do 95 % intervals hold the value under all draws? Of flows, and of module scores.

    python -m experiments.objectives.coverage flows
    python -m experiments.objectives.coverage scores

Flows: the complete code tables of trained digits networks (experiments/estimators), from which
donors and contexts are drawn with replacement. Scores: networks of four and four units, of which
all bipartitions are measured on all 500 samples.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
import tyro
from torch import nn

import infoflow as ifl
from experiments.estimators.tables import case, trained
from infoflow.data import load
from infoflow.exchanges import ExchangeMeter
from infoflow.information.donors import table_flow, two_way_se
from infoflow.information.flows import FEW_CHANGES, FEW_DRAWS, TOO_MANY_CELLS
from infoflow.measured import SEARCH, Objective, Weighting
from infoflow.models import isolated_rng
from infoflow.searching import module_score
from infoflow.searching.space import Space
from infoflow.study import save_table

RESULTS = Path(__file__).parent / "results"
BUDGETS = ((20, 20), (30, 30), (60, 40), (100, 50), (200, 100))
CASES = ((1, 5, False), (1, 10, False), (1, 20, False), (16, 10, False), (1, 10, True),
         (4, 10, True), (32, 10, True))  # fmt: skip
"""Source units, codes, and whether the target is half a layer rather than one unit."""


def flow_rows(seed: int, repeats: int) -> pd.DataFrame:
    """One row a draw and target."""
    rec = trained(load("digits"), 500, seed)
    rng, rows = np.random.default_rng(seed), []
    for size, bins, joint in CASES:
        one = case(rec, "", size, bins, joint, seed)
        for m, k in BUDGETS:
            for _ in range(repeats):
                drawn = one.codes[np.ix_(rng.integers(500, size=m), rng.integers(500, size=k))]
                for t in range(min(drawn.shape[2], 4)):
                    codes = drawn[:, :, t : t + 1]
                    found = table_flow(codes, bins)
                    plain, given = (
                        two_way_se(found.pointwise),
                        two_way_se(found.pointwise_given_context),
                    )
                    answering = int((codes != codes[:1]).any((0, 2)).sum())
                    rows.append(
                        {
                            "seed": seed, "size": size, "bins": bins, "joint": joint,
                            "donors": m, "contexts": k, "answering": answering,
                            "error": found.bits[0] - one.plain[t], "se": plain,
                            "error_given": found.given_context[0] - one.given[t],
                            "se_given": given,
                            "below": found.bits[0] < -4 * plain,
                            "crowded": found.cells_per_sample >= TOO_MANY_CELLS,
                        }
                    )  # fmt: skip
    return pd.DataFrame(rows)


def flows(first: int = 3, networks: int = 2, repeats: int = 30) -> None:
    """Coverage by number of draws, of flows that are flagged and of those that are not.

    Args:
        first: Seed of the first network; flags were settled on seeds 0 to 2.
        networks: How many.
        repeats: Draws for each case.
    """
    rows = pd.concat([flow_rows(seed, repeats) for seed in range(first, first + networks)])
    few = rows[["donors", "contexts"]].min(axis=1) < FEW_DRAWS
    few |= (rows["answering"] > 0) & (rows["answering"] < FEW_CHANGES)
    rows["flagged"] = few | rows["crowded"]
    rows["nothing"] = rows["answering"] == 0
    rows["flagged"] &= ~rows["nothing"]
    for suffix in ("", "_given"):
        held = rows[f"error{suffix}"].abs() <= 1.96 * rows[f"se{suffix}"] + 1e-9
        rows[f"held{suffix}"] = held
    by = ["donors", "contexts", "nothing", "flagged"]
    table = rows.groupby(by).agg(
        n=("held", "size"), held=("held", "mean"), held_given=("held_given", "mean"),
        bias=("error", "mean"), bias_given=("error_given", "mean"), below=("below", "mean"),
        worst=("error", lambda e: e.abs().max()),
    )  # fmt: skip
    save_table(table.reset_index().round(4), RESULTS / "coverage_flows.csv")
    print(table.round(3).to_string())


def small_network(activation: type[nn.Module], seed: int) -> ifl.Recording:
    """Four and four units, on 500 inputs."""
    with isolated_rng(seed):
        net = nn.Sequential(nn.Linear(4, 4), activation(), nn.Linear(4, 4), activation())
        with torch.no_grad():
            for layer in (net[0], net[2]):
                layer.weight.copy_(torch.randn(4, 4))  # type: ignore[union-attr]
        return ifl.record(net, ["1", "3"], torch.randn(500, 4))


def scores(first: int = 0, networks: int = 2, repeats: int = 100) -> None:
    """Coverage of a score's ratio; its random partitions, donors and contexts change each time.

    The divisor of `ncut` is measured once for a network, since the interval takes it as given;
    under "own" each repetition measures its own, and the truth is that of the first.

    Args:
        first: Seed of the first network.
        networks: How many.
        repeats: Scores of each.
    """
    rows = []
    for seed in range(first, first + networks):
        rec = small_network((nn.Tanh, nn.ReLU)[seed % 2], seed)
        everything = list(Space(~rec.units.unused, 2, 2).all())
        scored = everything[17 % len(everything)]
        whole = replace(SEARCH, donors="all", contexts="all")
        exact = ExchangeMeter(rec, whole)
        exact.values(everything, "none")
        tried: list[tuple[Weighting, bool]] = [("none", False), ("ncut", False), ("ncut", True)]
        for weighting, own in tried:
            rows += _scores(rec, exact, everything, scored, weighting, own, seed, repeats)
            save_table(pd.DataFrame(rows), RESULTS / "coverage_scores.csv")
            print(rows[-1], flush=True)


def _scores(
    rec: ifl.Recording,
    exact: ExchangeMeter,
    everything: list[ifl.Partition],
    scored: ifl.Partition,
    weighting: Weighting,
    own: bool,
    seed: int,
    repeats: int,
) -> list[dict[str, object]]:
    whole = exact.values(everything, weighting).weighted
    truth = float(whole.mean() / whole[everything.index(scored)])
    found = []
    for repeat in range(repeats):
        draws = replace(SEARCH, seed=repeat)
        traffic = None if own else exact.traffic
        meter = ExchangeMeter(rec, draws, Objective(weighting), traffic=traffic)
        found.append(
            module_score(rec, scored, weighting=weighting, samples=50, seed=repeat, meter=meter)
        )
    ratio, se = (np.array([getattr(s, a) for s in found]) for a in ("ratio", "ratio_se"))
    return [
        {
            "seed": seed,
            "weighting": weighting,
            "divisor": "own" if own else "given",
            "truth": round(truth, 4),
            "mean": round(float(ratio.mean()), 4),
            "scatter": round(float(ratio.std(ddof=1)), 4),
            "se": round(float(se.mean()), 4),
            "held": float((np.abs(ratio - truth) <= 1.96 * se).mean()),
            "repeats": repeats,
        }
    ]


def main(what: tyro.conf.Positional[Literal["flows", "scores"]]) -> None:
    """Measure the coverage of flows or of scores."""
    torch.set_num_threads(1)
    flows() if what == "flows" else scores()


if __name__ == "__main__":
    tyro.cli(main)
