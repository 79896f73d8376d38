"""Directions as units: coordinates are read, and replaced without touching the rest."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import infoflow as ifl
from infoflow.interventions import Zero, resample
from tests.nets import Residual, mlp, normal, seeded

K = 24


def test_the_identity_basis_is_the_neuron_basis_exactly():
    net, x = mlp(), normal(K, 6)
    plain = ifl.record(net, ["1", "3", "6"], x)
    same = ifl.record(net, ["1", "3", "6"], x, basis={"1": torch.eye(8), "3": torch.eye(8)})
    rng = np.random.default_rng(0)
    donors, contexts = rng.integers(K, size=(2, 200))
    for name in plain.units.layers:
        assert torch.equal(plain[name], same[name])
    for replay in (False, True):
        for observe in ("1", "3", "6"):
            a, b = (
                torch.cat([s[observe] for _, s in resample(
                    rec, {"1": [0, 3], "3": [5]}, donors, contexts, [observe], replay=replay)])
                for rec in (plain, same)
            )  # fmt: skip
            if replay:  # the neuron basis has a shorter way through the next layer
                torch.testing.assert_close(a, b)
            else:
                assert torch.equal(a, b)


def test_principal_directions_come_in_order_of_variance_and_do_not_covary():
    rec = ifl.record(mlp(), ["0", "3"], normal(200, 6), basis={"0": "pca"})
    cov = torch.cov(rec["0"].T.double())
    torch.testing.assert_close(cov, torch.diag(cov.diag()), atol=1e-5, rtol=0)
    assert (cov.diag().diff() <= 1e-6).all()
    assert rec.units.site("0").basis is not None
    assert rec.units.site("3").basis is None


def test_a_random_basis_is_a_rotation_and_the_same_each_time():
    a, b = (ifl.record(mlp(), "1", normal(K, 6), basis="random") for _ in range(2))
    plain = ifl.record(mlp(), "1", normal(K, 6))
    assert torch.equal(a["1"], b["1"])
    torch.testing.assert_close(a["1"].norm(dim=1), plain["1"].norm(dim=1))


def test_replacing_all_coordinates_is_replacing_all_units():
    net, x = mlp(), normal(K, 6)
    plain, turned = (ifl.record(net, ["1", "3"], x, basis=b) for b in (None, {"1": "random"}))
    a, b = (ifl.counterfactual(r, {"1": range(8)}, observe="3") for r in (plain, turned))
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_replacing_some_coordinates_leaves_the_others_alone():
    rec = ifl.record(mlp(), ["1", "3"], normal(K, 6), basis={"1": "pca"})
    found = ifl.counterfactual(rec, {"1": [0, 2]}, observe="1")
    donors = np.random.default_rng(0).permutation(K)
    torch.testing.assert_close(found[:, [0, 2]], rec["1"][donors][:, [0, 2]], atol=1e-5, rtol=1e-5)
    others = [1, 3, 4, 5, 6, 7]
    torch.testing.assert_close(found[:, others], rec["1"][:, others], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("replay", [True, False])
def test_few_directions_that_are_not_orthogonal_against_a_dense_reference(replay):
    net, x = mlp(), normal(K, 6)
    directions = normal(3, 8, seed=4)
    rec = ifl.record(net, ["1", "3"], x, basis={"1": directions})
    h = ifl.record(net, "1", x)["1"]
    dual = torch.linalg.pinv(directions)
    torch.testing.assert_close(rec["1"], h @ dual, atol=1e-5, rtol=1e-5)
    assert len(rec.units.indices("1")) == 3
    donors = np.random.default_rng(0).permutation(K)
    moved = h + ((h[donors] - h) @ dual)[:, [1]] @ directions[[1]]
    found = ifl.counterfactual(rec, {"1": [1]}, observe="3", replay=replay)
    torch.testing.assert_close(found, net[3](moved).detach(), atol=1e-5, rtol=1e-5)


def test_channels_have_directions_too_and_functions_make_bases():
    net, x = seeded(Residual), normal(K, 1, 5, 5)
    rec = ifl.record(
        net, ["blocks.0.bn1", "head"], x,
        basis={"blocks.0.bn1": lambda h: torch.linalg.qr(h[:4].T)[0].T},
    )  # fmt: skip
    assert rec["blocks.0.bn1"].shape == (K, 4, 25)
    fast, slow = (
        ifl.counterfactual(rec, {"blocks.0.bn1": [0, 1]}, observe="head", replay=r)
        for r in (True, False)
    )
    torch.testing.assert_close(fast, slow)


def test_do_on_a_site_with_a_basis_acts_on_its_coordinates():
    net, x = mlp().eval(), normal(K, 6)
    rec = ifl.record(net, "1", x, basis="pca")
    site = rec.units.site("1")
    with torch.no_grad(), ifl.do(net, {site: Zero([0])}):
        seen = []
        handle = net[3].register_forward_pre_hook(lambda m, a: seen.append(a[0]))
        net(x)
        handle.remove()
    found = site.read(seen[0])
    torch.testing.assert_close(found[:, 0], torch.zeros(K), atol=1e-5, rtol=0)
    torch.testing.assert_close(found[:, 1:], rec["1"][:, 1:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("basis", "message"),
    [
        ("fourier", "unknown basis 'fourier'"),
        (torch.eye(7), r"expected a basis \(directions, 8\)"),
        (torch.ones(2, 8), "linearly dependent"),
        (torch.full((1, 8), float("nan")), "finite"),
        (torch.ones(9, 8), "no more directions than units"),
        (torch.ones(8), r"expected a basis \(directions, 8\)"),
    ],
)
def test_matrices_that_are_no_basis_are_refused(basis, message):
    with pytest.raises(ValueError, match=message):
        ifl.record(mlp(), "1", normal(K, 6), basis=basis)


def test_a_basis_for_a_layer_that_is_not_recorded_names_near_misses():
    with pytest.raises(KeyError, match="unknown layer of the basis"):
        ifl.record(mlp(), "1", normal(K, 6), basis={"2": "pca"})
