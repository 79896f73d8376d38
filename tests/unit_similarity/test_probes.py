"""Random probes beside the exact measures, which the other tests hold to their naive oracle."""

import warnings
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import infoflow as ifl
from infoflow._safety import evaluating
from infoflow.unit_similarity import similarities_by_layer, similarities_with_errors, sums
from infoflow.unit_similarity.curvature import find_root
from infoflow.unit_similarity.directions import Directions, laid_out, placed
from infoflow.unit_similarity.perturbed import run_perturbed
from infoflow.unit_similarity.request import make_request
from infoflow.unit_similarity.way_out import find_way_out
from tests.nets import normal
from tests.unit_similarity.networks import mlp

BASES = ["i_sens", "o_sens", "hess"]
K = 12


def conv(act=nn.ReLU):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), act(), nn.Conv2d(4, 3, 3), act(), nn.Flatten(), nn.Linear(12, 9)
    ).double()


class Tokens(nn.Module):
    """Words, embedded, through a layer for each token, read out at every token."""

    def __init__(self, words=7, width=5):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(words, width)
        self.mix, self.head = nn.Linear(width, 6), nn.Linear(6, words, bias=False)

    def forward(self, ids=None, embedded=None):
        h = self.table(ids) if embedded is None else embedded
        mixed = self.mix(h)
        return self.head(torch.tanh(mixed) + mixed.cumsum(1) / 4)


def next_word(logits, words):
    return F.cross_entropy(logits.flatten(0, 1), words.flatten())


def recorded(net, layers, x, **how):
    y = net(x).detach()
    labels = torch.arange(len(y)) % y.shape[1]
    return ifl.record(net, layers, x, labels, loss=F.cross_entropy, **how)


def relative(found, truth):
    return np.linalg.norm(found - truth) / np.linalg.norm(truth)


