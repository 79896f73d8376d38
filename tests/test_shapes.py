"""Shapes in annotations are checked while the tests run."""

from __future__ import annotations

import numpy as np
import pytest

import infoflow as ifl
from infoflow._shapes import Integer, Real, shaped


@shaped
def labels_of(B: Real[np.ndarray, "units units"], n: int) -> Integer[np.ndarray, " units"]:
    if B.ndim != 2:
        raise ValueError("our own words")
    return np.zeros(n, dtype=int)


def test_a_wrong_shape_is_an_error_and_a_right_one_none() -> None:
    assert len(labels_of(np.eye(3), 3)) == 3
    with pytest.raises(TypeError, match=r"labels_of: return is int64 \(2,\)"):
        labels_of(np.eye(3), 2)
    with pytest.raises(TypeError, match="labels_of: B is"):
        labels_of(np.ones((3, 2)), 3)
    with pytest.raises(ValueError, match="our own words"):
        labels_of(np.ones(3), 3)


def test_public_functions_are_checked_here() -> None:
    assert hasattr(ifl.similarity, "__wrapped__") and hasattr(ifl.unit_flow, "__wrapped__")
