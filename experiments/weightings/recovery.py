"""Which weighting finds planted modules? Two tracks with weak links, weak and nearly dead units.

    python -m experiments.weightings.recovery
    python -m experiments.weightings.recovery --first 1000 --name recovery_fresh.csv

Each network has two layers. Track sizes are equal (7 + 7 units a layer) or unequal (3 + 11);
weights between tracks are `cross` times those within. Each layer also has one weak unit (in- and
outgoing weights a twentieth) and one nearly dead one (a thousandth), which belong to nobody.
Every weighting is minimised with the same donors and contexts by hill climbing, from the planted
partition, every single unit against all others, and seeds, the best of them first, so that what is
asked is where the minimum lies and not how well it is searched for. Recovered means that the units
of the tracks are divided as planted. Networks whose rows are in the file already are not measured
again.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

import infoflow as ifl
from infoflow.exchanges import ExchangeMeter
from infoflow.measured import SCORE, WEIGHTINGS, Objective, Weighting

HERE = Path(__file__).parent
SIZES = {"equal": (7, 7), "unequal": (3, 11)}
CROSS = (0.0, 0.1, 0.25)
FIELDS = (
    "cross", "sizes", "seed", "weighting", "given_context", "recovered", "agreement", "smallest",
    "score",
)  # fmt: skip


def network(sizes: tuple[int, int], cross: float, seed: int) -> tuple[ifl.Recording, np.ndarray]:
    """The recording and `(n,)` planted labels; weak and nearly dead units have -1."""
    generator = torch.Generator().manual_seed(seed)
    track = torch.tensor([0] * sizes[0] + [1] * sizes[1] + [2, 3])  # 2: weak, 3: nearly dead
    strength = torch.tensor([1.0] * sum(sizes) + [0.05, 0.001])
    layers: list[nn.Module] = []
    below, below_strength = torch.tensor([0, 0, 1, 1]), torch.ones(4)
    for _ in range(2):
        same = (track[:, None] == below) | (track[:, None] > 1) | (below > 1)
        scale = 1.5 / (below[None] == track.clamp(max=1)[:, None]).sum(1, keepdim=True).sqrt()
        layer = nn.Linear(len(below), len(track))
        with torch.no_grad():
            draw = torch.randn(layer.weight.shape, generator=generator) * scale
            draw *= torch.where(same, 1.0, cross) * strength[:, None] * below_strength
            layer.weight.copy_(draw)
            layer.bias.copy_(0.3 * torch.randn(len(track), generator=generator))
        layers += [layer, nn.Tanh()]
        below, below_strength = track, strength
    x = torch.randn(400, 4, generator=generator)
    planted = np.tile(np.where(track < 2, track, -1), 2)
    return ifl.record(nn.Sequential(*layers), ["1", "3"], x), planted


def study(
    sizes: str,
    cross: float,
    seed: int,
    *,
    weightings: Sequence[Weighting],
    given_context: bool,
    budget: int,
) -> list[dict]:
    """One row per weighting."""
    rec, planted = network(SIZES[sizes], cross, seed)
    meter = ExchangeMeter(
        rec,
        replace(SCORE, donors=30, contexts=30, seed=seed),
        Objective("none", given_context=given_context),
    )
    core = planted >= 0
    alone = np.eye(len(planted), dtype=int)
    starts = [ifl.Partition(labels) for labels in (np.maximum(planted, 0), *alone)]
    rows = []
    for weighting in weightings:
        found = ifl.search(
            rec, weighting=weighting, method="climbing", starts=starts,
            budget=budget, samples=10, meter=meter,
        )  # fmt: skip
        labels = np.where(core, found.partition.labels, -1)
        rows.append(
            {
                "cross": cross,
                "sizes": sizes,
                "seed": seed,
                "weighting": weighting,
                "given_context": given_context,
                "recovered": int(ifl.Partition(labels) == ifl.Partition(planted)),
                "agreement": round(ifl.agreement(labels, planted), 4),
                "smallest": int(found.partition.sizes.min()),
                "score": round(found.score.ratio, 3),
            }
        )
    return rows


def measured(path: Path, weightings: Sequence[Weighting]) -> list[dict]:
    """Rows of an earlier run; cells that it left off in the middle of are dropped."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    cells = Counter(cell(row) for row in rows)
    return [row for row in rows if cells[cell(row)] == len(weightings)]


def cell(row: dict) -> tuple[float, str, int]:
    return float(row["cross"]), row["sizes"], int(row["seed"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0, help="seed of the first network")
    parser.add_argument("--networks", type=int, default=50)
    parser.add_argument("--cross", type=float, nargs="+", default=CROSS)
    parser.add_argument("--budget", type=int, default=200)
    parser.add_argument("--weightings", nargs="+", default=WEIGHTINGS, choices=WEIGHTINGS)
    parser.add_argument("--name", default="recovery.csv")
    parser.add_argument("--plain", action="store_true", help="plain bits, not given the context")
    args = parser.parse_args()
    torch.set_num_threads(1)
    path = HERE / "results" / args.name
    path.parent.mkdir(exist_ok=True)
    done = measured(path, args.weightings)
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, FIELDS, restval="")
        table.writeheader()
        table.writerows(done)
        known = set(map(cell, done))
        for seed in range(args.first, args.first + args.networks):  # all cells of a network at once
            for sizes, cross in [(s, float(c)) for s in SIZES for c in args.cross]:
                if (cross, sizes, seed) not in known:
                    rows = study(
                        sizes, cross, seed, weightings=args.weightings,
                        given_context=not args.plain, budget=args.budget,
                    )  # fmt: skip
                    table.writerows(rows)
                    file.flush()
            print(f"{seed - args.first + 1} of {args.networks} networks a cell", flush=True)


if __name__ == "__main__":
    main()
