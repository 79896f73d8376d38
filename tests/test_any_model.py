"""The models people have: every step beside raw hooks and gradients, or a clear refusal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import infoflow as ifl
from infoflow._outputs import call_model
from infoflow._safety import fast_path
from infoflow.interventions import resample
from tests.any_models import CASES, Case, Encoder, K, mse, padded_tokens

FEW = 4


def recorded(case: Case, rows: int = K, **options: Any) -> ifl.Recording:
    inputs = case.inputs()
    if isinstance(inputs, dict):
        inputs = {name: x[:rows] for name, x in inputs.items()}
    else:
        inputs = tuple(x[:rows] for x in inputs)
    given = case.model(), case.layers, inputs, torch.zeros(rows)
    # the references here take every position for data; test_padding.py has those that do not
    return ifl.record(*given, loss=mse, output=case.output, mask=False, **options)


@contextmanager
def watching(rec: ifl.Recording, name: str, edit: Any) -> Iterator[list[Tensor]]:
    """A raw hook at a site: what it sees there, `(batch, units, ...)`, replaced by `edit(it)`."""
    site, seen = rec.units.site(name), []
    layer = dict(rec.model.named_modules())
    layer = {path.replace("_orig_mod.", ""): m for path, m in layer.items()}[site.path]
    calls = [0]

    def at(tensor: Tensor) -> Tensor:
        assert site.unit_dim is not None
        size, moved = tensor.shape[site.unit_dim], tensor.movedim(site.unit_dim, 1)
        if site.heads:
            moved = moved.reshape(len(tensor), site.heads, size // site.heads, *moved.shape[2:])
        seen.append(moved.clone())
        new = edit(moved)
        return new.reshape(len(tensor), size, *new.shape[3 if site.heads else 2 :]).movedim(
            1, site.unit_dim
        )

    def on_output(_m: nn.Module, _a: Any, out: Any) -> Any:
        calls[0] += 1
        if site.call is not None and site.call != calls[0] - 1:
            return None
        if site.output is None:
            return at(out)
        return (*out[: site.output], at(out[site.output]), *out[site.output + 1 :])

    def on_input(_m: nn.Module, args: Any) -> Any:
        return (at(args[0]), *args[1:])

    hook = (
        layer.register_forward_pre_hook(on_input)
        if site.io == "input"
        else layer.register_forward_hook(on_output)
    )
    try:
        yield seen
    finally:
        hook.remove()


@contextmanager
def as_written(rec: ifl.Recording) -> Iterator[nn.Module]:
    """The model, not compiled and without torch's fast path of a transformer's encoder."""
    plain = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
    with fast_path(False), plain:
        yield getattr(rec.model, "_orig_mod", rec.model)


def unchanged(h: Tensor) -> Tensor:
    return h


def by_hand(rec: ifl.Recording, name: str) -> dict[str, np.ndarray]:
    """`i_sens`, `o_sens` and `hess` of a layer: one sample at a time, one gradient at a time."""
    n = len(rec.units.indices(name))
    total = {m: np.zeros((n, n)) for m in ("i_sens", "o_sens", "hess")}
    for k in range(len(rec)):
        args = [x[k : k + 1].clone() for x in rec.inputs]
        leaves = [x.requires_grad_() for x in args if x.is_floating_point()]
        delta = torch.zeros(n, dtype=rec[name].dtype, requires_grad=True)
        add = lambda h, d=delta: h + d.reshape(1, n, *(1,) * (h.ndim - 2))  # noqa: E731
        with watching(rec, name, add) as seen, torch.enable_grad(), as_written(rec) as model:
            y = rec.output(call_model(model, [x.clone() for x in args], rec.keywords))
        h = seen[0].flatten(2).mean((0, 2)) if seen[0].ndim > 2 else seen[0][0]
        for measure, ends, starts in (("i_sens", h, leaves), ("o_sens", y.flatten(), [delta])):
            if starts and ends.requires_grad:
                rows = torch.stack([torch.cat(gradient(e, starts)) for e in ends])
                product = rows @ rows.T if measure == "i_sens" else rows.T @ rows
                total[measure] += product.detach().double().numpy()
        if y.requires_grad:
            (slope,) = gradient(mse(y, y), [delta], create_graph=True)
            rows = [gradient(s, [delta])[0] for s in slope] if slope.requires_grad else []
            total["hess"] += torch.stack(rows).double().numpy() if rows else 0
    return {name: abs(matrix) / len(rec) for name, matrix in total.items()}


def gradient(end: Tensor, starts: list[Tensor], create_graph: bool = False) -> list[Tensor]:
    found = torch.autograd.grad(
        end, starts, retain_graph=True, create_graph=create_graph,
        allow_unused=True, materialize_grads=True,
    )  # fmt: skip
    return [g.flatten() for g in found]


RECORDED = [name for name, case in CASES.items() if "record" not in dict(case.refused)]


@pytest.mark.parametrize("name", sorted(CASES.keys() - RECORDED))
def test_what_cannot_be_recorded_is_refused_and_says_what_to_do(name):
    with pytest.raises(ValueError, match=dict(CASES[name].refused)["record"]):
        recorded(CASES[name])


@pytest.mark.parametrize("name", RECORDED)
def test_measures_are_gradients_sample_by_sample(name):
    case = CASES[name]
    rec = recorded(case, FEW)
    for measure in ("cov", "i_sens", "o_sens", "hess"):
        refusal = dict(case.refused).get(measure)
        if refusal:
            with pytest.raises(ValueError, match=refusal):
                ifl.similarity(rec, measure)
    allowed = [m for m in ("i_sens", "o_sens", "hess") if m not in dict(case.refused)]
    ours = ifl.similarities_by_layer(rec, ["cov", *allowed])
    again = ifl.similarities_by_layer(recorded(case, FEW, batch_size=3), ["cov", *allowed])
    for layer in rec.units.layers:
        truth = by_hand(rec, layer)
        for measure, whole in ours[layer].items():  # whatever the size of a batch
            slack = case.close * max(whole.max(), 1e-9)
            np.testing.assert_allclose(
                again[layer][measure], whole, rtol=case.close, atol=slack, err_msg=measure
            )
        for measure in allowed:
            np.testing.assert_allclose(
                ours[layer][measure], truth[measure], rtol=case.close,
                atol=case.close * max(truth[measure].max(), 1e-9), err_msg=f"{layer} {measure}",
            )  # fmt: skip
        units = np.cov(rec.matrix(layer), rowvar=False)
        np.testing.assert_allclose(ours[layer]["cov"], abs(units), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", RECORDED)
def test_forced_units_give_what_raw_hooks_give(name):
    case = CASES[name]
    rec = recorded(case)
    source, observe = rec.units.layers[0], rec.units.layers[-1]
    donors = np.random.default_rng(0).permutation(K)
    with torch.no_grad(), as_written(rec) as model:
        with watching(rec, source, unchanged) as normal:
            call_model(model, rec.inputs, rec.keywords)

        def swap(h: Tensor) -> Tensor:
            h = h.clone()
            h[:, [0, 2]] = normal[0][donors][:, [0, 2]]
            return h

        with watching(rec, source, swap), watching(rec, observe, unchanged) as seen:
            call_model(model, rec.inputs, rec.keywords)
    right = seen[0] if seen[0].ndim == 2 else seen[0].flatten(2)
    runs = resample(rec, {source: [0, 2]}, donors, np.arange(K), [observe])
    found = torch.cat([part[observe] for _, part in runs])
    torch.testing.assert_close(found, right, rtol=case.close, atol=case.close / 10)
    assert (right - rec[observe]).abs().max() > 0


@pytest.mark.parametrize("name", RECORDED)
def test_bits_exchange_and_search(name):
    case = CASES[name]
    rec = recorded(case)
    n, few = len(rec.units), {"donors": 6, "contexts": 6}
    source, target = rec.units.layers[0], rec.units.layers[-1]
    f = ifl.flow(rec, {source: [0, 1]}, {target: [0, 1]}, bins=3, **few)
    assert f.bits_given_context >= 0 and np.isfinite(f.bits)
    F = ifl.unit_flow(rec, given_context=True, **few)
    assert F.shape == (n, n) and np.isfinite(F).all() and F.max() > 0
    ex = ifl.exchange(rec, np.arange(n) % 2, **few)
    assert np.isfinite(ex.bits) and ex.bits_given_context >= 0
    # rounding differs with the size of a batch; no bit may follow it
    other = recorded(case, batch_size=3)
    g = ifl.flow(other, {source: [0, 1]}, {target: [0, 1]}, bins=3, **few)
    assert (f.bits, f.bits_given_context) == (g.bits, g.bits_given_context)
    np.testing.assert_array_equal(ifl.unit_flow(other, given_context=True, **few), F)
    again = ifl.exchange(other, np.arange(n) % 2, **few)
    assert (again.bits, again.bits_given_context) == (ex.bits, ex.bits_given_context)
    best = ifl.search(rec, budget=3, samples=2, **few)
    assert best.partition.n_modules == 2


def test_an_encoder_with_padding_is_intervened_on_by_hand():
    case = CASES["TransformerEncoder, padded"]
    net, (x, padded) = case.model(), case.inputs()
    with torch.no_grad(), ifl.do(net, {"encoder.layers.0": ([0, 1], 0.0)}):
        ours = net(x, padded)
    hook = net.encoder.layers[0].register_forward_hook(
        lambda m, a, out: torch.cat([0 * out[..., :2], out[..., 2:]], -1)
    )
    torch.testing.assert_close(ours, net(x, padded).detach())  # with gradients: no fast path
    hook.remove()
    assert torch.backends.mha.get_fastpath_enabled()


class OverAll(Encoder):
    """Takes the mean over padded positions, too."""

    def forward(self, x: Tensor, padded: Tensor | None = None) -> Tensor:
        return self.head(self.encoder(self.embed(x), src_key_padding_mask=padded).mean(1))


def test_an_output_that_depends_on_padding_is_said():
    x, padded = padded_tokens()
    with pytest.warns(RuntimeWarning, match="depend on padded positions"):
        ifl.record(OverAll(), "embed", (x, padded))
    ifl.record(OverAll(), "embed", (x, torch.zeros_like(padded)))
    ifl.record(OverAll(), "embed", x)
