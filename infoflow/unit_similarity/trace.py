"""What a model really computed on a batch: the torch functions it called, in order.

Fast paths decide by this list and not by the names of the layers, so a model that calls
`F.relu` in its forward pass, ties weights or changes them on the fly is judged by what it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True, eq=False)
class Call:
    """One torch function that was called with tensors and returned one.

    Attributes:
        function: The function or tensor method.
        args: Its positional arguments.
        kwargs: Its named arguments.
        result: What it returned.
        changed: It wrote to one of its arguments.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Tensor
    changed: bool

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Every tensor among the arguments, also inside lists."""
        return tuple(_tensors_in((*self.args, *self.kwargs.values())))

    def replay(self, old: Tensor, new: Tensor) -> Any:
        """Call again with `new` in the place of the argument `old`."""
        args = [new if value is old else value for value in self.args]
        kwargs = {name: new if value is old else value for name, value in self.kwargs.items()}
        return self.function(*args, **kwargs)


@contextmanager
def tracing() -> Iterator[list[Call]]:
    """Collect the calls made inside.

    Examples:
        >>> import torch
        >>> layer, x = torch.nn.Linear(2, 2), torch.ones(1, 2)
        >>> with tracing() as calls:
        ...     y = layer(x).relu()
        >>> calls[0].function is torch.nn.functional.linear, calls[1].function.__name__
        (True, 'relu')
    """
    calls: list[Call] = []
    with _Tracer(calls):
        yield calls


class _Tracer(TorchFunctionMode):
    def __init__(self, calls: list[Call]) -> None:
        super().__init__()
        self.calls = calls

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        given = list(_tensors_in((*args, *kwargs.values())))
        versions = [tensor._version for tensor in given]
        result = func(*args, **kwargs)
        if given and isinstance(result, Tensor):
            changed = versions != [tensor._version for tensor in given]
            self.calls.append(Call(func, args, kwargs, result, changed))
        return result


def _tensors_in(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _tensors_in(value)
        elif isinstance(value, dict):
            yield from _tensors_in(value.values())
