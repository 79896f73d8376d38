"""Codes that are fixed on the normal run."""

import numpy as np
import pytest

from infoflow.information.binning import UnitBins, fit_unit_bins
from infoflow.information.codebook import fit_codebook, fit_projection, unique_codes
from infoflow.measured import Binning
from tests import oracles_information as oracle


def relu_like(rng, rows=200, units=6):
    return np.maximum(rng.normal(size=(rows, units)) + np.linspace(-2, 2, units), 0)


def outside(coder, values):
    """Share of values, or of a group's rows, beyond what the normal run showed."""
    if not isinstance(coder, UnitBins):
        return coder.encode_counting(values)[1] / len(values)
    codes = np.empty(values.shape, np.uint8)
    return coder.encode_into(values, codes).sum() / codes.size


def test_codes_agree_with_binning_one_value_at_a_time():
    rng = np.random.default_rng(0)
    normal, other = relu_like(rng), relu_like(rng) * 1.5
    normal[:, 5] = rng.integers(3, size=len(normal))  # heavily tied
    for bins in (2, 3, 10):
        codes = fit_unit_bins(normal, bins).encode(other)
        for unit in range(normal.shape[1]):
            expected = oracle.unit_codes(normal[:, unit], other[:, unit], bins)
            assert (codes[:, unit] == expected).all()


def test_exact_zero_has_a_bin_of_its_own():
    normal = np.array([[0.0], [0.0], [1e-30], [1.0], [2.0], [3.0]])
    codes = fit_unit_bins(normal, 3).encode(normal).ravel()
    assert (codes == 0).tolist() == [True, True, False, False, False, False]


def test_quantile_bins_hold_about_as_many_samples_each():
    values = np.random.default_rng(1).standard_t(1.5, size=(1000, 1))  # heavy tails
    counts = np.bincount(fit_unit_bins(values, 10).encode(values).ravel())
    assert len(counts) == 10
    assert counts.min() >= 98
    assert counts.max() <= 102


@pytest.mark.parametrize(
    ("column", "n_codes"),
    [
        ([2.0] * 5, 1),
        ([1.0, 5.0] * 3, 2),
        ([0.0] * 5, 1),
        ([0.0, 0.0, 4.0], 2),
        ([1.0] * 99 + [2], 2),
    ],
)
def test_units_with_few_values_get_one_code_per_value(column, n_codes):
    values = np.array(column, dtype=float)[:, None]
    codes = fit_unit_bins(values, 10).encode(values).ravel()
    assert len(np.unique(codes)) == n_codes
    assert len({(v, c) for v, c in zip(column, codes, strict=True)}) == n_codes


def test_rounding_in_a_forward_pass_moves_no_value_of_the_normal_run():
    rng = np.random.default_rng(2)
    normal = relu_like(rng)
    rounded = normal * (1 + 1e-7 * rng.choice([-1, 1], size=normal.shape))
    coder = fit_unit_bins(normal, 10)
    assert (coder.encode(normal) == coder.encode(rounded)).all()
    assert outside(coder, rounded) == 0.0


def test_values_beyond_the_range_go_to_the_end_bins_and_are_counted():
    normal = np.linspace(1, 2, 50)[:, None]
    coder = fit_unit_bins(normal, 10)
    assert coder.encode(np.array([[-9.0], [9.0]])).ravel().tolist() == [0, 9]
    assert outside(coder, np.array([[-9.0], [9.0], [1.5], [1.2]])) == 0.5


def test_a_value_that_is_not_a_number_is_an_error():
    normal = np.linspace(1, 2, 50)[:, None]
    layer = np.zeros(1, int)
    for coder in (
        fit_unit_bins(normal, 4),
        fit_codebook(normal, layer, 4),
        fit_projection(normal, layer, 4),
    ):
        with pytest.raises(ValueError, match="not a number"):
            coder.encode(np.array([[np.nan], [1.0]]))