CASES = {
    "ReLU": (lambda: mlp(nn.ReLU), ["0"], (5,), "mean"),
    "curved": (lambda: mlp(nn.Tanh), ["0", "1"], (5,), "mean"),
    "channels": (lambda: conv(nn.GELU), ["0", "2"], (2, 6, 6), "mean"),
    "position by position": (lambda: conv(nn.GELU), ["0"], (2, 6, 6), "each"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_mean_over_probes_is_exact_and_the_error_is_what_it_is_said_to_be(name):
    build, layers, shape, positions = CASES[name]
    rec = recorded(build(), layers, normal(K, *shape).double())
    exact = ifl.similarities(rec, BASES, positions=positions)
    draws = 24
    with patch("infoflow.unit_similarity.shared.np.abs", lambda m: m):
        signed = ifl.similarities(rec, BASES, positions=positions)
        runs = [
            similarities_with_errors(
                rec, BASES, positions=positions, method="probes", probes=2, seed=seed
            )
            for seed in range(draws)
        ]
    for base in BASES:
        single = np.sqrt(np.mean([relative(S[base], signed[base]) ** 2 for S, _ in runs]))
        mean = relative(np.mean([S[base] for S, _ in runs], 0), signed[base])
        # independent draws: the error of a mean of m is that of one by √m
        assert mean < 1.6 * single / np.sqrt(draws), base
        said = np.sqrt(np.median([e[base] ** 2 for _, e in runs]))
        if single < 0.7:  # beyond, it is noise that divides noise
            assert said == pytest.approx(single, rel=0.5), base
        else:
            assert said > 0.5, base
        assert 0.01 < single < 3 and exact[base].shape == signed[base].shape


def test_where_there_are_no_more_directions_than_probes_all_are_taken():
    rec = recorded(mlp(nn.Tanh), ["0", "1"], normal(K, 5).double())
    found, errors = similarities_with_errors(rec, method="probes", probes=20)
    for name, matrix in ifl.similarities(rec).items():
        np.testing.assert_allclose(found[name], matrix, rtol=1e-9, atol=1e-12)
    assert set(errors.values()) == {0.0}


class OneNumber(nn.Module):
    """A number in, a number out, and no dimension for either."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.mix, self.head = nn.Linear(1, 4), nn.Linear(4, 1)

    def forward(self, x):
        return self.head(torch.tanh(self.mix(x[:, None]))).squeeze(1)


def test_one_number_in_and_one_out_have_no_dimension_of_their_own():
    x = normal(K).double()
    rec = ifl.record(OneNumber().double(), "mix", x, x, loss=F.mse_loss)
    found = ifl.similarities(rec, BASES, method="probes", probes=4)
    for name, matrix in ifl.similarities(rec, BASES).items():
        np.testing.assert_allclose(found[name], matrix, rtol=1e-9, atol=1e-12)


def test_layers_by_themselves_are_the_diagonal_blocks():
    rec = recorded(conv(), ["0", "2"], normal(K, 2, 6, 6).double())
    together = ifl.similarities(rec, BASES, method="probes", probes=4)
    alone = similarities_by_layer(rec, BASES, method="probes", probes=4)
    for base in BASES:
        np.testing.assert_allclose(alone["0"][base], together[base][:4, :4], rtol=1e-9)
        np.testing.assert_allclose(alone["2"][base], together[base][4:, 4:], rtol=1e-9)


def test_the_answer_does_not_depend_on_the_batch_size():
    x = normal(K, 2, 6, 6).double()
    whole, parts = (
        ifl.similarities(
            recorded(conv(nn.GELU), ["0"], x, batch_size=size), BASES, method="probes", probes=2
        )
        for size in (K, 5)
    )
    for base in BASES:
        np.testing.assert_allclose(parts[base], whole[base], rtol=1e-9)


def test_of_words_the_input_sensitivity_starts_at_the_embedding():
    net = Tokens().double()
    ids = torch.arange(K * 3).reshape(K, 3) % 7
    rec = ifl.record(net, "mix", ids, ids, loss=next_word)
    embedded = ifl.record(net, "mix", {"embedded": net.table(ids).detach()}, ids, loss=next_word)
    for method, probes in (
        ("exact", 2),
        ("probes", 22),
    ):  # all directions, 7 words × 3 places at most
        found = ifl.similarities(rec, BASES, method=method, probes=probes)
        truth = ifl.similarities(embedded, BASES)
        np.testing.assert_allclose(found["i_sens"], truth["i_sens"], rtol=1e-6)
        np.testing.assert_allclose(found["o_sens"], truth["o_sens"], rtol=1e-6)
        assert relative(found["hess"], truth["hess"]) < 1e-6 or method == "probes"
    with pytest.raises(ValueError, match="method='probes'"):
        ifl.similarity(rec, "i_sens")
    bare = ifl.record(nn.Sequential(Looks(), nn.Linear(4, 2)), "1", torch.arange(K) % 7)
    with pytest.raises(ValueError, match=r"nn\.Embedding"):
        ifl.similarity(bare, "i_sens", method="probes")


class Looks(nn.Module):
    """Takes the rows of an embedding without calling it."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(7, 4)

    def forward(self, ids):
        return self.table.weight[ids]


class Sampled(nn.Module):
    """Bilinear sampling, of which torch has no derivative in forward mode."""

    def forward(self, x):
        grid = torch.linspace(-0.7, 0.8, 32, dtype=x.dtype).reshape(1, 4, 4, 2)
        return F.grid_sample(x, grid.expand(len(x), 4, 4, 2), align_corners=False)


class Doubled(torch.autograd.Function):
    """A function of the user's own, with a derivative in forward mode."""

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        return grad * 2

    @staticmethod
    def jvp(ctx, tangent):
        return tangent * 2


class Wrong(Doubled):
    @staticmethod
    def jvp(ctx, tangent):
        return tangent * 3


class Without(Doubled):
    jvp = torch.autograd.Function.jvp


class Applies(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function.apply(x)


def test_operations_that_lack_one_derivative_are_taken_by_the_other():
    sampled = nn.Sequential(Sampled(), nn.Conv2d(2, 3, 3))  # not in forward mode
    own = nn.Sequential(nn.Linear(4, 3), Applies(Doubled), nn.PReLU(), nn.Linear(3, 3))
    for net, layer, x in ((sampled, "1", normal(K, 2, 6, 6)), (own, "3", normal(K, 4))):
        rec = ifl.record(net, layer, x)
        found = ifl.similarity(rec, "i_sens", method="probes", probes=72)
        np.testing.assert_allclose(found, ifl.similarity(rec, "i_sens"), rtol=1e-4)


@pytest.mark.parametrize(
    ("function", "reason"), [(Wrong, "does not agree with backward"), (Without, "implement")]
)
def test_a_function_without_a_right_derivative_is_refused_with_the_way_out(function, reason):
    rec = ifl.record(nn.Sequential(Applies(function), nn.Linear(4, 3)), ["0", "1"], normal(K, 4))
    with pytest.raises(ValueError, match=f"method='exact'.*{reason}"):
        ifl.similarity(rec, "i_sens", method="probes")
    assert ifl.similarity(rec, "o_sens", method="probes").shape == (7, 7)


LOSSES = {
    "cross-entropy": (F.cross_entropy, (4,), -1, torch.arange(K) % 4),
    "words": (next_word, (3, 4), -1, torch.arange(K * 3).reshape(K, 3) % 4),
    "pixels": (F.cross_entropy, (4, 3), 1, torch.arange(K * 3).reshape(K, 3) % 4),
    "squares": (F.mse_loss, (4,), -1, normal(K, 4)),
    "binary": (F.binary_cross_entropy_with_logits, (4,), -1, (normal(K, 4) > 0).double()),
    "one number": (lambda y, t: (y.sum(1) ** 2 + t.sum(1)).sum(), (4,), -1, normal(K, 4)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_root_of_a_loss_is_one_or_none(name):
    loss, shape, dim, targets = LOSSES[name]
    y = normal(K, *shape).double().requires_grad_()
    targets = targets if targets.dtype == torch.long else targets.double()
    singles = (loss(y[k : k + 1], targets[k : k + 1]).sum() for k in range(K))
    (slope,) = torch.autograd.grad(sum(singles), y, create_graph=True)
    root = find_root(y, slope, dim, 0)
    if name == "one number":
        assert root is None
        return
    features, places = root.shape
    total = torch.zeros(K, features * places, features * places).double()
    for place in range(places):
        for unit in torch.eye(features).double():
            at = torch.full((K,), place)
            c = placed(root.times(unit.expand(K, -1), at), at, laid_out(y, dim), -1).flatten(1)
            total += c[:, :, None] * c[:, None]
    for k in range(2):
        rows = [
            torch.autograd.grad(s, y, retain_graph=True)[0][k]
            for s in laid_out(slope, dim)[k].flatten()
        ]
        truth = laid_out(torch.stack(rows), dim).flatten(1)
        torch.testing.assert_close(total[k], truth)


def test_a_loss_without_a_known_root_is_looked_at_from_the_units():
    net = mlp(nn.ReLU)
    x = normal(K, 5).double()
    rec = ifl.record(net, "0", x, x, loss=lambda y, _t: (y.sum(1) ** 2).sum())
    truth = ifl.similarity(rec, "hess")
    every = ifl.similarity(rec, "hess", method="probes", probes=6)
    np.testing.assert_allclose(every, truth, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("features", "places"), [(3, 2), (5, 1), (1, 4), (1030, 1)])
def test_a_set_of_directions_adds_up_to_the_identity(features, places):
    directions = Directions(features, places, (1,))
    v, place = directions(torch.arange(directions.count))
    for at in range(places):
        own = v[place == at]
        torch.testing.assert_close(
            own.T @ own, directions.count * torch.eye(features).double(), atol=1e-6, rtol=0
        )
    some, where = directions(torch.tensor([2, 1]))
    assert torch.equal(some, v[[2, 1]]) and torch.equal(where, place[[2, 1]])


def test_places_come_in_proportion_to_their_shares_and_go_through_all_directions():
    shares = torch.tensor([0.5, 0.25, 0.125, 0.0625, 0.0625])
    v, place = Directions(2, 5, (0,), shares)(torch.arange(2000))
    counts = torch.bincount(place, minlength=5) / 2000
    torch.testing.assert_close(counts, shares, atol=0.01, rtol=0)
    for at in range(5):  # weighted by their rarity, all places add up to the identity
        total = v[place == at].T @ v[place == at] / 2000
        torch.testing.assert_close(total, torch.eye(2).double(), atol=0.25, rtol=0)


@pytest.mark.parametrize("shares", [None, torch.tensor([0.2, 0.7, 0.1])])
@pytest.mark.parametrize("number", [1, 5])
def test_single_directions_are_unbiased(shares, number):
    drawn = [Directions(4, 3, (seed,), shares)(torch.tensor([number])) for seed in range(1000)]
    flat = torch.zeros(1000, 3, 4).double()
    for row, (v, place) in zip(flat, drawn, strict=True):
        row[place] = v
    flat = flat.flatten(1)
    assert (flat.T @ flat / 1000 - torch.eye(12)).abs().max() < 0.35
    assert flat.mean(0).abs().max() < 0.15


def test_auto_is_exact_unless_that_is_too_much_and_says_so():
    x = normal(K, 2, 6, 6).double()
    rec = recorded(conv(), ["0"], x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exact = ifl.similarities(rec, BASES)
        assert similarities_with_errors(rec, BASES)[1] == dict.fromkeys(BASES, 0.0)
    with (
        patch.object(sums, "FEWEST", 2),
        patch.object(sums, "TOO_MUCH", 10_000),
        pytest.warns(RuntimeWarning, match="8 random probes a sample.*i_sens .*%"),
    ):
        found, errors = similarities_with_errors(recorded(conv(), ["0"], x), BASES)
    assert errors["i_sens"] > 0
    assert relative(found["i_sens"], exact["i_sens"]) < 4 * errors["i_sens"]


def test_a_last_linear_map_that_is_not_what_it_seems_is_left_alone():
    net, ids = Tokens().double(), torch.arange(K * 3).reshape(K, 3) % 7
    rec = ifl.record(net, "mix", ids, ids, loss=next_word)
    request = make_request(rec, ["mix"], frozenset({"o_sens"}), across=True)
    with evaluating(rec.model):
        way = find_way_out(run_perturbed(request, slice(0, K)), None)
        assert (
            way.matrix is not None
            and way.checked(whole=True) is way
            and way.checked(whole=False) is way
        )
        for whole in (True, False):
            with pytest.warns(RuntimeWarning, match="probes start at the outputs"):
                plain = replace(way, matrix=way.matrix * 1.01).checked(whole=whole)
            assert plain.edge is None and find_way_out(way.batch, plain).edge is None


class LaterTurned(Tokens):
    """From the second batch on, gradients of the outputs are doubled on their way."""

    def forward(self, ids=None, embedded=None):
        y = super().forward(ids, embedded)
        if y.requires_grad and not bool((ids == 6).all(1).any()):
            y.register_hook(lambda g: 2 * g)
        return y


def test_the_last_linear_map_is_looked_at_on_every_batch():
    ids = torch.arange(K * 3).reshape(K, 3) % 6
    ids[0] = 6
    rec = ifl.record(LaterTurned().double(), "mix", ids, ids, loss=next_word, batch_size=4)
    with pytest.warns(RuntimeWarning, match="probes start at the outputs"):
        ifl.similarities(rec, ["o_sens"], method="probes")


def test_bad_ways_are_refused():
    rec = recorded(mlp(), ["0"], normal(K, 5).double())
    with pytest.raises(ValueError, match="Known: 'auto', 'exact', 'probes'"):
        ifl.similarity(rec, "o_sens", method="fast")
    for probes in (0, 3):
        with pytest.raises(ValueError, match="probes: expected an"):
            ifl.similarity(rec, "o_sens", method="probes", probes=probes)
