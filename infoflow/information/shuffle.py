"""The ordinary binned estimator on a shuffled pass: what single units send."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from infoflow.information.binning import code_dtype
from infoflow.information.entropy import information_bits, information_of_each, joint_counts
from infoflow.information.tables import read_codes
from infoflow.information.targets import Target, fit_target, normal_codes, normal_values
from infoflow.interventions import resample
from infoflow.measured import Null
from infoflow.recording import Recording


@dataclass(frozen=True, eq=False)
class PlainFlow:
    """A plain flow as one way of measuring it gives it.

    Attributes:
        bits: The flow, code columns summed.
        se: Its standard error.
        null: Null distribution, None unless asked for.
    """

    bits: float
    se: float
    null: Null | None


def shuffled_flow(
    rec: Recording, source: np.ndarray, target: Target, *, n_null: int = 0
) -> PlainFlow:
    """Flow from one unit by one shuffled pass over the data set.

    Every sample runs with the unit at its value on another sample; the mutual information of the
    binned value put in and the target's code is the flow, corrected for bias. Columns
    of the target's code are summed. The null deals the values put in to the samples at random.

    Args:
        rec: A recording.
        source: `(1,)` flat index of the unit.
        target: A target with a fitted coder; its draws have the correction, and the seed of the
            permutation of samples.
        n_null: Permutations for the null.
    """
    correction, seed = target.draws.correction, target.draws.seed
    codes, seen = shuffled_codes(rec, source, target)
    moved = (seen != normal_codes(rec, target)).any(0)  # else do(S) changed nothing: no flow
    seen = seen[:, moved]
    bits, pointwise = 0.0, np.zeros(len(codes))
    for column in seen.T:
        table = joint_counts(codes, column)
        bits += information_bits(table, correction, seed)
        ratio = table * len(codes) / np.maximum(np.outer(table.sum(1), table.sum(0)), 1)
        pointwise += np.log2(ratio[codes, column])
    by_sample = pointwise.reshape(len(rec), -1).mean(1)  # positions of a sample are not independent
    se = float(by_sample.std(ddof=1) / np.sqrt(len(by_sample)))
    null = None
    if n_null:
        rng = np.random.default_rng([seed, n_null])
        draws = np.zeros(n_null)
        for number in range(n_null):
            dealt = rng.permutation(codes.reshape(len(rec), -1)).ravel()
            draws[number] = sum(
                information_bits(joint_counts(dealt, c), correction, seed) for c in seen.T
            )
        null = Null(bits, draws)
    return PlainFlow(bits, se, null)


def shuffled_codes(
    rec: Recording, source: np.ndarray, target: Target
) -> tuple[np.ndarray, np.ndarray]:
    """Codes of the value put in, `(K,)`, and of the target that answered, `(K, T)`.

    Raises:
        ValueError: A target that tells all activations apart.
    """
    sender = fit_target(rec, source, target.draws)
    if target.coder is None or sender.coder is None:
        raise ValueError("bins='unique' is for enumeration: use donors='all', contexts='all'")
    donors = np.random.default_rng(target.draws.seed).permutation(len(rec))
    put_in = sender.coder.encode(normal_values(rec, source, target.draws.pool))[:, 0]
    layers = [rec.units.layers[i] for i in np.unique(rec.units.layer_index[target.units])]
    runs = resample(rec, source, donors, np.arange(len(rec)), layers)
    answers = read_codes(rec, runs, [target], 1)[0].codes[0]
    per_sample = len(put_in) // len(rec)
    order = donors if per_sample == 1 else _position_rows(donors, per_sample)
    return put_in[order], answers


def _position_rows(rows: np.ndarray, positions: int) -> np.ndarray:
    return (rows[:, None] * positions + np.arange(positions)).ravel()


def information_with_each(codes: np.ndarray, columns: np.ndarray, n_codes: int) -> np.ndarray:
    """Mutual information of `codes` `(N,)` with each of `columns` `(N, T)`, corrected, in bits.

    Each is what `information_bits` gives with "auto".

    Examples:
        >>> a = np.arange(400) % 2
        >>> information_with_each(a, np.stack([a, 0 * a], 1), 2).round(2).tolist()
        [1.0, 0.0]
    """
    from infoflow.information._histograms import pair_counts

    small = code_dtype(n_codes)
    rows = np.ascontiguousarray(columns.T, dtype=small)
    tables = pair_counts(codes.astype(small), rows, n_codes, n_codes)
    return information_of_each(tables)
