"""The multilayer perceptron of the 2022 study, and random states that leave the global one be."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import nn

from infoflow._arguments import COUNT, DROPOUT, SIZES, door, whole


@contextmanager
def isolated_rng(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Inside, PyTorch's global generators (CPU, and `device` if CUDA) run from `seed`; after it,
    also after an exception, they are as they were.

    Initialisers and dropout masks can only be drawn from the global generators, so these are
    borrowed. `torch.manual_seed` would reseed every GPU of the process as well; this does not.

    Raises:
        ValueError: A device whose generator cannot be borrowed (neither CPU nor CUDA).

    Examples:
        >>> before = torch.get_rng_state()
        >>> with isolated_rng(0):
        ...     _ = torch.rand(3)
        >>> torch.equal(before, torch.get_rng_state())
        True
    """
    device = torch.device(device)
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"expected a cpu or cuda device, got {str(device)!r}")
    borrowed = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=borrowed):
        torch.default_generator.manual_seed(seed)
        for cuda in borrowed:
            with torch.cuda.device(cuda):
                torch.cuda.manual_seed(seed)
        yield


@door(d=COUNT, hidden=SIZES, n_classes=COUNT, dropout=DROPOUT, seed=whole(0, 2**63 - 1, none=True))
def mlp(
    d: int,
    hidden: Sequence[int] = (64, 64),
    n_classes: int = 10,
    dropout: float = 0.0,
    seed: int | None = None,
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """A multilayer perceptron whose hidden layers `fc1`, `fc2`, ... end in their dropout.

    Lange et al. (2022), section 4.1: Linear(784, 64), ReLU, dropout(p), Linear(64, 64), ReLU,
    dropout(p), Linear(64, 10), analysed after the dropout, so `"fc1"` names what they analysed.

    Args:
        d: Number of input features; inputs are `(batch, d)`.
        hidden: Units of each hidden layer.
        n_classes: Number of outputs (logits).
        dropout: Probability that a hidden unit is dropped in training, in [0, 1).
        seed: Of the initial weights (PyTorch's default initialisation), drawn without touching the
            global generator. None draws them from the global generator.
        activation: Makes the nonlinearity of each hidden layer.

    Raises:
        ValueError: No hidden layer, a size below 1, or a dropout outside [0, 1).

    Examples:
        >>> model = mlp(784, dropout=0.5, seed=0)
        >>> [name for name, _ in model.named_children()]
        ['fc1', 'fc2', 'out']
        >>> model(torch.zeros(3, 784)).shape
        torch.Size([3, 10])
    """
    if seed is None:
        return _build((d, *hidden), n_classes, dropout, activation)
    with isolated_rng(seed):
        return _build((d, *hidden), n_classes, dropout, activation)


def _build(
    sizes: Sequence[int], n_classes: int, dropout: float, activation: Callable[[], nn.Module]
) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index, (fan_in, fan_out) in enumerate(pairwise(sizes), start=1):
        layers[f"fc{index}"] = nn.Sequential(
            OrderedDict(
                linear=nn.Linear(fan_in, fan_out),
                activation=activation(),
                dropout=nn.Dropout(dropout),
            )
        )
    layers["out"] = nn.Linear(sizes[-1], n_classes)
    return nn.Sequential(layers)
