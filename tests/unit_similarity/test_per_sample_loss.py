"""The Hessian is of each sample's own loss, however the loss function reduces a batch."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import infoflow as ifl
from infoflow.unit_similarity import similarities, similarity
from infoflow.unit_similarity.per_sample_loss import per_sample_loss


def outputs_and_targets(count=6):
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(count, 3, generator=generator, requires_grad=True)
    return y, torch.randint(3, (count,), generator=generator)


def picky(y, t):  # leaves the graph's beaten path: vmap cannot follow `.item()`
    rows = [F.cross_entropy(y[k : k + 1], t[k : k + 1]) for k in range(len(t)) if t[k].item() >= 0]
    return torch.stack(rows).mean()


@pytest.mark.parametrize("loss", [
    F.cross_entropy,
    lambda y, t: F.cross_entropy(y, t, reduction="sum"),
    lambda y, t: F.cross_entropy(y, t, reduction="none"),
    nn.CrossEntropyLoss(),
    picky,
], ids=["mean", "sum", "none", "module", "no-vmap"])  # fmt: skip
def test_every_reduction_gives_the_same_loss_per_sample(loss):
    y, t = outputs_and_targets()
    expected = -F.log_softmax(y, 1)[torch.arange(len(t)), t]
    assert torch.allclose(per_sample_loss(loss, y, t), expected)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_hessian_is_never_scaled_by_the_batch_size(reduction):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    x, y = torch.randn(12, 4), torch.randint(3, (12,))
    plain = ifl.record(net, ["1"], x, y, loss=F.cross_entropy, batch_size=12)
    rec = ifl.record(net, ["1"], x, y, batch_size=5,
                     loss=lambda a, b: F.cross_entropy(a, b, reduction=reduction))  # fmt: skip
    assert similarity(rec, "hess") == pytest.approx(similarity(plain, "hess"), rel=1e-5, abs=1e-8)


def test_a_loss_that_weighs_samples_by_their_batch_is_refused():
    y, t = outputs_and_targets()
    weighted = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 20.0]))
    with pytest.raises(ValueError, match=r"neither the mean .* nor the sum"):
        per_sample_loss(weighted, y, t)


@pytest.mark.parametrize("loss", [
    lambda y, t: F.mse_loss(y, F.one_hot(t, 3).float(), reduction="none"),
    lambda y, t: torch.stack([y.sum(), y.mean()]),
], ids=["per output", "constant length"])  # fmt: skip
def test_a_vector_of_the_wrong_length_is_refused(loss):
    y, t = outputs_and_targets()
    with pytest.raises(ValueError, match="expected the loss of one sample to be one number"):
        per_sample_loss(loss, y, t)


def test_a_loss_without_a_gradient_is_refused():
    y, t = outputs_and_targets()
    with pytest.raises(ValueError, match="does not depend differentiably"):
        per_sample_loss(lambda y, t: (y.argmax(1) != t).float().mean(), y, t)


def test_missing_targets_or_loss_are_named():
    net = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3))
    x, y = torch.randn(12, 4), torch.randint(3, (12,))
    with pytest.raises(ValueError, match="need the recording's targets"):
        similarity(ifl.record(net, ["0"], x, loss=F.cross_entropy), "hess")
    with pytest.raises(ValueError, match="need the recording's loss"):
        similarity(ifl.record(net, ["0"], x, y), "hess_norm")


def test_without_loss_and_targets_the_default_is_the_six_other_measures():
    net = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3))
    rec = ifl.record(net, ["0"], torch.randn(12, 4))
    assert list(similarities(rec)) == [
        "cov", "cov_norm", "i_sens", "i_sens_norm", "o_sens", "o_sens_norm"
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["cross_entropy", "mse_loss"])
def test_losses_that_torch_gives_sample_by_sample_are_those_of_batches_of_one(name):
    torch.manual_seed(0)
    y = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    t = torch.randint(3, (5,)) if name == "cross_entropy" else torch.randn(5, 3).double()
    known = getattr(F, name)

    def unknown(outputs, targets):
        return known(outputs, targets)

    for make in (known, unknown):
        values = per_sample_loss(make, y, t)
        (slope,) = torch.autograd.grad(values.sum(), y, create_graph=True)
        (turned,) = torch.autograd.grad((slope**2).sum(), y)
        if make is known:
            expected = values, slope, turned
    for found, wanted in zip((values, slope, turned), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_samples_that_cross_entropy_ignores_have_no_loss_of_their_own():
    y = torch.randn(4, 3, requires_grad=True)
    with pytest.raises(ValueError, match=r"not finite \(rows \[2\]"):
        per_sample_loss(F.cross_entropy, y, torch.tensor([0, 1, -100, 2]))
