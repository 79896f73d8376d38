"""Neurons, principal directions, random ones and learned ones: in which do modules come apart?

python -m experiments.bases.rotation
python -m experiments.bases.rotation --table
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import tyro
from torch import nn

import infoflow as ifl
from experiments.common.builders import digits_network, tracks
from infoflow import study
from infoflow.exchanges import ExchangeMeter
from infoflow.measured import SEARCH, Objective
from infoflow.searching.rotation import separating_rotations
from infoflow.searching.starts import normalised_cut

PATH = Path(__file__).parent / "results" / "rotation.csv"
Bases = dict[str, np.ndarray]


def turned_tracks(
    seed: int, cross: float, depth: int
) -> tuple[nn.Module, list[str], torch.Tensor, Bases]:
    """Tracks whose layers are seen through random rotations, and the directions planted."""
    rec, _ = tracks((5, 5), seed, cross=cross, depth=depth)
    linear = [layer for layer in rec.model.children() if isinstance(layer, nn.Linear)]
    rng = np.random.default_rng(seed)
    turns = [np.linalg.qr(rng.normal(size=(10, 10)))[0] for _ in linear]
    layers: list[nn.Module] = []
    for number, (layer, turn) in enumerate(zip(linear, turns, strict=True)):
        mix = nn.Linear(10, 10, bias=False)
        with torch.no_grad():
            mix.weight.copy_(torch.from_numpy(turn))
            if number:
                layer.weight.copy_(layer.weight @ torch.from_numpy(turns[number - 1].T).float())
        layers += [layer, nn.Tanh(), mix]
    names = [str(3 * number + 2) for number in range(depth)]
    planted = {name: turn.T for name, turn in zip(names, turns, strict=True)}
    return nn.Sequential(*layers), names, rec.inputs[0], planted if cross < 1 else {}


KINDS: dict[str, tuple[float, int]] = {
    "hidden": (0.1, 2),
    "nothing": (1.0, 2),
    "hidden, 4 layers": (0.1, 4),
    "nothing, 4 layers": (1.0, 4),
}


def digits(seed: int, trained: bool) -> tuple[nn.Module, list[str], torch.Tensor, Bases]:
    """A small perceptron for digits; nothing is planted."""
    rec = digits_network(16, seed, steps=300 if trained else 0)
    return rec.model, list(rec.units.layers), rec.inputs[0], {}


def whole(partition: ifl.Partition | None, n: int) -> np.ndarray:
    """Labels with units that were left out in the larger module."""
    if partition is None:
        return np.arange(n) % 2
    return np.where(partition.unused, int(partition.sizes.argmax()), partition.labels)


def flow_cut(rec: ifl.Recording) -> np.ndarray:
    """Labels of the spectral cut of the unit flows."""
    flows = ifl.unit_flow(rec, given_context=True, donors=30, contexts=30)
    return whole(normalised_cut(flows + flows.T, 2), len(flows))


def judged(rec: ifl.Recording, candidates: list[np.ndarray], seed: int) -> dict[str, float]:
    """The candidate of lowest ncut, on fresh draws, beside random partitions of equal sizes."""
    meter = ExchangeMeter(rec, replace(SEARCH, seed=seed), Objective("ncut"))
    best = candidates[int(meter.values(candidates).weighted.argmin())]
    rng, fresh = np.random.default_rng(seed), meter.fresh()
    mixed = [rng.permutation(np.arange(len(best)) % 2) for _ in range(20)]
    values = fresh.values([best, *mixed]).weighted
    return {
        "ncut": round(float(values[0]), 4),
        "score": round(float(values[1:].mean() / values[0]), 4),
    }


def learned(
    rec: ifl.Recording, starts: Mapping[str, tuple[Bases, np.ndarray]]
) -> tuple[Bases, np.ndarray, str]:
    """The rotation of lowest linear cut over the starts, its partition, and where it began."""
    found = {
        name: separating_rotations(rec, labels, starts=bases)
        for name, (bases, labels) in starts.items()
    }
    name = min(found, key=lambda start: found[start].cut[1])
    return dict(found[name].bases), found[name].partition.labels, name


def measure(kind: str, seed: int) -> list[dict[str, object]]:
    """A row a basis."""
    made = turned_tracks(seed, *KINDS[kind]) if kind in KINDS else digits(seed, kind == "digits")
    net, layers, x, planted = made
    plain = ifl.record(net, layers, x)
    rng = np.random.default_rng(100 + seed)
    sizes = dict(zip(layers, plain.units.sizes, strict=True))
    some: dict[str, Bases] = {
        "neurons": {name: np.eye(n) for name, n in sizes.items()},
        "pca": {},
        "random": {n: np.linalg.qr(rng.normal(size=(k, k)))[0] for n, k in sizes.items()},
    }
    for name in layers:
        values = plain[name].double().numpy()
        some["pca"][name] = np.linalg.eigh(np.cov(values.T))[1][:, ::-1].T.copy()
    if planted:
        some["planted"] = planted
    rows, starts = [], {}
    for name, bases in some.items():
        rec = plain if name == "neurons" else ifl.record(net, layers, x, basis=dict(bases))
        labels = flow_cut(rec)
        rows.append({"network": kind, "seed": seed, "basis": name, **judged(rec, [labels], seed)})
        if name != "planted":
            starts[name] = (bases, labels)
    bases, labels, began = learned(plain, starts)
    rec = ifl.record(net, layers, x, basis=dict(bases))
    value = judged(rec, [labels, flow_cut(rec)], seed)
    rows.append({"network": kind, "seed": seed, "basis": "learned", **value, "began": began})
    return rows


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean ncut and score by basis, and learned minus each, with 95 % intervals over networks."""
    found = []
    for kind in dict.fromkeys(rows["network"]):
        own = rows.loc[rows["network"] == kind].groupby("basis")
        best = np.asarray(own.get_group("learned")["ncut"], dtype=float)
        for basis in [
            b for b in ("planted", "learned", "neurons", "pca", "random") if b in own.groups
        ]:
            group = own.get_group(basis)
            apart = study.estimate(pd.Series(best - np.asarray(group["ncut"], dtype=float)))
            interval = (
                ""
                if basis == "learned"
                else f"{apart.mean:+.3f} [{apart.low:+.3f}, {apart.high:+.3f}]"
            )
            row = {"network": kind, "n": len(best), "basis": basis}
            row |= {what: f"{group[what].mean():.3f}" for what in ("ncut", "score")}
            found.append(row | {"learned minus it": interval})
    return pd.DataFrame(found)


