"""Modules of sparse graphs, beside the dense search and planted blocks."""

import numpy as np
import pytest
import scipy.sparse as sp

import infoflow as ifl
from infoflow.clustering import SparseSimilarity


def graph(n=60, seed=0):
    """Six blocks, and a third of all other pairs, more weakly."""
    rng = np.random.default_rng(seed)
    inside = np.kron(np.eye(6), np.ones((n // 6, n // 6))) * rng.random((n, n))
    S = inside + 0.3 * rng.random((n, n)) * (rng.random((n, n)) < 0.3)
    return (S + S.T) / 2


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("resolution", [0.7, 1.0, 1.5])
def test_a_sparse_graph_has_the_modules_of_the_same_matrix(seed, resolution):
    S = graph(seed=seed)
    dense = ifl.find_modules(S, seed=0, resolution=resolution)
    found = ifl.find_modules(sp.csr_array(S), seed=0, resolution=resolution)
    assert found.q >= dense.q - 1e-3 and found.q <= found.upper_bound
    whole = ifl.modularity(S, found.partition, resolution=resolution)
    assert found.q == pytest.approx(whole)
    assert ifl.modularity(sp.csr_array(S), found.partition, resolution=resolution) == pytest.approx(
        whole
    )


def test_q_of_some_units_is_that_of_the_graph_without_the_others():
    S, labels = graph(), np.repeat(np.arange(6), 10)
    labels[[3, 17, 50]] = -1
    assert ifl.modularity(sp.csr_matrix(S), labels) == pytest.approx(ifl.modularity(S, labels))


def planted(n, blocks, pairs, inside, seed=0):
    rng = np.random.default_rng(seed)
    size = n // blocks
    one = rng.integers(n, size=pairs)
    near = one // size * size + rng.integers(size, size=pairs)
    other = np.where(rng.random(pairs) < inside, near, rng.integers(n, size=pairs))
    half = sp.coo_array((rng.random(pairs) + 0.5, (one, other)), (n, n)).tocsr()
    return sp.csr_array(half + half.T), np.arange(n) // size


def test_planted_blocks_of_ten_thousand_units_are_found_exactly():
    S, truth = planted(10_000, 50, 300_000, 0.6)
    found = ifl.find_modules(S, restarts=0, perturbations=0)
    assert found.partition == ifl.Partition(truth)


def test_strengths_beyond_what_is_kept_enter_the_null_model():
    S = graph()
    np.fill_diagonal(S, 0)
    strength = S.sum(1)
    cut = np.where(np.sort(S, axis=1)[:, -6:].min(1).max() <= S, S, 0)
    kept = SparseSimilarity(sp.csr_array(cut), strength)
    labels = ifl.find_modules(kept).partition.labels
    share = strength / strength.sum()
    same = labels[:, None] == labels
    by_hand = (cut / strength.sum() - np.outer(share, share))[same].sum()
    assert ifl.find_modules(kept).q == pytest.approx(by_hand)
    assert ifl.modularity(kept, labels) == pytest.approx(by_hand)


def test_units_without_similarity_are_unused():
    S = graph()
    S[5] = S[:, 5] = 0
    found = ifl.find_modules(sp.csr_array(S))
    assert found.partition.labels[5] == -1 and found.partition.n_modules == 6


def test_bad_graphs_are_refused():
    S = sp.lil_array(graph())
    S[1, 2], S[2, 1] = 1.0, 2.0
    with pytest.raises(ValueError, match=r"symmetric.*\[1, 2\]|symmetric.*\[2, 1\]"):
        ifl.find_modules(S.tocsr())
    S[1, 2] = S[2, 1] = -1.0
    with pytest.raises(ValueError, match="at least 0, got -1"):
        ifl.find_modules(S.tocsr())
    with pytest.raises(ValueError, match="nothing to divide"):
        ifl.find_modules(sp.csr_array((9, 9)))
    with pytest.raises(ValueError, match="square"):
        ifl.find_modules(sp.csr_array((9, 8)))
    with pytest.raises(ValueError, match="toarray"):
        ifl.find_modules(sp.csr_array(graph()), method="lange2022")
    with pytest.raises(ValueError, match="sum of all its similarities"):
        SparseSimilarity(sp.csr_array(graph()), np.ones(60))
    with pytest.raises(ValueError, match="expected strengths"):
        SparseSimilarity(sp.csr_array(graph()), np.ones(6))
