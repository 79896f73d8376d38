"""Bias, spread and coverage of every estimator against the truth, and false alarms of the nulls.

Run: python -m experiments.estimators.calibrate [--data mnist] [--estimators auto]; writes
results/*.csv and prints them.
All estimators take some minutes, the default alone one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import tyro

from experiments.estimators.tables import Case, case, trained
from infoflow.data import load
from infoflow.information.donors import table_flow, two_way_se
from infoflow.information.entropy import information_bits, joint_counts
from infoflow.information.null import Null, sign_flip_null

HERE = Path(__file__).parent
BUDGETS = [(50, 50), (100, 25), (100, 50), (100, 100), (200, 100), (400, 100), (200, 200)]
ESTIMATORS = [
    "none", "miller_madow", "panzeri_treves", "grassberger", "chao_shen", "quadratic", "auto",
]  # fmt: skip
SOURCES = [1, 4, 16, 32]


def table_rows(
    one: Case, repeats: int, seed: int, estimators: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """One row a draw, estimator and column, donors and contexts drawn with replacement."""
    rng = np.random.default_rng(seed)
    n = len(one.codes)
    for m, k in BUDGETS:
        for draw in range(repeats):
            codes = one.codes[np.ix_(rng.integers(n, size=m), rng.integers(n, size=k))]
            width = codes.shape[2]
            singles = [table_flow(codes[:, :, t : t + 1], one.bins) for t in range(width)]
            se = [two_way_se(single.pointwise) for single in singles]
            se_given = [two_way_se(single.pointwise_given_context) for single in singles]
            for estimator in estimators:
                found = table_flow(codes, one.bins, estimator=estimator)  # type: ignore[arg-type]
                for t in range(width):
                    yield {
                        "case": one.name, "size": one.size, "bins": one.bins, "m": m, "k": k,
                        "draw": draw, "column": t, "estimator": estimator,
                        "truth": one.plain[t], "bits": found.bits[t],
                        "se": se[t],
                        "truth_given": one.given[t], "given": found.given_context[t],
                        "se_given": se_given[t],
                        "cells": found.cells_per_sample,
                    }  # fmt: skip


def shuffle_rows(
    one: Case, repeats: int, seed: int, estimators: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The binned estimator for single units, one donor and one context a sample."""
    if one.put_in is None:
        return
    rng = np.random.default_rng(seed)
    n = len(one.codes)
    for t in range(one.codes.shape[2]):
        whole = joint_counts(np.repeat(one.put_in, n), one.codes[:, :, t].ravel())
        truth = information_bits(whole, "none")
        for samples in (300, 1000, 3000, 10_000):
            for draw in range(repeats):
                donors = rng.integers(n, size=samples)
                seen = one.codes[donors, rng.integers(n, size=samples), t]
                table = joint_counts(one.put_in[donors], seen)
                ratio = table * samples / np.maximum(np.outer(table.sum(1), table.sum(0)), 1)
                pointwise = np.log2(ratio[one.put_in[donors], seen])
                for estimator in estimators:
                    yield {
                        "case": one.name, "bins": one.bins, "samples": samples, "draw": draw,
                        "column": t, "estimator": estimator, "truth": truth,
                        "bits": information_bits(table, estimator),  # type: ignore[arg-type]
                        "se": pointwise.std(ddof=1) / np.sqrt(samples),
                        "cells": np.count_nonzero(table) / samples,
                    }  # fmt: skip


