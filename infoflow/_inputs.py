"""What the user hands to `record`: checked at the door, as tensors on the CPU."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from infoflow._arguments import told
from infoflow._outputs import call_model

Inputs = Any
"""A tensor, array or nested list; several in a tuple or a mapping; a loader of those."""
_TARGETS = ("labels", "label", "targets", "target")


@dataclass(frozen=True, eq=False)
class Given:
    """A data set as a model takes it.

    Attributes:
        tensors: The model's arguments, each `(K, ...)`, on the CPU.
        keywords: The name under which each is passed; None: by its place.
        targets: `(K, ...)`, or None.
    """

    tensors: tuple[Tensor, ...]
    keywords: tuple[str | None, ...]
    targets: Tensor | None

    def call(self, model: nn.Module, where: torch.device, rows: slice) -> Any:
        """What the model returns for some rows: copies, since it may work in place on them."""
        args = [x[rows].to(where, copy=True) for x in self.tensors]
        return call_model(model, args, self.keywords)

    def first(self, rows: int) -> tuple[Any, Tensor | None]:
        """Inputs and targets of the first rows, to be given to `record`."""
        named = {n: x[:rows] for n, x in zip(self.keywords, self.tensors, strict=True) if n}
        placed = [x[:rows] for n, x in zip(self.keywords, self.tensors, strict=True) if not n]
        inputs = (*placed, named) if named else tuple(placed)
        return inputs, None if self.targets is None else self.targets[:rows]


def device_of(model: nn.Module, device: torch.device | str | None) -> torch.device:
    """Where to run: as asked, else where the model's parameters are.

    Raises:
        ValueError: The model is on another kind of device than asked for.
    """
    own = next((p.device for p in model.parameters()), None)
    if device is None:
        return own or torch.device("cpu")
    try:
        wanted = torch.device(device)
    except (TypeError, RuntimeError) as error:
        raise ValueError(
            f"device: expected one such as 'cpu' or 'cuda:0', got {told(device)}"
        ) from error
    if own is not None and own.type != wanted.type:
        raise ValueError(
            f"device: the model is on {own}, asked to run on {wanted}: use model.to({device!r})"
        )
    return wanted


def float_type_of(model: nn.Module) -> torch.dtype | None:
    """Of its parameters."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), None)


def collect(model: nn.Module, inputs: Inputs, targets: Any) -> Given:
    """The model's arguments, each `(K, ...)`, and the targets.

    Raises:
        TypeError: Nothing that can be made into tensors, or arguments that the model does not take.
        ValueError: An empty loader, or lists of unequal lengths.
    """
    if isinstance(inputs, Dataset):
        raise TypeError(
            f"expected tensors or batches of them, got the data set {type(inputs).__name__}: put "
            "it into a torch.utils.data.DataLoader"
        )
    own = float_type_of(model)
    take = _Taker(model, own, targets is None)
    if _is_batch(inputs):
        tensors, keywords, found = take.batch(inputs, labelled=False)
    elif isinstance(inputs, Iterable) and not isinstance(inputs, (str, bytes)):
        tensors, keywords, found = take.all_of(inputs)
    else:
        _refuse(inputs)
    if targets is not None:
        found = _tensor(targets, "targets", own, whole=True)
    elif found is not None and not found.is_floating_point():
        found = found.long() if found.dtype in (torch.int32, torch.int16, torch.int8) else found
    _check_arguments(model, keywords)
    return Given(tensors, keywords, found)


def _is_batch(value: Any) -> bool:
    """One set of arguments, not an iterable of several."""
    if isinstance(value, (Tensor, Mapping)) or hasattr(value, "__array__"):
        return True
    if not isinstance(value, (tuple, list)):
        return False
    # a list of tuples or mappings is a list of batches; tensors or numbers are one batch
    inside = [v for v in value if v is not None]
    return isinstance(value, tuple) or not any(isinstance(v, (tuple, Mapping)) for v in inside)


Columns = tuple[tuple[Tensor, ...], tuple[str | None, ...], Tensor | None]


