"""Models that no recording could be right of, refused at the door, or that it must say more of."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from traceback import extract_tb
from typing import Any

import torch
from torch import Tensor, nn

from infoflow._hooks import removed_after
from infoflow._inputs import Given, float_type_of
from infoflow._safety import fast_path
from infoflow._warnings import warn


def refuse_model(model: nn.Module) -> None:
    """Raises:
    ValueError: A layer computes in integers: it has no derivative, and a dynamic one is scaled by
        the largest value of its batch, so that samples act on each other.
    """
    for name, layer in model.named_modules():
        parts = type(layer).__module__.split(".")
        if parts[:3] == ["torch", "ao", "nn"] and "quantized" in parts and "reference" not in parts:
            raise ValueError(
                f"layer {name!r} ({type(layer).__name__}) is quantised: it has no derivatives, and "
                "scales by the largest value of its batch if it is quantised dynamically; record "
                "the model that it was made from"
            )


def refuse_samples_as_steps(model: nn.Module, run: Callable[[slice], Any]) -> None:
    """Raises:
    ValueError: A recurrent or attention layer with `batch_first=False` is given the samples first,
        by passes (`run`) over two and three samples: it takes them for time steps.
    """
    kinds = (nn.RNNBase, nn.MultiheadAttention)
    layers = [(n, m) for n, m in model.named_modules() if isinstance(m, kinds)]
    suspects = {name: layer for name, layer in layers if not layer.batch_first}
    if not suspects:
        return
    for name, longer in _lengths(suspects, run, (2, 3)).items():
        if longer and not any(longer):
            kind = type(suspects[name]).__name__
            raise ValueError(
                f"layer {name!r} (nn.{kind}) has batch_first=False, and its dimension 0 holds the "
                "samples: it takes them for time steps, so that they act on each other; build it "
                "with batch_first=True"
            )


def _lengths(
    layers: Mapping[str, nn.Module], run: Callable[[slice], Any], counts: tuple[int, ...]
) -> dict[str, list[int]]:
    """Per layer and call, how much longer its dimension 0 is than there are samples."""
    seen: dict[str, list[int]] = {name: [] for name in layers}

    def look(name: str, _: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        value = next(iter((*args, *kwargs.values())), None)
        if isinstance(value, Tensor) and value.ndim == 3:
            seen[name].append(len(value) - count)

    with removed_after(
        layer.register_forward_pre_hook(partial(look, name), with_kwargs=True)
        for name, layer in layers.items()
    ):
        for count in counts:
            run(slice(0, count))
    return seen


def say_where_fast_path_differs(
    model: nn.Module, run: Callable[[], Tensor], outputs: Callable[[], Tensor]
) -> None:
    """Warn where `nn.TransformerEncoder` without its fast path gives other `outputs` than with it,
    by a pass (`run`): that makes the results at padded positions 0."""
    if not any(isinstance(m, nn.TransformerEncoder) for m in model.modules()):
        return
    with fast_path(True), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nested tensors are a prototype, says torch
        fast = run().detach().cpu()
    plain = outputs()
    if fast.shape != plain.shape or not torch.allclose(fast, plain, rtol=1e-3, atol=1e-5):
        warn(
            "the model's outputs depend on padded positions, which nn.TransformerEncoder sets to 0 "
            "only in its fast path (in evaluation mode without gradients): recorded is what it "
            "does without; let the model mask them"
        )


@contextmanager
def explained_types(model: nn.Module, given: Given) -> Iterator[None]:
    """Where torch fails in a pass inside, the inputs' shapes are said; or that they have another
    floating-point type than the model, which some take.

    Raises:
        TypeError: It fails, and their type may be why.
        ValueError: It fails on them otherwise.
    """
    try:
        yield
    except RuntimeError as error:
        own = float_type_of(model)
        kinds = {x.dtype for x in given.tensors if x.is_floating_point()} - {own}
        if "torch" not in extract_tb(error.__traceback__)[-1].filename or isinstance(
            error, torch.OutOfMemoryError
        ):
            raise  # of ours, or of the model's own
        if own is None or not kinds:
            shapes = [tuple(x.shape) for x in given.tensors]
            raise ValueError(
                f"inputs: the model fails on them, of shapes {shapes} "
                f"({str(error).splitlines()[0]}): expected what its forward takes"
            ) from error
        odd = ", ".join(sorted(map(str, kinds)))
        raise TypeError(
            f"inputs are {odd}, but the model's parameters {own}, and it fails on them "
            f"({str(error).splitlines()[0]}): convert them, as in inputs.to({own})"
        ) from error
