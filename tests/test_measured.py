"""What is measured is checked where it is said."""

import pytest

from infoflow.measured import Binning, Draws, Objective


@pytest.mark.parametrize("error", [KeyError, ValueError])
@pytest.mark.parametrize(
    ("make", "near"),
    [
        (lambda: Draws(pool="maen"), "'mean'"),
        (lambda: Draws(coding="unit"), "'units'"),
        (lambda: Draws(correction="miller"), "'miller_madow'"),
        (lambda: Objective("conductence"), "'conductance'"),
        (lambda: Binning(kind="quantile"), "'quantiles'"),
    ],
)
def test_an_unknown_name_is_refused_with_its_near_misses(make, near, error):
    with pytest.raises(error, match=f"^unknown .* did you mean .*{near}"):
        make()