def added_by_training(rows: pd.DataFrame) -> study.Estimate:
    """ncut in learned directions of digits networks, trained minus untrained."""
    learned = rows.loc[rows["basis"] == "learned"].groupby("network")["ncut"]
    each = [np.asarray(learned.get_group(k)) for k in ("digits", "digits, untrained")]
    return study.estimate(pd.Series(each[0] - each[1]))


def main(
    kinds: tuple[str, ...] = ("hidden", "digits"), networks: int = 6, table: bool = False
) -> None:
    """Measure what is missing, or print the table.

    Args:
        kinds: "digits", "digits, untrained", or of `KINDS`.
        networks: Of each kind.
        table: Only print what the rows say.
    """
    torch.set_num_threads(1)
    rows = pd.read_csv(PATH) if PATH.exists() else pd.DataFrame(columns=["network", "seed"])
    known = set(zip(rows["network"], rows["seed"], strict=True))
    for seed in () if table else range(networks):
        for kind in kinds:
            if (kind, seed) not in known:
                rows = pd.concat([rows, pd.DataFrame(measure(kind, seed))], ignore_index=True)
                rows.to_csv(PATH, index=False)
                print(kind, seed, flush=True)
    print(summary(rows).to_string(index=False))


if __name__ == "__main__":
    tyro.cli(main)