@dataclass(frozen=True)
class _Taker:
    """Takes batches apart for a model.

    Attributes:
        model: The model.
        dtype: Of its floating-point parameters, which arrays and lists of numbers get.
        want_targets: Whether targets are to be looked for.
    """

    model: nn.Module
    dtype: torch.dtype | None
    want_targets: bool

    def batch(self, value: Any, *, labelled: bool) -> Columns:
        """Arguments, their names, and targets of one batch; `labelled`: the last may be these."""
        targets = None
        if isinstance(value, list) and not labelled and not self._are_arguments(value):
            value = self._tensor(value, "inputs")
        parts = list(value) if isinstance(value, (tuple, list)) else [value]
        if labelled and self.want_targets and len(parts) > 1:
            targets = self._tensor(parts.pop(), "targets")
        named = parts.pop() if parts and isinstance(parts[-1], Mapping) else {}
        named = {str(name): x for name, x in named.items() if x is not None}
        name = next((n for n in _TARGETS if n in named and not _needs(self.model, n)), None)
        if self.want_targets and targets is None and name is not None:
            targets = self._tensor(named.pop(name), name)
        while parts and parts[-1] is None:
            parts.pop()
        if not parts and not named:
            _refuse(value)
        if any(x is None for x in parts):
            raise TypeError(
                "an argument that is None stands before others: pass them by name, as in "
                "{'input_ids': ids, 'attention_mask': mask}"
            )
        placed = [self._tensor(x, f"argument {n}") for n, x in enumerate(parts)]
        tensors = (*placed, *(self._tensor(x, name) for name, x in named.items()))
        return tensors, (*([None] * len(placed)), *named), targets

    def all_of(self, batches: Iterable[Any]) -> Columns:
        """The batches of a loader joined."""
        found = [self.batch(value, labelled=True) for value in batches]
        if not found:
            raise ValueError("the DataLoader is empty; expected at least two samples")
        keywords = found[0][1]
        for tensors, names, labels in found:
            parts = tensors if labels is None else (*tensors, labels)
            shapes = [tuple(x.shape) for x in parts]
            if names != keywords or (labels is None) != (found[0][2] is None):
                raise ValueError(f"batches differ in what they hold: {keywords} and {names}")
            if len({shape[:1] for shape in shapes}) > 1 or () in shapes:
                raise ValueError(
                    f"expected batches with the samples along dimension 0, got one of shapes "
                    f"{shapes}: put single samples into a DataLoader"
                )
        columns = zip(*(tensors for tensors, _, _ in found), strict=True)
        labels = [label for _, _, label in found if label is not None]
        joined = tuple(_joined(column) for column in columns)
        return joined, keywords, _joined(labels) if labels else None

    def _are_arguments(self, value: list[Any]) -> bool:
        """A list of tensors or arrays stands for several arguments, if the model takes so many;
        else for samples, as lists of numbers do."""
        inside = [v for v in value if v is not None]
        if not all(isinstance(v, Tensor) or hasattr(v, "__array__") for v in inside):
            return False
        return len(value) < 2 or len(value) <= _most_arguments(self.model)

    def _tensor(self, value: Any, name: str) -> Tensor:
        return _tensor(value, name, self.dtype, whole=name in ("targets", *_TARGETS))


def _tensor(value: Any, name: str, dtype: torch.dtype | None, *, whole: bool) -> Tensor:
    """`value` on the CPU, as an ordinary tensor. Numbers that are no tensor yet are copied, and
    have the model's floating-point type; `whole`: integers become int64, as losses want them."""
    if isinstance(value, Tensor):
        if value.layout is not torch.strided:
            raise TypeError(f"{name}: expected a dense tensor, got {value.layout}: use .to_dense()")
        with torch.inference_mode(False):
            value = value.detach().cpu()
            return value.clone() if value.is_inference() else value
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], Tensor):
        parts = [_tensor(part, name, dtype, whole=whole) for part in value]
        if len({part.shape for part in parts}) > 1:
            _refuse_ragged(name, [tuple(part.shape) for part in parts])
        return torch.stack(parts)
    if np.ma.is_masked(value):
        raise ValueError(f"{name}: masked values; leave those samples out, or fill them")
    try:
        array = np.array(value)
    except ValueError:
        _refuse_ragged(name, [len(v) if hasattr(v, "__len__") else 1 for v in value])
    if array.dtype.kind not in "biufc":
        _refuse(value, name)
    with torch.inference_mode(False):
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if tensor.is_floating_point() and dtype is not None:
            return tensor.to(dtype)
        return tensor.long() if whole and array.dtype.kind in "iu" else tensor


