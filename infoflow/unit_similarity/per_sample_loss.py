"""The loss of each sample by itself, whatever reduction the loss function applies to a batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from infoflow.unit_similarity.graph import quiet_batching

Loss = Callable[[Tensor, Tensor], Tensor]


def per_sample_loss(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """L_k = loss(outputs[k:k+1], targets[k:k+1]): each sample as a batch of one.

    By this definition the mean, the sum and the unreduced form of a loss give the same numbers,
    never scaled by the batch size.

    Args:
        loss: `loss(outputs, targets)`: a number for the batch, or one per sample.
        outputs: `(batch, ...)`.
        targets: `(batch, ...)`.

    Returns:
        `(batch,)`, with its graph to `outputs`.

    Raises:
        ValueError: The loss gives several numbers for one sample, or one that is not finite; or
            its value for a batch is neither the mean nor the sum over samples (then no per-sample
            loss is implied by it).

    Examples:
        >>> y = torch.tensor([[1.0], [3.0]], requires_grad=True)
        >>> per_sample_loss(torch.nn.functional.mse_loss, y, torch.zeros(2, 1)).tolist()
        [1.0, 9.0]
    """
    known = _known(loss, outputs, targets)
    if known is not None:
        return known
    first = _check_single(loss(outputs[:1], targets[:1]), len(outputs))
    try:
        with quiet_batching():
            values = torch.func.vmap(lambda y, t: loss(y[None], t[None]).reshape(()))(
                outputs, targets
            )
        agrees = torch.allclose(values[0], first, rtol=1e-4, atol=1e-6, equal_nan=True)
    except RuntimeError:  # a loss that vmap cannot follow (`.item()`, branches): one by one below
        agrees = False
        values = first
    if not agrees:
        rows = range(len(outputs))
        singles = [loss(outputs[k : k + 1], targets[k : k + 1]).reshape(()) for k in rows]
        values = torch.stack(singles)
    _check_batch(loss(outputs, targets).detach(), values.detach())
    return values


def _known(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor | None:
    """The two usual losses, which torch gives for each sample: what a batch of one gives, without
    a pass for the check. None for all others, and for targets that `cross_entropy` ignores."""
    if not outputs.requires_grad or not len(outputs):
        return None
    if loss is F.mse_loss and outputs.shape == targets.shape:
        each = F.mse_loss(outputs, targets, reduction="none")
        return each.reshape(len(outputs), -1).mean(1)
    classes = targets.ndim == 1 and not targets.is_floating_point() and outputs.ndim == 2
    if loss is F.cross_entropy and classes and bool((targets >= 0).all()):
        return F.cross_entropy(outputs, targets, reduction="none")
    return None


def _check_single(value: Tensor, batch: int) -> Tensor:
    if not isinstance(value, Tensor) or value.numel() != 1:
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"expected the loss of one sample to be one number, got {got}; reduce it over "
            f"everything but the batch, so that a batch of {batch} gives () or ({batch},)"
        )
    if not value.requires_grad:
        raise ValueError(
            "the loss does not depend differentiably on the model's outputs (its value carries no "
            "gradient): measures 'hess' need a loss such as torch.nn.functional.cross_entropy"
        )
    return value.reshape(())


def _check_batch(whole: Tensor, singles: Tensor) -> None:
    count = len(singles)
    if whole.ndim > 0 and whole.numel() != 1 and whole.shape != singles.shape:
        raise ValueError(
            f"expected the loss of {count} samples to be one number or ({count},), got "
            f"{tuple(whole.shape)}; reduce it over everything but the batch"
        )
    wide, singles = whole.double(), singles.double()
    # low-precision losses round at 1e-2; a reduction by another rule is off by far more
    close = 0.02 if whole.dtype in (torch.float16, torch.bfloat16) else 1e-3
    if not bool(singles.isfinite().all()):
        bad = (~singles.isfinite()).nonzero().ravel()[:5].tolist()
        raise ValueError(
            f"the loss of single samples is not finite (rows {bad} of the batch); targets that the "
            "loss ignores, as cross_entropy does -100, have no loss: leave such samples out"
        )
    readings = (singles,) if wide.numel() > 1 else (singles.mean(), singles.sum())
    scale = float(singles.abs().mean()) * close + 1e-9
    if not any(torch.allclose(wide.reshape(r.shape), r, rtol=close, atol=scale) for r in readings):
        raise ValueError(
            f"the loss of a batch of {count} is {wide.reshape(-1)[:3].tolist()}, neither the mean "
            f"({float(singles.mean()):.6g}) nor the sum ({float(singles.sum()):.6g}) of its "
            "samples' own losses; pass a loss that sums, or gives one number per sample "
            "(reduction='sum' or 'none'), so that the per-sample loss is well defined"
        )
