"""How a model is called, what it returns, and which tensor in it is its output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from torch import Tensor, nn

from infoflow._warnings import warn

OutputLike = str | int | Callable[[Any], Tensor] | None
Loss = Callable[[Any, Tensor], Tensor]
_NAMED = ("logits", "last_hidden_state")


def call_model(model: nn.Module, tensors: Sequence[Any], keywords: Sequence[str | None]) -> Any:
    """`model(*tensors)`, those that have a name by their names."""
    named = {name: x for name, x in zip(keywords, tensors, strict=True) if name}
    return model(*(x for name, x in zip(keywords, tensors, strict=True) if not name), **named)


@dataclass(frozen=True)
class Output:
    """Which tensor of what a model returns is its output.

    Attributes:
        key: Key, attribute or index of it, or a function that makes it; None: what is returned.
        others: Keys of further tensors that are returned, and that nobody asked about.

    Examples:
        >>> import torch
        >>> pair = (torch.zeros(2), torch.ones(2))
        >>> Output(1)(pair).tolist(), Output(lambda both: torch.cat(both))(pair).tolist()
        ([1.0, 1.0], [0.0, 0.0, 1.0, 1.0])
    """

    key: OutputLike = None
    others: tuple[str | int, ...] = ()

    def __call__(self, raw: Any) -> Tensor:
        """The output tensor.

        Raises:
            TypeError: There is no such tensor.
        """
        if self.key is None or callable(self.key):
            found = raw if self.key is None else self.key(raw)
        else:
            found = _get(raw, self.key)
        if not isinstance(found, Tensor):
            raise TypeError(
                f"output={name_of(self.key)} of the model is a {type(found).__name__}, expected a "
                f"tensor; the model returns a {type(raw).__name__} with {_listed(raw)}"
            )
        return found

    def __repr__(self) -> str:
        also = f" (also returned: {', '.join(map(repr, self.others))})" if self.others else ""
        return f"{name_of(self.key)}{also}"

    def raw_loss(self, loss: Loss) -> Loss:
        """A loss of what the model returns as one of its output.

        Raises:
            ValueError: The output is made by a function.
        """
        if self.key is None:
            return loss
        if callable(self.key):
            raise ValueError(
                "loss_of='raw' needs an output that is one of the tensors returned, named by its "
                "key or index: with output=function let the loss take what the function makes"
            )
        return RawLoss(loss, self.key)


@dataclass(frozen=True)
class RawLoss:
    """`loss(raw, targets)` as a function of the one tensor in `raw` that is the output."""

    loss: Loss
    key: str | int

    @property
    def __name__(self) -> str:
        return name_of(self.loss)

    def __call__(self, output: Tensor, targets: Tensor) -> Tensor:
        """The loss of a model that returned this output."""
        return self.loss(_OnlyOutput(self.key, output), targets)


class _OnlyOutput:
    """What a model returned, of which only the output is there: a loss of more is refused."""

    def __init__(self, key: str | int, tensor: Tensor) -> None:
        self._held = key, tensor

    def __getitem__(self, key: Any) -> Tensor:
        own, tensor = self._held
        if key != own:
            raise ValueError(
                f"the loss asks for {key!r} of what the model returns, but only the output, "
                f"{own!r}, carries derivatives: record(output=function) can join several tensors"
            )
        return tensor

    def __getattr__(self, name: str) -> Tensor:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]


def chosen_output(raw: Any, wanted: OutputLike) -> Output:
    """The output of a model that returned `raw`: the tensor that is `wanted`; or the only one, or
    `logits`, or `last_hidden_state`, or the first of a tuple. A choice that was not forced is said.

    Raises:
        TypeError: It is not there, or none can be named.
    """
    tensors = [key for key, value in entries(raw).items() if isinstance(value, Tensor)]
    if wanted is not None or isinstance(raw, Tensor):
        output = Output(wanted)
        output(raw)
        return output
    named = [key for key in _NAMED if isinstance(_get(raw, key), Tensor)]
    if not named and isinstance(raw, (tuple, list)):
        named = tensors[:1] if 0 in tensors else []
    key = next(iter(named or (tensors if len(tensors) == 1 else [])), None)
    if key is None:
        raise TypeError(
            f"the model returned a {type(raw).__name__} in which no single output tensor can be "
            f"named; it holds {_listed(raw)}: say which, as in record(output={_example(tensors)})"
        )
    output = Output(key, tuple(other for other in tensors if other != key))
    if output.others and key != "logits":
        warn(
            f"the model returns several tensors; {key!r} is taken for its output, and "
            f"{list(output.others)} are left out: record(output=...) says which is meant, or "
            "makes one of them all"
        )
    return output


def entries(raw: Any) -> dict[Any, Any]:
    """By key or name, and by index where there is an order, what a model returned."""
    if isinstance(raw, Mapping):
        return dict(raw)
    if is_dataclass(raw):
        return {field.name: getattr(raw, field.name) for field in fields(raw)}
    return dict(enumerate(raw)) if isinstance(raw, (tuple, list)) else {}


def _get(raw: Any, key: str | int) -> Any:
    """What is there under a key, a name or an index; None: nothing. A tensor holds rows."""
    if isinstance(key, str) and not isinstance(raw, Mapping):
        return None if isinstance(raw, Tensor) else getattr(raw, key, None)
    try:
        return None if isinstance(raw, Tensor) else raw[key]
    except (KeyError, IndexError, TypeError):
        return None


def name_of(key: Any) -> str:
    """A key as it is written, a function by its name."""
    return getattr(key, "__name__", type(key).__name__) if callable(key) else repr(key)


def _listed(raw: Any) -> str:
    found = [f"{k!r} ({type(v).__name__})" for k, v in entries(raw).items()]
    return ", ".join(found) or "nothing that can be named"


def _example(tensors: list[Any]) -> str:
    return repr(tensors[0]) if tensors else "lambda raw: ..."
