"""`check` agrees where a model is as it should be and says so where it is not."""

import pytest
import torch
from torch import nn

import infoflow as ifl


def _residual() -> nn.Module:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = torch.relu(self.a(x))
            return self.c(h + torch.tanh(self.b(h)))

    torch.manual_seed(0)
    return Residual()


def test_an_ordinary_network_passes_every_trial():
    rec = ifl.record(_residual(), ["a", "b", "c"], torch.randn(40, 4))
    found = ifl.check(rec)
    assert found.ok
    both = [t for t in found.trials if not t.what.startswith("similarity")]
    assert len([t for t in both if t.layer != "its outputs"]) == 3 + 6 and len(both) == 10
    assert found.to_frame()["agrees"].all() and "all agrees" in repr(found)


def _ways(rec: ifl.Recording) -> dict[tuple[str, str], ifl.checking.Trial]:
    return {(t.what, t.layer): t for t in ifl.check(rec).trials}


def test_each_similarity_is_tried_beside_the_exact_way_and_says_which_way_it_takes():
    torch.manual_seed(0)
    x, y = torch.randn(40, 6), torch.arange(40) % 3
    net = nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 4), nn.Softmax(1), nn.Linear(4, 3))
    trials = _ways(ifl.record(net, ["1", "3"], x, y, loss=nn.functional.cross_entropy))
    for found in (trials["similarity i_sens", "1"], trials["similarity hess", "3"]):
        assert found.n_rows in (5, 4) and found.per == "units" and found.agrees
    assert trials["similarity i_sens", "1"].way == "closed form"
    assert "piecewise linear" in trials["similarity hess", "3"].way
    curved = trials["similarity hess", "1"]
    assert curved.way.startswith("exact: Softmax") and curved.n_rows == 0


def test_a_measure_that_is_not_defined_says_why():
    trials = _ways(ifl.record(_residual(), ["a"], torch.randn(40, 4)))
    assert "need the recording's loss" in trials["similarity hess", "all"].way


def test_a_short_cut_that_does_not_hold_is_told(monkeypatch):
    """As if the graph had been misread: every curved output taken for piecewise linear."""
    monkeypatch.setattr("infoflow.unit_similarity.structure.is_piecewise_linear", lambda *_: True)
    monkeypatch.setattr("infoflow.unit_similarity.sums.failure", lambda *_: None)
    x, y = torch.randn(40, 4), torch.arange(40) % 3
    rec = ifl.record(_residual(), ["a"], x, y, loss=nn.functional.cross_entropy)
    found = ifl.check(rec)
    (wrong,) = [t for t in found.trials if not t.agrees]
    assert (wrong.what, wrong.layer) == ("similarity hess", "a")
    assert "DOES NOT GIVE the exact way's" in repr(found)


def test_full_passes_say_why():
    class Random(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x + 0.1 * torch.randn_like(x))

    torch.manual_seed(0)
    rec = ifl.record(
        Random(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3)), ["0", "2"], torch.randn(40, 4)
    )
    trials = _ways(rec)
    assert not trials["bare model", "0"].agrees
    assert "DOES NOT GIVE the activations that were recorded" in trials["bare model", "2"].verdict
    assert (
        "DOES NOT GIVE the outputs that were recorded"
        in trials["bare model", "its outputs"].verdict
    )
    assert trials["replay of 0", "2"].way.startswith("full passes: ")


class CentresTheBatch(nn.Module):
    """Every sample's values depend on the batch it came in."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(4, 5), nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.fc(x)
        return self.out(h - h.mean(0, keepdim=True))


def test_a_model_that_mixes_the_samples_of_a_batch_is_found_out():
    torch.manual_seed(0)
    rec = ifl.record(CentresTheBatch(), ["fc", "out"], torch.randn(40, 4))
    trials = {(t.what, t.layer): t for t in ifl.check(rec).trials}
    assert trials["bare model", "fc"].agrees
    assert trials["bare model", "out"].rows > 30


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_rounding_in_half_precision_is_no_difference_and_mixed_samples_still_are(kind):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    x, y = torch.randn(60, 4, dtype=kind), torch.randint(0, 3, (60,))
    rec = ifl.record(net.to(kind), ["0", "2", "4"], x, y, loss=nn.functional.cross_entropy)
    assert ifl.check(rec).ok
    mixes = ifl.record(CentresTheBatch().to(kind), ["fc", "out"], x[:40])
    assert not ifl.check(mixes).ok


def test_a_large_constant_output_hides_nothing():
    """Each unit is judged on its own range: an error of one in a thousand beside 1e4 is seen."""
    net = CentresTheBatch()
    with torch.no_grad():
        net.out.bias[0] = 1e4
    rec = ifl.record(net, ["fc", "out"], torch.randn(40, 4))
    assert not ifl.check(rec).ok


def test_bad_rows_are_refused():
    rec = ifl.record(_residual(), ["a"], torch.randn(10, 4))
    with pytest.raises(ValueError, match="rows"):
        ifl.check(rec, rows=0)
