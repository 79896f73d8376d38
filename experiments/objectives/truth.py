"""Candidates for the flow into a group against the truth, on networks that can be enumerated.

    python -m experiments.objectives.truth
    python -m experiments.objectives.truth --first 100 --seeds 3 --name truth_fresh.csv

One row per network, candidate and quantity (README.md has the design). Networks whose rows are in
the file already are not measured again.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from scipy.stats import rankdata

import infoflow as ifl
from experiments.common.cells import measure_cells
from experiments.objectives.networks import (
    ACTIVATIONS,
    KINDS,
    SHAPES,
    UNITS,
    even_bipartitions,
    small_network,
)
from infoflow.information.donors import table_flow
from infoflow.information.group_flows import (
    GroupFlow,
    Spread,
    gaussian_spread,
    kernel_spread,
    pairwise,
)
from infoflow.information.targets import encode, fit_target, normal_values
from infoflow.interventions import resample
from infoflow.measured import SEARCH, Draws

HERE = Path(__file__).parent
FIELDS: tuple[str, ...] = (
    "kind", "shape", "activation", "seed", "candidate", "quantity", "bias", "rho", "rho_best_fifth",
    "regret", "truth_mean", "truth_least", "seconds",
)  # fmt: skip
QUANTITIES = ("plain", "given_context")
CANDIDATES = (
    "units", "units_3", "cells", "cells_limit", "kmeans", "kernel", "kernel_10", "grid", "gaussian",
    "gaussian_10", "decoder",
)  # fmt: skip
ROWS = 2 * len(CANDIDATES) - 1  # the decoder is plain only
Pair = tuple[float, float]
Rows = tuple[np.ndarray, np.ndarray]
Known = dict[tuple[bytes, bytes], tuple[Pair, dict[str, Pair]]]


def outcomes(rec: ifl.Recording, source: np.ndarray, rows: Rows, target: np.ndarray) -> np.ndarray:
    """`(M, K, n)` activations of the target under every donor and context of `rows`."""
    donors, contexts = rows
    pairs = np.repeat(donors, len(contexts)), np.tile(contexts, len(donors))
    found = np.empty((len(pairs[0]), len(rec.units)))
    for chunk, seen in resample(rec, source, *pairs, rec.units.layers):
        found[chunk] = torch.cat([seen[name] for name in rec.units.layers], 1).numpy()
    return found[:, target].reshape(len(donors), len(contexts), -1)


def true_bits(rec: ifl.Recording, source: np.ndarray, target: np.ndarray) -> Pair:
    """I(do source; target), plain and given the context, all samples as donors and contexts."""
    n = len(rec)
    values = outcomes(rec, source, (np.arange(n), np.arange(n)), target)
    cells = joint_cells(rec, values, target)
    size = cells.max() + 1
    sample = np.arange(n)
    by_donor = np.bincount((cells + size * sample[:, None]).ravel(), minlength=n * size)
    by_context = np.bincount((cells + size * sample).ravel(), minlength=n * size)
    by_donor, by_context = by_donor.reshape(n, size), by_context.reshape(n, size)
    whole = by_donor.sum(0) / n**2
    return entropy(whole) - entropy(by_donor / n) / n, entropy(by_context / n) / n


def entropy(p: np.ndarray) -> float:
    """Sum of the entropies of all rows, in bits."""
    p = p[p > 0]
    return float(-(p * np.log2(p)).sum())


def joint_cells(rec: ifl.Recording, values: np.ndarray, target: np.ndarray) -> np.ndarray:
    """`(M, K)` number of the joint cell, three bins a unit."""
    draws = Draws(bins=3, coding="units")
    codes, _ = encode(fit_target(rec, target, draws), values.reshape(-1, len(target)))
    return (codes.astype(np.int64) @ 3 ** np.arange(len(target))).reshape(values.shape[:2])


def counted(codes: np.ndarray, estimator: str) -> Pair:
    _, small = np.unique(codes, return_inverse=True)
    small = small.reshape(*codes.shape[:2], -1)
    flow = table_flow(small, int(small.max()) + 1, estimator=estimator)  # type: ignore[arg-type]
    return float(flow.bits.sum()), float(flow.given_context.sum())


def candidates(
    rec: ifl.Recording, values: np.ndarray, target: np.ndarray
) -> dict[str, Callable[[], Pair]]:
    """What each candidate makes of the outcomes `(M, K, n)` of a target."""

    def coded(bins: int, coding: str) -> np.ndarray:
        draws = Draws(bins=bins, coding=coding)  # type: ignore[arg-type]
        codes, _ = encode(fit_target(rec, target, draws), values.reshape(-1, len(target)))
        return codes.reshape(*values.shape[:2], -1)

    def spread(how: Spread, bins: float) -> Pair:
        ranks = on_rank_scale(normal_values(rec, target, "mean"), values)
        flow = GroupFlow(ranks, how, 1 / bins)
        return flow.bits, flow.given_context

    def units(bins: int) -> Pair:
        codes = coded(bins, "units")
        each = [counted(codes[..., [j]], "miller_madow") for j in range(codes.shape[2])]
        return sum(a for a, _ in each), sum(b for _, b in each)

    return {
        "units": lambda: units(10),
        "units_3": lambda: units(3),
        "cells": lambda: counted(joint_cells(rec, values, target)[..., None], "miller_madow"),
        "cells_limit": lambda: counted(joint_cells(rec, values, target)[..., None], "quadratic"),
        "kmeans": lambda: counted(coded(10, "joint"), "miller_madow"),
        "kernel": lambda: spread(kernel_spread, 3),
        "kernel_10": lambda: spread(kernel_spread, 10),
        "grid": lambda: spread(grid_spread, 3),
        "gaussian": lambda: spread(gaussian_spread, 3),
        "gaussian_10": lambda: spread(gaussian_spread, 10),
        "decoder": lambda: (decoded(values), float("nan")),
    }


def on_rank_scale(normal: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values `(M, K, n)` as shares of the unit's normal values below them (ties half)."""
    found = np.empty(values.shape, dtype=np.float32)
    for j, column in enumerate(np.sort(normal, axis=0).T):
        seen = values[..., j]
        both = [np.searchsorted(column, seen, side) for side in ("left", "right")]
        found[..., j] = (both[0] + both[1]) / (2 * len(column))
    return found


