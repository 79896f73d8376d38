"""Direct or relayed: which unit flows show the modules? See the README for the rule.

python -m experiments.forcing.direct
python -m experiments.forcing.direct --table
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
import tyro
from torch import Tensor, nn

import infoflow as ifl
from infoflow import study
from infoflow.searching.proxy import ncut
from infoflow.searching.starts import normalised_cut

PATH = Path(__file__).parent / "results" / "direct.csv"
TRACKS, UNITS, DEPTH, SAMPLES = 3, 4, 3, 400


class Skipping(nn.Module):
    """Tanh layers of tracks; every layer sees the inputs and all layers before it.

    Weights within a track are N(0, 1.5² / fan-in), between tracks `cross` times as large.
    """

    def __init__(self, cross: float, generator: torch.Generator) -> None:
        super().__init__()
        track = torch.arange(TRACKS).repeat_interleave(UNITS)
        below = torch.arange(TRACKS).repeat_interleave(2)
        layers: list[nn.Module] = []
        for _ in range(DEPTH):
            layer = nn.Linear(len(below), len(track))
            same = track[:, None] == below
            with torch.no_grad():
                draw = torch.randn(layer.weight.shape, generator=generator)
                layer.weight.copy_(draw * 1.5 / same.sum(1, keepdim=True).sqrt())
                layer.weight.mul_(torch.where(same, 1.0, cross))
                layer.bias.copy_(0.3 * torch.randn(len(track), generator=generator))
            layers.append(nn.Sequential(layer, nn.Tanh()))
            below = torch.cat([below, track])
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        """The last layer."""
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x[:, -TRACKS * UNITS :]


def network(cross: float, seed: int) -> tuple[ifl.Recording, ifl.Partition]:
    """A recording of all layers, and the tracks."""
    generator = torch.Generator().manual_seed(seed)
    net = Skipping(cross, generator)
    x = torch.randn(SAMPLES, 2 * TRACKS, generator=generator)
    planted = np.tile(np.repeat(np.arange(TRACKS), UNITS), DEPTH)
    return ifl.record(net, [f"layers.{d}" for d in range(DEPTH)], x), ifl.Partition(planted)


def cut(flows: np.ndarray) -> ifl.Partition:
    """The normalised cut of unit flows into as many modules as tracks, improved unit by unit."""
    links = flows + flows.T
    best = normalised_cut(links, TRACKS)
    if best is None:
        return ifl.Partition(np.arange(len(flows)) % TRACKS)
    best = ifl.Partition(np.where(best.unused, 0, best.labels))
    value, better = ncut(links, best), True
    while better:
        better = False
        for unit in range(len(links)):
            for module in range(TRACKS):
                labels = best.labels.copy()
                labels[unit] = module
                tried = ifl.Partition(labels)
                if tried.n_modules == TRACKS and ncut(links, tried) < value - 1e-12:
                    best, value, better = tried, ncut(links, tried), True
    return best


def measure(cross: float, seed: int) -> list[dict[str, object]]:
    """A row for total flows, and one for direct ones."""
    rec, planted = network(cross, seed)
    rows: list[dict[str, object]] = []
    for name in ("total", "direct"):
        flows = ifl.unit_flow(
            rec, given_context=True, donors=30, contexts=30, seed=seed, direct=name == "direct"
        )
        found = ifl.agreement(cut(flows), planted, measure="ari")
        within = planted.labels[:, None] == planted.labels
        share = flows[within].sum() / flows.sum()
        rows.append(
            {"cross": cross, "seed": seed, "flows": name, "ari": round(found, 4),
             "bits": round(flows.sum(), 3), "within": round(share, 4)}
        )  # fmt: skip
    return rows


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Recovery by cell, and the paired difference, with 95 % intervals over networks."""
    found = []
    cells = [(str(cross), rows[rows["cross"] == cross]) for cross in sorted(set(rows["cross"]))]
    cells.insert(2, ("first stage", rows[rows["seed"] < 100]))
    cells.append(("second stage", rows[rows["seed"] >= 100]))
    for cross, own in cells:
        each = {n: own.loc[own["flows"] == n, "ari"].to_numpy() for n in ("total", "direct")}
        each["direct - total"] = each["direct"] - each["total"]
        for name, values in each.items():
            mean = study.estimate(pd.Series(values))
            found.append(
                {"cross": cross, "flows": name, "ari": mean.mean, "low": mean.low,
                 "high": mean.high, "networks": len(values)}
            )  # fmt: skip
    return pd.DataFrame(found).round(3)


def main(
    networks: int = 20,
    first: int = 0,
    cross: tuple[float, ...] = (0.1, 0.25),
    table: bool = False,
) -> None:
    """Measure what is missing, or print the table.

    Args:
        networks: In each cell.
        first: Seed of the first.
        cross: Strengths of the weights between tracks.
        table: Only print what the rows say.
    """
    torch.set_num_threads(1)
    rows = pd.read_csv(PATH) if PATH.exists() else pd.DataFrame(columns=["cross", "seed"])
    known = set(zip(rows["cross"], rows["seed"], strict=True))
    for seed in () if table else range(first, first + networks):
        for link in cross:
            if (link, seed) not in known:
                rows = pd.concat([rows, pd.DataFrame(measure(link, seed))], ignore_index=True)
                rows.to_csv(PATH, index=False)
    print(summary(rows).to_string(index=False))


if __name__ == "__main__":
    tyro.cli(main)
