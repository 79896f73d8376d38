import numpy as np
import pytest

from infoflow.clustering import nested_modules
from infoflow.partition import Partition


def two_levels(seed=0):
    rng = np.random.default_rng(seed)
    outer, inner = np.repeat([0, 1], 12), np.repeat([0, 1, 2, 3], 6)
    S = 2.0 * (outer[:, None] == outer) + (inner[:, None] == inner) + 0.5 * rng.random((24, 24))
    return S + S.T, Partition(outer), Partition(inner)


def test_modules_inside_modules_are_found_level_by_level():
    S, outer, inner = two_levels()
    tree = nested_modules(S, n_null=39)
    assert tree.level(0) == Partition(np.zeros(24, int))
    assert tree.level(1) == outer
    assert tree.level(2) == tree.leaves == inner
    assert tree.depth == 2


def test_noise_is_not_divided():
    rng = np.random.default_rng(1)
    S = rng.random((24, 24))
    tree = nested_modules(S + S.T, n_null=39)
    assert not tree.children and tree.p_value > 0.05


def test_depth_size_and_unused_units_are_respected():
    S, outer, _ = two_levels()
    assert nested_modules(S, max_depth=1, n_null=19).leaves == outer
    assert nested_modules(S, min_size=13, n_null=19).leaves == outer
    wide = np.zeros((26, 26))
    wide[:24, :24] = S
    tree = nested_modules(wide, n_null=19)
    assert tree.leaves.unused.tolist() == [False] * 24 + [True] * 2


def test_the_tree_prints_tabulates_and_plots():
    tree = nested_modules(two_levels()[0], n_null=19)
    lines = str(tree).splitlines()
    assert lines[0].startswith("24 units") and lines[1].startswith("├─ 12 units")
    frame = tree.to_frame()
    assert frame["units"].tolist() == [24, 12, 6, 6, 12, 6, 6] and len(lines) == 7
    ax = tree.plot()
    assert len(ax.patches) == 7


def test_too_few_random_matrices_to_reach_alpha_are_refused():
    with pytest.raises(ValueError, match="n_null of at least 19"):
        nested_modules(two_levels()[0], n_null=10)
