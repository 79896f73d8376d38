"""What every kind of code has in common, and what is refused as none."""

from __future__ import annotations

import numpy as np

# Single precision has steps of 1.2e-7; a sum of a few hundred terms is off by some of them.
ROUNDING = 1e-5


NOT_A_NUMBER = (
    "a target unit is not a number (NaN) under the intervention and has no code; check the "
    "network for overflow, log or division at values it does not normally see"
)


def check_numbers(values: np.ndarray) -> None:
    """Refuse activations that have no code.

    Raises:
        ValueError: A value that is not a number.
    """
    if np.isnan(values).any():
        raise ValueError(NOT_A_NUMBER)


def check_codes(codes: np.ndarray, n_codes: int) -> None:
    """Refuse codes that are not the integers 0 ... n_codes - 1.

    Raises:
        ValueError: Another type, or a value outside that range.
    """
    if not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(f"expected integer codes, got {codes.dtype}; bin the activations first")
    if codes.size and (codes.min() < 0 or codes.max() >= n_codes):
        raise ValueError(f"expected codes 0 ... {n_codes - 1}, got {codes.min()} ... {codes.max()}")


def code_dtype(n_codes: int) -> np.dtype:
    """The smallest unsigned integers that hold the codes, for tables of millions of them."""
    return np.min_scalar_type(n_codes - 1)