def grid_spread(sets: np.ndarray, width: float) -> np.ndarray:
    """As `kernel_spread`, by the chance that two outcomes share a cell of a grid laid at random."""
    alike = np.ones((len(sets), sets.shape[1], sets.shape[1]))
    for unit in sets.transpose(2, 0, 1):
        alike *= np.maximum(1 - np.abs(unit[:, :, None] - unit[:, None]) / width, 0.0)
    return pairwise(alike)


def decoded(values: np.ndarray) -> float:
    """Lower bound on the plain flow: a linear discriminant guesses the donor of contexts it has
    not seen; log2 M - mean log loss."""
    m, k, n = values.shape
    flat = values.reshape(-1, n)
    values = (values - flat.mean(0)) / (flat.std(0) + 1e-9)
    bounds = []
    for seen, unseen in ((slice(0, k, 2), slice(1, k, 2)), (slice(1, k, 2), slice(0, k, 2))):
        mean = values[:, seen].mean(1)
        rest = (values[:, seen] - mean[:, None]).reshape(-1, n)
        noise = np.linalg.inv(rest.T @ rest / len(rest) + 1e-2 * np.eye(n))
        apart = values[:, unseen][:, :, None] - mean
        logit = -0.5 * np.einsum("mkdi,ij,mkdj->mkd", apart, noise, apart, optimize=True)
        logit -= np.logaddexp.reduce(logit, axis=2, keepdims=True)
        right = logit[np.arange(m), :, np.arange(m)]
        bounds.append(np.log2(m) + right.mean() / np.log(2))
    return max(float(np.mean(bounds)), 0.0)


