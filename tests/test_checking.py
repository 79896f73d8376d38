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
    assert found.ok and len(found.trials) == 3 + 6
    assert found.to_frame()["agrees"].all() and "all agrees" in repr(found)


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
