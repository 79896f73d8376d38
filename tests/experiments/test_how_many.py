"""The page on the number of modules says what its saved rows say."""

import numpy as np

import infoflow as ifl
from experiments.how_many.networks import planted, untrained
from experiments.how_many.page import HEADING, PAGE, page
from experiments.how_many.sureness import matched


def test_the_page_s_tables_are_those_of_the_saved_rows():
    assert PAGE.read_text(encoding="utf-8").split(HEADING)[1] == page()


def test_planted_networks_have_their_tracks_in_every_layer():
    rec, truth = planted(0, 3, 0.0).build()
    assert truth.n_modules == 3
    halves = np.split(truth.labels, 2)
    assert np.array_equal(*halves)
    flow = ifl.unit_flow(rec, donors=10, contexts=10)
    assert not np.asarray(flow)[truth.labels[:, None] != truth.labels].any()


def test_an_untrained_network_is_the_same_from_the_same_seed():
    first, second = untrained(3), untrained(3)
    assert np.array_equal(first["1"], second["1"])
    assert not np.array_equal(first["1"][:5, :3], untrained(5)["1"][:5, :3])


def test_a_unit_is_right_in_the_module_that_is_paired_with_its_track():
    truth = ifl.Partition([0, 0, 0, 1, 1, 1])
    found = ifl.Partition([1, 1, 0, 0, 0, -1])
    assert matched(found, truth).tolist() == [True, True, False, True, True, False]