def study(kind: str, shape: str, activation: str, seed: int) -> list[dict[str, Any]]:
    """One row per candidate and quantity."""
    rec = small_network(kind, shape, activation, seed)
    drawn = Draws(SEARCH.donors, SEARCH.contexts, seed=seed).rows(len(rec))
    truth, guess = [], defaultdict(list)
    seconds: dict[str, float] = defaultdict(float)
    known: Known = {}
    for labels in even_bipartitions(UNITS):
        sums = []
        for a in (0, 1):
            source = np.flatnonzero(labels == a)
            sums.append(measured(rec, source, np.flatnonzero(labels != a), drawn, known, seconds))
        truth.append(np.add(sums[0][0], sums[1][0]))
        for name in CANDIDATES:
            guess[name].append(np.add(sums[0][1][name], sums[1][1][name]))
    cell = {"kind": kind, "shape": shape, "activation": activation, "seed": seed}
    return [
        {**cell, "candidate": name, "quantity": quantity, **judged(np.array(truth)[:, q],
         np.array(found)[:, q]), "seconds": round(seconds["intervening"] + seconds[name], 3)}
        for name, found in guess.items()
        for q, quantity in enumerate(QUANTITIES)
        if not np.isnan(np.array(found)[:, q]).any()
    ]  # fmt: skip


def measured(
    rec: ifl.Recording,
    source: np.ndarray,
    target: np.ndarray,
    drawn: Rows,
    known: Known,
    seconds: dict[str, float],
) -> tuple[Pair, dict[str, Pair]]:
    """Truth and candidates of one source and target; those met before are looked up."""
    layer = rec.units.layer_index
    matters = source[layer[source] < layer.max()]
    target = target[layer[target] > layer[source].min()]
    if not len(matters) or not len(target):
        return (0.0, 0.0), dict.fromkeys(CANDIDATES, (0.0, 0.0))
    key = matters.tobytes(), target.tobytes()
    if key not in known:
        start = time.perf_counter()
        values = outcomes(rec, matters, drawn, target)
        seconds["intervening"] += time.perf_counter() - start
        found = {}
        for name, candidate in candidates(rec, values, target).items():
            start = time.perf_counter()
            found[name] = candidate()
            seconds[name] += time.perf_counter() - start
        known[key] = true_bits(rec, matters, target), found
    return known[key]


def ranks_agree(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation."""
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def judged(truth: np.ndarray, guess: np.ndarray) -> dict[str, float]:
    """Bias, rank correlation over all partitions and the least fifth, and regret."""
    low = truth <= np.quantile(truth, 0.2)
    found = {
        "bias": (guess - truth).mean(),
        "rho": ranks_agree(truth, guess),
        "rho_best_fifth": ranks_agree(truth[low], guess[low]),
        "regret": (truth[guess.argmin()] - truth.min()) / (truth.mean() - truth.min()),
        "truth_mean": truth.mean(),
        "truth_least": truth.min(),
    }
    return {name: round(float(value), 4) for name, value in found.items()}


def main(first: int = 0, seeds: int = 2, name: str = "truth.csv") -> None:
    """Measure so many networks of each of twelve kinds.

    Args:
        first: Seed of the first network of a kind.
        seeds: Networks of a kind.
        name: File in results/.
    """
    torch.set_num_threads(1)
    cells = product(range(first, first + seeds), KINDS, SHAPES, ACTIVATIONS)
    measure_cells(
        HERE / "results" / name,
        FIELDS,
        FIELDS[:4],
        ((kind, shape, activation, seed) for seed, kind, shape, activation in cells),
        study,
        rows_each=ROWS,
    )


if __name__ == "__main__":
    tyro.cli(main)
