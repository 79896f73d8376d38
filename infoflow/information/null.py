"""Permutation null: the flow that would be seen if the target did not follow the donor."""

from __future__ import annotations

import numpy as np

from infoflow.information.donors import table_flow


def permuted_flows(
    codes: np.ndarray,
    n_codes: int,
    *,
    n_null: int,
    correct: bool,
    rng: np.random.Generator,
) -> np.ndarray:
    """Flow of tables in which each context's codes are dealt to the donors at random.

    What a context does to the codes is kept, also how much the donors vary within it; only the
    consistency of a donor across contexts is broken. That is the hypothesis "knowing the donor
    tells nothing about the code when the context is unknown".

    Args:
        codes: `(M, K, T)` codes.
        n_codes: Codes are 0 ... n_codes - 1.
        n_null: Number of permutations.
        correct: As for the flow itself.
        rng: Source of randomness.

    Returns:
        `(n_null,)` flows in bits, columns summed.
    """
    m, k, _ = codes.shape
    flows = np.empty(n_null)
    for number in range(n_null):
        order = rng.random((m, k)).argsort(0)
        dealt = np.take_along_axis(codes, order[:, :, None], axis=0)
        flows[number] = table_flow(dealt, n_codes, correct=correct).bits.sum()
    return flows


def p_value(observed: float, null: np.ndarray) -> float:
    """Share of null values at least as large, counting the observed one among them (add-one).

    Examples:
        >>> p_value(1.0, np.zeros(99))
        0.01
    """
    return float((1 + (null >= observed).sum()) / (1 + len(null)))