def _joined(parts: Sequence[Tensor]) -> Tensor:
    shapes = sorted({tuple(part.shape[1:]) for part in parts})
    if len(shapes) > 1:
        raise ValueError(
            f"batches differ in shape beyond the batch dimension: {shapes[:4]}; pad all inputs to "
            "one length, with an attention mask"
        )
    return torch.cat(list(parts))


def _refuse(value: Any, name: str = "inputs") -> NoReturn:
    inside = list(value)[:4] if isinstance(value, (list, tuple, Mapping)) else ""
    raise TypeError(
        "expected a tensor, a tuple of tensors or a DataLoader (arrays, lists of numbers and "
        f"mappings of argument names to these will do as well); {name}: got "
        f"{type(value).__name__} {inside}"
    )


def _refuse_ragged(name: str, sizes: list[Any]) -> NoReturn:
    raise ValueError(
        f"{name}: expected samples of one shape, got {sizes[:6]}: pad them to one length, and give "
        "the model an attention mask"
    )


def _parameters(model: nn.Module) -> list[inspect.Parameter] | None:
    """What `model.forward` takes; None if anything, or if that cannot be told."""
    try:
        return list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):  # compiled to another language
        return None


def argument_names(model: nn.Module, keywords: Sequence[str | None]) -> list[str | None]:
    """What `model.forward` calls its arguments, those by their place included."""
    own = [p.name for p in _parameters(model) or () if p.kind is p.POSITIONAL_OR_KEYWORD]
    own += [""] * len(keywords)
    return [name or own[place] or None for place, name in enumerate(keywords)]


def _needs(model: nn.Module, name: str) -> bool:
    own = [p for p in _parameters(model) or () if p.name == name]
    return any(p.default is p.empty and p.kind is not p.VAR_KEYWORD for p in own)


def _most_arguments(model: nn.Module) -> float:
    own = _parameters(model)
    if own is None or any(p.kind is p.VAR_POSITIONAL for p in own):
        return float("inf")
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in own)


def _check_arguments(model: nn.Module, keywords: Sequence[str | None]) -> None:
    own = _parameters(model)
    if own is None or any(p.kind is p.VAR_KEYWORD for p in own):
        return
    known = [p.name for p in own if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    unknown = [name for name in keywords if name and name not in known]
    if unknown:
        raise TypeError(
            f"{type(model).__name__}.forward takes no argument {unknown}: leave them out, or "
            "rename them to one of "
            f"{known}; expected a tensor, a tuple of tensors or a DataLoader, or a mapping of "
            "these names"
        )


def check_data(model: nn.Module, given: Given) -> None:
    """Raises:
    ValueError: Fewer than two samples, lengths that differ, integers to a model that cannot
        embed them.
    """
    tensors, targets = given.tensors, given.targets
    lengths = [len(x) if x.ndim else 0 for x in tensors]
    if min(lengths) < 2:
        raise ValueError(f"expected at least two samples, got inputs of length {lengths}")
    if len(set(lengths)) > 1:
        raise ValueError(
            f"inputs differ in length: {lengths}; repeat what all samples share, as in "
            "x.expand(K, ...)"
        )
    if targets is not None and targets.is_floating_point() and not targets.isfinite().all():
        raise ValueError("targets: expected finite ones, got nan or inf; leave those samples out")
    n_targets = lengths[0] if targets is None else len(targets) if targets.ndim else 0
    if n_targets != lengths[0]:
        raise ValueError(
            f"expected one target per sample: {lengths[0]} inputs, {n_targets} targets"
        )
    embeds = any(isinstance(m, (nn.Embedding, nn.EmbeddingBag)) for m in model.modules())
    learned = any(True for _ in model.parameters())
    if (
        learned
        and not embeds
        and not any((x.is_floating_point() or x.is_complex()) for x in tensors)
    ):
        raise ValueError(
            f"inputs are {tensors[0].dtype}, but the model has no embedding layer to take "
            "integers: convert them with inputs.float()"
        )