def test_equal_width_bins_cut_the_range_in_equal_parts():
    values = np.random.default_rng(5).exponential(size=(400, 1))
    codes = fit_unit_bins(values, Binning(8, "width")).encode(values)
    step = np.ptp(values) / 8
    expected = np.minimum((values - values.min()) // step, 7)
    assert (codes == expected).all()


def test_equal_width_edges_stay_clear_of_observed_values():
    values = np.arange(11.0)[:, None]  # ten bins would cut at 1, 2, ..., 9
    coder = fit_unit_bins(values, Binning(10, "width"))
    for wobble in (1 - 1e-7, 1 + 1e-7):
        assert (coder.encode(values * wobble) == coder.encode(values)).all()


def test_equal_frequency_bins_give_zero_no_bin_of_its_own():
    values = np.random.default_rng(6).normal(size=(1000, 1))
    values[:5] = 0.0
    counts = np.bincount(fit_unit_bins(values, Binning(4, "frequency")).encode(values).ravel())
    assert (np.abs(counts - 250) <= 5).all()
    assert np.bincount(fit_unit_bins(values, Binning(4)).encode(values).ravel())[0] == 5


def test_edges_of_ones_own_are_used_as_they_are():
    coder = fit_unit_bins(np.zeros((3, 2)), Binning(edges=(-1.0, 0.5)))
    assert coder.n_codes == 3
    assert coder.encode(np.array([[-2.0, -1.0], [0.5, 0.6]])).tolist() == [[0, 0], [1, 2]]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"count": 1}, "count: expected an integer of at least 2"),
        ({"count": 2.5}, "count: expected an integer"),
        ({"kind": "log"}, "unknown kind"),
        ({"group": "som"}, "unknown code"),
        ({"edges": ()}, "ascending"),
        ({"edges": (1.0, 0.0)}, "ascending"),
        ({"edges": (0.0, float("nan"))}, "edges: expected finite numbers"),
    ],
)
def test_a_binning_is_checked(options, text):
    with pytest.raises(ValueError, match=text):
        Binning(**options)


@pytest.mark.parametrize(("codes", "planes"), [(2, 1), (10, 3), (16, 4)])
def test_a_projection_halves_the_normal_run_with_every_plane(codes, planes):
    values = np.random.default_rng(7).normal(size=(600, 5))
    coder = fit_projection(values, np.zeros(5, int), codes)
    found = coder.encode(values).ravel()
    assert coder.n_codes == 2**planes <= codes
    for plane in range(planes):
        assert (found >> plane & 1).mean() == 0.5
    assert outside(coder, values) == 0.0
    assert outside(coder, 100 * values) > 0.9


@pytest.mark.parametrize("bins", [1, 0, -3])
def test_fewer_than_two_bins_is_an_error(bins):
    with pytest.raises(ValueError, match="expected an integer of at least 2"):
        fit_unit_bins(np.zeros((5, 1)), bins)
    with pytest.raises(ValueError, match="at least 2 codes"):
        fit_codebook(np.zeros((5, 1)), np.zeros(1, int), bins)


def test_a_codebook_gives_each_row_its_nearest_centroid():
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(size=(100, 3)), 40 * rng.normal(size=(100, 2))], 1)
    layers = np.array([0, 0, 0, 1, 1])
    book = fit_codebook(values, layers, codes=6)
    scaled = values * book.scale
    distance = np.linalg.norm(scaled[:, None] - book.centroids[None], axis=2)
    assert (book.encode(values).ravel() == distance.argmin(1)).all()
    assert outside(book, values) == 0.0
    assert outside(book, values + 1000) == 1.0


def test_the_layer_with_the_larger_activations_does_not_rule_the_codebook():
    rng = np.random.default_rng(4)
    quiet = rng.choice([-1.0, 1.0], size=(300, 1)) + 0.01 * rng.normal(size=(300, 1))
    loud = 1000 * rng.normal(size=(300, 1))
    values, layers = np.concatenate([quiet, loud], 1), np.array([0, 1])
    codes = fit_codebook(values, layers, codes=8).encode(values).ravel()
    own = [len(np.unique(np.sign(quiet[codes == c]))) for c in np.unique(codes)]
    assert np.mean(np.array(own) == 1) > 0.7  # most codes know the sign of the quiet unit


def test_a_group_with_few_distinct_rows_gets_a_code_for_each():
    values = np.array([[0.1, 1.0], [0.7, 2.0], [0.1, 1.0]])
    book = fit_codebook(values, np.zeros(2, int), codes=10)
    assert book.n_codes == 2
    assert book.encode(values).ravel().tolist() == [0, 1, 0]
    assert outside(book, values * (1 + 1e-7)) == 0.0  # rounding is not news
    assert outside(book, values + 5) == 1.0


def test_unique_codes_tell_apart_what_differs_by_more_than_rounding():
    values = np.array([[0.0, 1.0], [-0.0, 1.0], [1e-4, 1.0], [1e-9, 1.0]])
    assert unique_codes(values).ravel().tolist() == [0, 0, 1, 0]
