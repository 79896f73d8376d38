"""Called under no_grad or inference_mode, or with tensors made there, every stage does the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from tests.nets import mlp, normal

K = 20


def _answers(net, x, y):
    """One answer of every stage, as numbers."""
    rec = ifl.record(net, ["1", "4"], x, y, loss=nn.functional.cross_entropy, basis={"4": "pca"})
    few = {"donors": 5, "contexts": 5}
    return {
        **{f"{n} fast": m for n, m in ifl.similarities(rec).items()},
        **{f"{n} slow": m for n, m in ifl.similarities(rec, fast=False).items()},
        "w_in": ifl.similarity(rec, "w_in", layers="1"),
        "flow": ifl.flow(rec, "1", "4", **few).bits,
        "unit_flow": ifl.unit_flow(rec, **few),
        "exchange": ifl.exchange(rec, [0, 1] * 8, **few).bits,
        "counterfactual": ifl.counterfactual(rec, {"1": [0, 1]}, observe="4").numpy(),
        "check": ifl.check(rec).ok,
        "sites": len(ifl.sites(net, x)),
    }


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("inside", [True, False])
def test_every_stage_gives_the_same_whatever_gradient_mode_it_is_called_in(mode, inside):
    net, x, y = mlp(), normal(K, 6), torch.arange(K) % 3
    plain = _answers(net, x, y)
    with mode():
        if inside:
            found = _answers(net, x, y)
        else:
            x, y = x.clone(), y.clone()  # tensors of inference mode, used outside of it
    if not inside:
        found = _answers(net, x, y)
    for name, value in plain.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_what_was_recorded_in_inference_mode_can_be_differentiated_outside():
    net, x = mlp(), normal(K, 6)
    with torch.inference_mode():
        rec = ifl.record(net, ["1", "4"], x)
    expected = ifl.similarity(ifl.record(net, ["1", "4"], x), "i_sens")
    np.testing.assert_array_equal(ifl.similarity(rec, "i_sens"), expected)
