"""What the user hands to `record`: checked at the door, as tensors on the CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

Inputs = Tensor | Sequence[Tensor] | DataLoader


def device_of(model: nn.Module, device: torch.device | str | None) -> torch.device:
    """Where to run: as asked, else where the model's parameters are.

    Raises:
        ValueError: The model is on another kind of device than asked for.
    """
    own = next((p.device for p in model.parameters()), None)
    if device is None:
        return own or torch.device("cpu")
    wanted = torch.device(device)
    if own is not None and own.type != wanted.type:
        raise ValueError(
            f"the model is on {own}, asked to run on {wanted}: use model.to({device!r})"
        )
    return wanted


def collect(inputs: Inputs, targets: Tensor | None) -> tuple[tuple[Tensor, ...], Tensor | None]:
    """The model's arguments, each `(K, ...)`, and the targets.

    Raises:
        TypeError: Not a tensor, tuple of tensors or loader.
        ValueError: An empty loader.
    """
    if not isinstance(inputs, DataLoader):
        tensors = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
        if not tensors or not all(isinstance(x, Tensor) for x in tensors):
            kinds = [type(x).__name__ for x in tensors]
            raise TypeError(f"expected a tensor, a tuple of tensors or a DataLoader, got {kinds}")
        cpu = tuple(x.detach().cpu() for x in tensors)
        return cpu, None if targets is None else targets.detach().cpu()
    columns: list[tuple[Tensor, ...]] = []
    labels: list[Tensor] = []
    for batch in inputs:
        parts = (batch,) if isinstance(batch, Tensor) else tuple(batch)
        if len(parts) > 1 and targets is None:
            labels.append(parts[-1].detach().cpu())
            parts = parts[:-1]
        columns.append(tuple(x.detach().cpu() for x in parts))
    if not columns:
        raise ValueError("the DataLoader is empty; expected at least two samples")
    tensors = tuple(torch.cat(parts) for parts in zip(*columns, strict=True))
    return tensors, torch.cat(labels) if labels else targets


def check_data(model: nn.Module, tensors: tuple[Tensor, ...], targets: Tensor | None) -> None:
    """Raises:
    ValueError: Fewer than two samples, lengths that differ, integers to a model that cannot
        embed them.
    """
    lengths = [len(x) if x.ndim else 0 for x in tensors]
    if min(lengths) < 2:
        raise ValueError(f"expected at least two samples, got inputs of length {lengths}")
    if len(set(lengths)) > 1:
        raise ValueError(f"inputs differ in length: {lengths}")
    n_targets = lengths[0] if targets is None else len(targets) if targets.ndim else 0
    if n_targets != lengths[0]:
        raise ValueError(
            f"expected one target per sample: {lengths[0]} inputs, {n_targets} targets"
        )
    embeds = any(isinstance(m, (nn.Embedding, nn.EmbeddingBag)) for m in model.modules())
    learned = any(True for _ in model.parameters())
    if learned and not embeds and not any(x.is_floating_point() for x in tensors):
        raise ValueError(
            f"inputs are {tensors[0].dtype}, but the model has no embedding layer to take "
            "integers: convert them with inputs.float()"
        )


def check_batch_size(batch_size: int) -> None:
    """Raises:
    ValueError: Not a positive integer.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"expected batch_size to be a positive integer, got {batch_size!r}")
