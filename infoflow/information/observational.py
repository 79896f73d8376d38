"""What two groups share as observed, and given a third: for comparison with the flow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from infoflow.information.entropy import (
    conditional_information_bits,
    information_bits,
    joint_counts,
)
from infoflow.information.targets import Target, fit_target, normal_codes
from infoflow.measured import Binning, BinsLike, Coding, Correction, Draws, Pool
from infoflow.recording import Recording
from infoflow.units import UnitsLike


def observed_information(rec: Recording, source: np.ndarray, target: Target) -> float:
    """I(S; T) in the normal run, the target's code columns summed, in bits.

    Raises:
        ValueError: Positions as samples where source and target differ in their number.
    """
    draws = target.draws
    if isinstance(draws.bins, Binning) and len(source) > 1:  # edges cut single units
        draws = replace(draws, bins=replace(draws.bins, edges=None))
    put_in = _joint_code(rec, source, draws)
    seen = normal_codes(rec, target)
    if len(put_in) != len(seen):
        raise ValueError("pool='positions' needs source and target with as many positions")
    tables = (joint_counts(put_in, column) for column in seen.T)
    return sum(information_bits(table, draws.correction, draws.seed) for table in tables)


def conditional_information(
    rec: Recording,
    source: UnitsLike,
    target: UnitsLike,
    given: UnitsLike | None = None,
    *,
    bins: BinsLike = 10,
    coding: Coding = "joint",
    pool: Pool = "mean",
    correction: Correction = "auto",
    seed: int = 0,
) -> float:
    """I(S; T | X) as observed, in bits: what the groups share beyond their common cause X.

    Not a measure of what S sends T. With X the whole input, S and T are functions of X and nothing
    is left to share: 0, also where S is T's only cause. With X something in between, what is left
    depends on how much of the common cause X happens to hold. `flow` breaks S's tie to the input
    instead.

    Args:
        rec: A recording.
        source, target: Units, as for `flow`.
        given: Units that stand for X, coded jointly; None is the input itself, every different
            input a value of its own.
        bins, coding, pool, correction, seed: As for `flow`.

    Raises:
        ValueError: Empty groups, unknown options, or positions that differ in number.
        KeyError: A layer that was not recorded.

    Source: "yardstick for modularity", on conditional mutual information.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1))
        >>> rec = ifl.record(net, ["0", "1"], torch.randn(50, 1))
        >>> conditional_information(rec, {"0": [0]}, {"1": [0]})
        0.0
    """
    draws = Draws(bins=bins, coding=coding, pool=pool, correction=correction, seed=seed)
    sent, seen = rec.units.flat(source), rec.units.flat(target)
    put_in = _joint_code(rec, sent, draws)
    answers = normal_codes(rec, fit_target(rec, seen, draws))
    if given is None:
        inputs = np.concatenate([x.reshape(len(x), -1).double().numpy() for x in rec.inputs], 1)
        context = np.unique(inputs, axis=0, return_inverse=True)[1].ravel()
        context = np.repeat(context, len(put_in) // len(rec))
    else:
        context = _joint_code(rec, rec.units.flat(given), draws)
    if not len(put_in) == len(answers) == len(context):
        raise ValueError("pool='positions' needs groups with as many positions")
    return sum(conditional_information_bits(put_in, c, context, correction) for c in answers.T)


def _joint_code(rec: Recording, units: np.ndarray, draws: Draws) -> np.ndarray:
    """One code `(K,)` for a group, in the normal run."""
    return normal_codes(rec, fit_target(rec, units, replace(draws, coding="joint")))[:, 0]