def null_rows(one: Case, repeats: int, seed: int) -> Iterator[dict[str, Any]]:
    """p-values where nothing flows: every entry has a donor of its own (tables), or the value put
    in is forgotten (single units)."""
    rng = np.random.default_rng(seed)
    n = len(one.codes)
    for m, k in [(100, 50), (200, 100)]:
        for draw in range(repeats):
            contexts = rng.integers(n, size=k)
            codes = one.codes[rng.integers(n, size=(m, k)), contexts]
            for t in range(codes.shape[2]):
                column = codes[:, :, t : t + 1]
                null = sign_flip_null(column, n_null=99, correct=True, rng=rng)
                yield {
                    "case": one.name, "null": "sign flip", "m": m, "k": k, "draw": draw,
                    "column": t, "p": null.p_value, "floor": null.floor,
                }  # fmt: skip
    if one.put_in is None:
        return
    for draw in range(repeats):
        for t in range(one.codes.shape[2]):
            sent = one.put_in[rng.integers(n, size=1000)]
            seen = one.codes[rng.integers(n, size=1000), rng.integers(n, size=1000), t]
            draws = [information_bits(joint_counts(rng.permutation(sent), seen)) for _ in range(99)]
            null = Null(information_bits(joint_counts(sent, seen)), np.array(draws))
            yield {
                "case": one.name, "null": "permutation", "m": 1000, "k": 1, "draw": draw,
                "column": t, "p": null.p_value, "floor": null.floor,
            }  # fmt: skip


def summary(rows: pd.DataFrame, by: list[str], what: str = "") -> pd.DataFrame:
    """Bias, spread, claimed error and coverage over draws, averaged over columns and cases."""
    suffix = f"_{what}" if what else ""
    value, truth = rows[what or "bits"], rows[f"truth{suffix}"]
    frame = rows[by].assign(
        error=value - truth,
        se=rows[f"se{suffix}"],
        covered=(value - truth).abs() <= 1.96 * rows[f"se{suffix}"] + 1e-9,
        cells=rows["cells"],
        column=rows["case"] + rows["column"].astype(str),
    )
    each = frame.groupby([*by, "column"]).agg(
        bias=("error", "mean"), sd=("error", "std"), se=("se", "mean"),
        coverage=("covered", "mean"), cells=("cells", "mean"),
    )  # fmt: skip
    grouped = each.groupby(by)
    return grouped.agg(
        bias=("bias", "mean"), worst_bias=("bias", lambda b: b.abs().max()), sd=("sd", "mean"),
        se=("se", "mean"), coverage=("coverage", "mean"), worst_coverage=("coverage", "min"),
        cells=("cells", "mean"),
    ).round(4)  # fmt: skip


def main(
    data: str = "digits",
    rows: int = 1437,
    estimators: tuple[str, ...] = tuple(ESTIMATORS),
    repeats: int = 100,
) -> None:
    """Measure every case `repeats` times, with so many rows of the data as the population."""
    torch.set_num_threads(1)
    rec = trained(load(data), rows)
    tables, shuffles, nulls = [], [], []
    for bins, joint in [(5, False), (10, False), (20, False), (10, True)]:
        for size in SOURCES:
            name = f"{size} -> {'32 joint' if joint else '1'}, {bins} codes"
            one = case(rec, name, size, bins, joint)
            print(name, "truth", one.plain.round(3), flush=True)
            tables += table_rows(one, repeats, size, estimators)
            shuffles += shuffle_rows(one, repeats, size, estimators)
            nulls += null_rows(one, repeats, size)
    alone = list(estimators) != ESTIMATORS
    label = f"{data}_{'_'.join(estimators)}" if alone else data
    write(label, pd.DataFrame(tables), pd.DataFrame(shuffles), pd.DataFrame(nulls))


def write(label: str, tables: pd.DataFrame, shuffles: pd.DataFrame, nulls: pd.DataFrame) -> None:
    """Summaries to results/, and to the screen."""
    nulls["alarm"] = nulls["p"] <= 0.05
    results = {
        "tables": summary(tables, ["estimator", "m", "k"]),
        "tables_given_context": summary(tables, ["estimator", "m", "k"], "given"),
        "tables_by_case": summary(tables, ["estimator", "m", "k", "size", "bins"]),
        "shuffle": summary(shuffles, ["estimator", "bins", "samples"]),
        "null": pd.DataFrame(nulls.groupby(["null", "m", "k"])[["alarm", "floor"]].mean()).round(4),
    }
    for name, frame in results.items():
        frame.to_csv(HERE / "results" / f"{label}_{name}.csv")
        if name != "tables_by_case":
            print(name, frame.to_string(), sep="\n")


if __name__ == "__main__":
    tyro.cli(main)
