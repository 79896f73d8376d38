"""A measure asked for again comes from the pass before, and never from one that no longer holds."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import infoflow as ifl
from infoflow.unit_similarity import MEASURES
from infoflow.unit_similarity.sums import KeptMatrices


def _recorded(loss: Callable[..., torch.Tensor] = F.cross_entropy) -> ifl.Recording:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.GELU(), nn.Linear(5, 3))
    return ifl.record(net, ["0", "1"], torch.randn(20, 4), torch.arange(20) % 3, loss=loss)


def _passes(rec: ifl.Recording, ask: Callable[[], object]) -> int:
    count = [0]
    handle = rec.model.register_forward_pre_hook(lambda *_: count.__setitem__(0, count[0] + 1))
    ask()
    handle.remove()
    return count[0]


@pytest.mark.parametrize("base", ["i_sens", "o_sens", "hess"])
def test_a_measure_and_its_normalised_form_come_from_one_pass(base):
    rec = _recorded()
    assert _passes(rec, lambda: ifl.similarity(rec, base)) > 0
    again = []
    assert _passes(rec, lambda: again.append(ifl.similarity(rec, f"{base}_norm"))) == 0
    np.testing.assert_array_equal(again[0], ifl.similarity(_recorded(), f"{base}_norm"))


def test_what_is_handed_out_is_the_callers_own():
    rec = _recorded()
    first = ifl.similarity(rec, "cov")
    expected = first.copy()
    first[:] = -1
    np.testing.assert_array_equal(ifl.similarity(rec, "cov"), expected)


def test_every_option_that_changes_the_answer_is_asked_for_anew():
    rec = _recorded()
    ifl.similarity(rec, "o_sens")
    for other in ({"fast": False}, {"layers": "1"}, {"layers": ["1", "0"]}):
        assert _passes(rec, lambda other=other: ifl.similarity(rec, "o_sens", **other)) > 0
    assert _passes(rec, lambda: ifl.similarities_by_layer(rec, "o_sens")) > 0


def test_a_changed_model_is_refused_though_its_matrix_was_kept():
    rec = _recorded()
    ifl.similarity(rec, "hess")
    with torch.no_grad():
        rec.model[2].weight[0, 0] += 1
    with pytest.raises(RuntimeError, match="record again"):
        ifl.similarity(rec, "hess_norm")


def test_changed_targets_and_a_changed_loss_are_seen():
    weighted = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]), reduction="sum")
    rec = _recorded(weighted)
    before = ifl.similarity(rec, "hess")
    weighted.weight.data[0] = 9.0
    heavier = ifl.similarity(rec, "hess")
    rec.targets.copy_(torch.zeros(20, dtype=torch.long))
    assert not np.allclose(before, heavier)
    assert not np.allclose(heavier, ifl.similarity(rec, "hess"))


def test_a_loss_of_the_users_own_may_refer_to_anything_and_is_asked_each_time():
    factor = [1.0]
    rec = _recorded(lambda y, t: factor[0] * F.cross_entropy(y, t, reduction="sum"))
    before = ifl.similarity(rec, "hess")
    factor[0] = 2.0
    np.testing.assert_allclose(ifl.similarity(rec, "hess"), 2 * before, rtol=1e-5)


def test_the_oldest_matrices_go_when_there_are_too_many_numbers():
    kept = KeptMatrices()
    kept.most = 100
    for name in MEASURES:
        kept.put(name, {"cov": np.zeros((5, 5))})
    assert [name for name in MEASURES if kept.get(name) is not None] == list(MEASURES[-4:])
    kept.put("large", {"cov": np.zeros((11, 11))})
    assert kept.get("large") is None
