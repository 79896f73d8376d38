"""Complete code tables of trained networks: every donor in every context, so the truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import infoflow as ifl
from infoflow.data import Dataset
from infoflow.information.donors import table_flow
from infoflow.information.tables import code_tables
from infoflow.information.targets import fit_target, normal_codes
from infoflow.measured import Draws
from infoflow.recording import Recording
from infoflow.train import TrainConfig, train


@dataclass(frozen=True, eq=False)
class Case:
    """A source, some codes of a target layer, and the truth.

    Attributes:
        name, size, bins: What it is: source units, codes per column.
        codes: `(N, N, T)` codes of every donor in every context.
        put_in: `(N,)` the source unit's own bins, for single units; else None.
        plain, given: `(T,)` bits of the whole table, which are exact: the data are the population.
    """

    name: str
    size: int
    bins: int
    codes: np.ndarray
    put_in: np.ndarray | None
    plain: np.ndarray
    given: np.ndarray


def trained(data: Dataset, rows: int, seed: int = 0, dropout: float = 0.0) -> Recording:
    """A recording of `rows` inputs of the 2022 study's perceptron, trained."""
    config = TrainConfig(dataset=data.name, seed=seed, dropout=dropout, max_epochs=60)
    model = train(config, data).model
    pick = np.random.default_rng(seed).permutation(len(data.train_x))[:rows]
    return ifl.record(model, ["fc1", "fc2"], data.train_x[pick], batch_size=4096)


def case(rec: Recording, name: str, size: int, bins: int, joint: bool, seed: int = 0) -> Case:
    """`size` random units of the first layer to eight units, or two halves, of the second."""
    rng = np.random.default_rng([seed, size, bins])
    sent = rng.choice(rec.units.indices("fc1"), size, replace=False)
    second = rng.permutation(rec.units.indices("fc2"))
    groups = (second[:32], second[32:]) if joint else [second[i : i + 1] for i in range(8)]
    aims = [fit_target(rec, group, Draws(bins=bins)) for group in groups]
    everyone = np.arange(len(rec))
    found = code_tables(rec, sent, aims, everyone, everyone)
    codes = np.concatenate([table.codes.astype(np.uint8) for table in found], 2)
    put_in = normal_codes(rec, fit_target(rec, sent, Draws(bins=bins)))[:, 0] if size == 1 else None
    truth = table_flow(codes, bins, estimator="none")
    return Case(name, size, bins, codes, put_in, truth.bits, truth.given_context)
