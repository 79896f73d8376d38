import sys

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from infoflow.clustering import find_modules, greedy_spectral, modularity, modularity_matrix
from infoflow.clustering.methods import monte_carlo
from infoflow.partition import Partition
from tests import oracles_modularity as oracle


def noisy_blocks(n, k, seed=0, noise=0.6):
    rng = np.random.default_rng(seed)
    labels = rng.integers(k, size=n)
    S = (labels[:, None] == labels) * 0.5 + noise * rng.random((n, n))
    return S + S.T


def karate(weight=None):
    return nx.to_numpy_array(nx.karate_club_graph(), weight=weight)


@pytest.mark.parametrize("seed", range(5))
def test_the_spectral_split_is_algorithm_2(seed):
    S = noisy_blocks(24, 4, seed)
    got = greedy_spectral(modularity_matrix(S).values)
    assert Partition(got) == Partition(oracle.greedy_spectral(S))


def test_the_spectral_split_is_the_same_with_lanczos_and_lapack(monkeypatch):
    B = modularity_matrix(noisy_blocks(60, 4)).values
    dense = greedy_spectral(B)
    monkeypatch.setattr(sys.modules["infoflow.clustering.methods"], "_DENSE", 8)
    assert Partition(greedy_spectral(B)) == Partition(dense)


class Draws:
    """Stands in for a Generator, with draws that the oracle gets too."""

    def __init__(self, units, uniforms):
        self.units, self.uniforms = units, uniforms

    def integers(self, n, size):
        return self.units

    def random(self, size):
        return self.uniforms


@pytest.mark.parametrize("start", ["one", "alone", "spectral"])
@pytest.mark.parametrize("seed", range(3))
def test_kept_sums_walk_the_path_of_the_naive_algorithm_3(start, seed):
    n, steps = 14, 300
    S = noisy_blocks(n, 3, seed)
    B = modularity_matrix(S).values
    labels = {"one": np.zeros(n, int), "alone": np.arange(n), "spectral": greedy_spectral(B)}[start]
    rng = np.random.default_rng(seed)
    draws = Draws(rng.integers(n, size=steps), rng.random(steps))
    best, trace = monte_carlo(B, labels, n_steps=steps, rng=draws)  # pyright: ignore
    naive_best, naive_score = oracle.monte_carlo(S, labels, draws.units, draws.uniforms, 0.15)
    np.testing.assert_allclose(trace.score, naive_score, atol=1e-12)
    assert Partition(best) == Partition(naive_best)


@pytest.mark.parametrize("entropy", [0.01, 0.15, 0.6])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e6])
def test_the_temperature_gives_the_entropy_asked_for_at_any_scale(entropy, scale):
    from infoflow.clustering import _kernel_monte_carlo as kernels

    rng = np.random.default_rng(0)
    for count in (2, 5, 200, 4096):
        for gains in (rng.normal(size=count), rng.random(count) ** 8, -np.logspace(-3, 3, count)):
            p = np.empty(count)
            tau, reached = kernels.temper(scale * gains, count, entropy, p)
            assert reached == pytest.approx(entropy, abs=1e-9)
            assert -(p[p > 0] * np.log(p[p > 0])).sum() == pytest.approx(entropy, abs=1e-8)
            np.testing.assert_allclose(p, oracle.tempered(gains, entropy), atol=1e-7)
            assert tau > 0


def test_tied_best_choices_are_drawn_evenly_at_temperature_zero():
    from infoflow.clustering import _kernel_monte_carlo as kernels

    p = np.empty(4)
    assert kernels.temper(np.array([1.0, 0, 1, 0]), 4, 0.15, p) == (0.0, pytest.approx(np.log(2)))
    assert p.tolist() == [0.5, 0, 0.5, 0]
    assert kernels.temper(np.zeros(4), 4, 0.15, p) == (0.0, pytest.approx(np.log(4)))


def test_karate_club_reaches_its_published_optimum():
    modules = find_modules(karate(), method="lange2022")
    assert modules.q == pytest.approx(0.4198, abs=5e-5)
    assert modules.q == pytest.approx(modularity(karate(), modules.partition))


def test_monte_carlo_improves_on_the_spectral_start_as_in_figure_s2():
    for seed in range(4):
        S = noisy_blocks(40, 5, seed, noise=1.5)
        spectral = find_modules(S, method="spectral").q
        assert find_modules(S, method="lange2022").q > spectral


def test_the_trace_has_a_row_a_step_and_never_beats_the_best_seen():
    modules = find_modules(noisy_blocks(20, 3), method="lange2022", n_steps=500)
    assert modules.trace is not None
    frame = modules.trace.to_frame()
    assert list(frame.columns) == ["score", "temperature", "entropy"] and len(frame) == 500
    assert frame.score.max() <= modules.q + 1e-12
    untied = frame.temperature > 0
    assert np.allclose(frame.entropy[untied], 0.15) and untied.mean() > 0.5


def test_same_seed_same_answer_and_global_random_state_is_left_alone():
    S = noisy_blocks(30, 4, noise=2.0)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (find_modules(S, method="monte_carlo", seed=3, n_steps=200) for _ in range(2))
    assert first.partition == second.partition
    assert np.array_equal(first.trace.score, second.trace.score)
    other = find_modules(S, method="monte_carlo", seed=4, n_steps=200)
    assert not np.array_equal(first.trace.score, other.trace.score)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_units_without_similarity_are_unused_and_do_not_change_the_rest():
    S = noisy_blocks(12, 3)
    wide = np.zeros((15, 15))
    kept = np.r_[0:5, 7:14]
    wide[np.ix_(kept, kept)] = S
    wide[5, 5] = 3.0  # its own variance is no similarity to others
    modules, plain = (find_modules(x, method="lange2022") for x in (wide, S))
    assert np.flatnonzero(modules.partition.unused).tolist() == [5, 6, 14]
    assert modules.partition.restrict(kept) == plain.partition
    assert modules.q == pytest.approx(plain.q)


def test_a_data_frame_and_a_float32_matrix_give_the_array_s_modules():
    S = noisy_blocks(16, 3)
    plain = find_modules(S)
    assert find_modules(pd.DataFrame(S)).partition == plain.partition
    assert find_modules(S.astype(np.float32)).partition == plain.partition


def test_a_start_is_kept_where_nothing_is_better_and_no_step_is_made():
    S = noisy_blocks(10, 2)
    labels = np.arange(10) % 3
    modules = find_modules(S, method="lange2022", initial=labels, n_steps=0)
    assert modules.partition == Partition(labels)


def test_disconnected_parts_and_extreme_magnitudes_are_no_trouble():
    S = np.kron(np.eye(4), np.ones((4, 4)))
    for scale in (1.0, 1e300, 1e-300):
        modules = find_modules(scale * S, method="lange2022")
        assert modules.q == pytest.approx(0.75) and modules.partition.n_modules == 4


def test_no_q_exceeds_the_upper_bound():
    for seed in range(5):
        S = noisy_blocks(7, 2, seed)
        assert oracle.q_star(S) <= find_modules(S, method="spectral").upper_bound + 1e-12


def test_unknown_method_and_misfit_start_are_refused():
    S = noisy_blocks(6, 2)
    with pytest.raises(ValueError, match="unknown method 'leiden'"):
        find_modules(S, method="leiden")  # pyright: ignore
    with pytest.raises(ValueError, match="6 units"):
        find_modules(S, initial=[0, 1], method="lange2022")
    with pytest.raises(ValueError, match="n_steps"):
        find_modules(S, method="lange2022", n_steps=-1)
