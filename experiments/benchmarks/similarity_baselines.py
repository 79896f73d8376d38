"""Two plain ways to compute the four base measures of each layer of an `nn.Sequential`, against
which `infoflow.unit_similarity.similarities_by_layer` is timed. Sums over samples, in float32."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Found = dict[tuple[str, str], Tensor]


def one_unit_at_a_time(
    net: nn.Sequential, layers: Sequence[str], x: Tensor, y: Tensor, batch_size: int = 200
) -> Found:
    """One measure after the other, one backward pass per unit (per output for `o_sens`); every
    measure runs the data again, and fills Jacobians `(batch, from, to)` column by column. So goes
    the script of the 2022 paper."""
    found: Found = {}
    for measure in ("cov", "i_sens", "o_sens", "hess"):
        for rows, labels in zip(x.split(batch_size), y.split(batch_size), strict=True):
            rows = rows.clone().requires_grad_()
            hidden, shifts, outputs = run(net, layers, rows)
            loss = F.cross_entropy(outputs, labels, reduction="sum")
            for layer in layers:
                part = _one_batch(measure, rows, hidden[layer], shifts[layer], outputs, loss)
                found[layer, measure] = found.get((layer, measure), torch.zeros(())) + part
    return found


def _one_batch(
    measure: str, rows: Tensor, hidden: Tensor, shift: Tensor, outputs: Tensor, loss: Tensor
) -> Tensor:
    if measure == "cov":
        hidden = hidden.detach()
        return torch.einsum("ki,kj->ij", hidden, hidden)
    if measure == "i_sens":
        jacobian = _jacobian(hidden, rows)
        # the same as "kdi,kdj->ij", which einsum does 8 times slower
        return torch.einsum("...i,...j->ij", jacobian, jacobian)
    if measure == "o_sens":
        jacobian = _jacobian(outputs, shift)
        jacobian = jacobian.transpose(1, 2)
        return torch.einsum("...i,...j->ij", jacobian, jacobian)
    (slope,) = torch.autograd.grad(loss, shift, create_graph=True)
    total = slope.sum(0)
    units = range(len(total))
    return torch.stack(
        [torch.autograd.grad(total[i], shift, retain_graph=True)[0].sum(0) for i in units]
    )


def one_channel_and_position_at_a_time(
    net: nn.Sequential,
    layers: Sequence[str],
    x: Tensor,
    y: Tensor,
    positions: dict[str, Tensor],
    batch_size: int = 200,
) -> Found:
    """The same loop for channels whose positions are looked at one by one, as the script of the
    2022 paper does for convolutions: one backward pass per channel and position (per output for
    `o_sens`), and the mean over the positions."""
    found: Found = {}
    for measure in ("cov", "i_sens", "o_sens", "hess"):
        for rows, labels in zip(x.split(batch_size), y.split(batch_size), strict=True):
            rows = rows.clone().requires_grad_()
            hidden, outputs = run_maps(net, layers, rows)
            loss = F.cross_entropy(outputs, labels, reduction="sum")
            for layer in layers:
                where = positions[layer]
                part = _one_batch_of_maps(measure, rows, hidden[layer], where, outputs, loss)
                total = found.get((layer, measure), torch.zeros(()))
                found[layer, measure] = total + part / len(where)
    return found


def _one_batch_of_maps(
    measure: str, rows: Tensor, hidden: Tensor, where: Tensor, outputs: Tensor, loss: Tensor
) -> Tensor:
    if measure == "cov":
        some = hidden.detach().flatten(2)[:, :, where]
        return torch.einsum("kip,kjp->ij", some, some)
    if measure == "i_sens":
        return sum(
            (
                torch.einsum("...i,...j->ij", jacobian, jacobian)
                for jacobian in (_jacobian(hidden.flatten(2)[:, :, p], rows) for p in where)
            ),
            start=torch.zeros(()),
        )
    if measure == "o_sens":
        channels = hidden.shape[1]
        whole = _jacobian(outputs, hidden).reshape(len(rows), channels, -1, outputs.shape[1])
        some = whole[:, :, where].permute(0, 2, 3, 1)
        return torch.einsum("...i,...j->ij", some, some)
    (slope,) = torch.autograd.grad(loss, hidden, create_graph=True)
    total = slope.sum(0).flatten(1)
    found = torch.zeros(len(total), len(total))
    for p in where:
        for i in range(len(total)):
            (row,) = torch.autograd.grad(total[i, p], hidden, retain_graph=True)
            found[i] += row.flatten(2)[:, :, p].sum(0)
    return found


def _jacobian(outputs: Tensor, leaf: Tensor) -> Tensor:
    jacobian = leaf.new_zeros(len(leaf), leaf[0].numel(), outputs.shape[1])
    for i in range(outputs.shape[1]):
        (row,) = torch.autograd.grad(outputs[:, i].sum(), leaf, retain_graph=True)
        jacobian[:, :, i] = row.flatten(1)
    return jacobian


def with_torch_func(
    net: nn.Sequential, layers: Sequence[str], x: Tensor, y: Tensor, batch_size: int = 200
) -> Found:
    """`vmap` over samples of `jacrev` and `hessian`, as a reader of the manual would write it."""
    found: Found = {}
    for layer in layers:
        size = run(net, [layer], x[:1])[0][layer].shape[1]
        zero = torch.zeros(size, dtype=x.dtype)

        def units(row: Tensor, layer: str = layer) -> Tensor:
            return run(net, [layer], row[None])[0][layer][0]

        def outputs(shift: Tensor, row: Tensor, layer: str = layer) -> Tensor:
            return run(net, [layer], row[None], {layer: shift[None]})[2][0]

        def loss(shift: Tensor, row: Tensor, label: Tensor) -> Tensor:
            return F.cross_entropy(outputs(shift, row)[None], label[None])

        for rows, labels in zip(x.split(batch_size), y.split(batch_size), strict=True):
            h = torch.func.vmap(units)(rows).detach()
            j_x = torch.func.vmap(torch.func.jacrev(units))(rows).detach().flatten(2)
            j_y = torch.func.vmap(torch.func.jacrev(outputs), (None, 0))(zero, rows).detach()
            curve = torch.func.vmap(torch.func.hessian(loss), (None, 0, 0))(zero, rows, labels)
            parts = {
                "cov": h.T @ h,
                "i_sens": torch.einsum("...i,...j->ij", j_x.transpose(1, 2), j_x.transpose(1, 2)),
                "o_sens": torch.einsum("...i,...j->ij", j_y, j_y),
                "hess": curve.detach().sum(0),
            }
            for measure, part in parts.items():
                found[layer, measure] = found.get((layer, measure), torch.zeros(())) + part
    return found


def run(
    net: nn.Sequential,
    layers: Sequence[str],
    x: Tensor,
    shifts: dict[str, Tensor] | None = None,
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """Each layer's units (the mean over positions), what is added to them, and the outputs."""
    hidden, added = {}, dict(shifts or {})
    for name, child in net.named_children():
        x = child(x)
        if name in layers:
            hidden[name] = x.flatten(2).mean(2) if x.ndim > 2 else x
            if name not in added:
                added[name] = torch.zeros_like(hidden[name], requires_grad=True)
            shift = added[name]
            x = x + shift.reshape(*shift.shape, *(1,) * (x.ndim - 2))
    return hidden, added, x


def run_maps(
    net: nn.Sequential, layers: Sequence[str], x: Tensor
) -> tuple[dict[str, Tensor], Tensor]:
    """Each layer's whole map `(batch, channels, height, width)`, and the outputs."""
    hidden = {}
    for name, child in net.named_children():
        x = child(x)
        if name in layers:
            hidden[name] = x
    return hidden, x
