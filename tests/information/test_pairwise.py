"""Observed information of all pairs of columns."""

import numpy as np
import pytest

from infoflow.information.mutual import information_bits, joint_counts
from infoflow.information.pairwise import pairwise_information
from tests import oracles_information as oracle


@pytest.mark.parametrize("k", [1, 2, 99, 300])
def test_every_entry_is_the_information_of_that_pair(k):
    rng = np.random.default_rng(k)
    codes = rng.integers(5, size=(k, 6))
    codes[:, 3] = codes[:, 1] // 2
    plain = pairwise_information(codes, 5, correct=False)
    corrected = pairwise_information(codes, 5)
    for i in range(6):
        for j in range(6):
            a, b = codes[:, i], codes[:, j]
            assert plain[i, j] == pytest.approx(oracle.information(a.tolist(), b.tolist()))
            assert corrected[i, j] == pytest.approx(
                information_bits(joint_counts(a, b), "miller_madow")
            )


def test_codes_that_are_no_codes_are_an_error():
    with pytest.raises(ValueError, match="integer codes"):
        pairwise_information(np.ones((4, 2)), 3)
    with pytest.raises(ValueError, match=r"0 \.\.\. 2"):
        pairwise_information(np.full((4, 2), 3), 3)
