"""What a model is made of, object by object and byte by byte, to tell whether it was changed."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import is_
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

self_writing: WeakSet[nn.Module] = WeakSet()  # seen to change their own parameters in a pass


class Attributes:
    """What every layer of a model holds, object by object: mode, plain attributes, and which
    parameters, buffers and layers are registered. A list that the model appends to is the same."""

    def __init__(self, model: nn.Module) -> None:
        self.modules = every_layer(model)
        self._own = [m for m in self.modules if not isinstance(m, torch.jit.ScriptModule)]
        self.whole = len(self._own) == len(self.modules)  # those have theirs in C++
        self.parameters = _tensors(self.modules, "_parameters")
        self.buffers = _tensors(self.modules, "_buffers")
        self._modes = [(m, m.training) for m in self.modules]
        self._dicts = [held for m in self._own for held in _held_by(m)]
        self._copies = [dict(held) for held in self._dicts]
        self._lengths = [*map(len, self._dicts)]
        self._names = [*chain.from_iterable(self._dicts)]
        self._values = [*chain.from_iterable(map(dict.values, self._dicts))]

    @property
    def same(self) -> bool:
        """The layers hold the same objects under the same names, in order."""
        return (
            all(map(is_, map(vars, self._own), self._dicts[::_HELD]))
            and [*map(len, self._dicts)] == self._lengths
            and [*chain.from_iterable(self._dicts)] == self._names
            and all(map(is_, chain.from_iterable(map(dict.values, self._dicts)), self._values))
        )

    def restore(self) -> None:
        """Put back what changed."""
        for module, mode in self._modes:
            if module.training != mode:
                set_mode(module, mode)
        if not self.same:
            for number, module in enumerate(self._own):
                for place in range(_HELD):  # anew each time: the first of them holds the others
                    kept = self._copies[number * _HELD + place]
                    _restore(_held_by(module)[place], kept)


_HELD = 4


def set_mode(module: nn.Module, training: bool) -> None:
    """`module.training = training`, quickly."""
    # past Module.__setattr__, which looks for parameters; a scripted layer has its own way
    put = setattr if isinstance(module, torch.jit.ScriptModule) else object.__setattr__
    put(module, "training", training)


def _held_by(module: nn.Module) -> tuple[dict[str, Any], ...]:
    own = vars(module)
    return own, own["_parameters"], own["_buffers"], own["_modules"]


def every_layer(model: nn.Module) -> list[nn.Module]:
    """The model and all submodules, each once: `modules()` in another order, five times as fast,
    since it is needed before every run."""
    found = [model]
    known = {id(model)}
    for layer in found:  # grows meanwhile
        for child in layer._modules.values():
            if child is not None and id(child) not in known:
                known.add(id(child))
                found.append(child)
    return found


def _tensors(layers: Iterable[nn.Module], kind: str) -> list[Tensor]:
    """The layers' "_parameters" or "_buffers", each once."""
    every = (t for layer in layers for t in getattr(layer, kind).values() if t is not None)
    return list({id(tensor): tensor for tensor in every}.values())


def _restore(now: dict[str, Any], before: dict[str, Any]) -> None:
    for name in [name for name in now if name not in before]:
        del now[name]
    for name, value in before.items():
        if name not in now or now[name] is not value:
            now[name] = value


def fingerprint(model: nn.Module, data: Sequence[Tensor]) -> dict[tuple[Any, ...], Any]:
    """What tells a model or data that were changed: layers and their plain attributes, edit counts
    of parameters and data, and the content of parameters and buffers, of every n-th entry where
    they have more than 2^16: writes through `.data` are not counted.
    """
    layers = [m for m in model.modules() if not isinstance(m, torch.jit.ScriptModule)]
    counted = [*data] if model in self_writing else [*data, *model.parameters()]
    found: dict[tuple[Any, ...], Any] = {("layers",): [id(m) for m in layers]}
    for number, layer in enumerate(layers):
        for name, value in vars(layer).items():
            if name != "training" and type(value) in (bool, int, float, str):
                found["attribute", number, name] = value
    found |= {("edits", n): (id(t), edits_of(t)) for n, t in enumerate(counted)}
    found |= {("parameter", n): _checksum(t) for n, t in enumerate(model.parameters())}
    found |= {("buffer", n): _checksum(t) for n, t in enumerate(model.buffers())}
    return found


def state(model: nn.Module) -> dict[tuple[Any, ...], Any]:
    """The plain attributes and buffers in its fingerprint: what a pass may change by itself."""
    return {k: v for k, v in fingerprint(model, ()).items() if k[0] in ("attribute", "buffer")}


class Unchanged:
    """Model and data as they are now: tells in microseconds whether they still are.

    It looks at all that `fingerprint` looks at, and more: every attribute, by identity. So a no
    says little (a call may have been counted), and a yes that the fingerprint is the same.
    """

    def __init__(self, model: nn.Module, data: Sequence[Tensor]) -> None:
        self.attributes = Attributes(model)
        weights = [*self.attributes.parameters, *self.attributes.buffers]
        self._edits = [(t, edits_of(t)) for t in (*data, *weights)]
        self._contents = [_Content(t) for t in weights] if self.attributes.whole else []

    def __bool__(self) -> bool:
        return (
            self.attributes.whole
            and self.attributes.same
            and all(edits_of(tensor) == edits for tensor, edits in self._edits)
            and all(content.same for content in self._contents)
        )


_WHOLE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class _Content:
    """What a tensor holds, of every n-th entry as in `fingerprint`, byte by byte."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self._place = tensor.detach()  # held, so that its memory stays its own
        self._bytes, view = _bytes(tensor), _some(tensor)
        shares = view.is_cpu and view.data_ptr() == tensor.data_ptr()
        shares = shares and view.element_size() in _WHOLE and not view.is_complex()
        self._view = view.view(_WHOLE[view.element_size()]).numpy() if shares else None

    @property
    def same(self) -> bool:
        tensor, place = self._tensor, self._place
        if tensor.dtype is not place.dtype or not tensor.is_set_to(place):  # other memory, or axes
            return False
        now = _bytes(tensor) if self._view is None else self._view.tobytes()
        return now == self._bytes


def edits_of(tensor: Tensor) -> int:
    """How often torch saw it edited; -1: torch does not count."""
    return -1 if tensor.is_inference() else tensor._version


def _some(tensor: Tensor) -> Tensor:
    flat = tensor.detach().reshape(-1)
    return flat[:: max(1, -(-len(flat) // (1 << 16)))]


def _bytes(tensor: Tensor) -> bytes:
    some = _some(tensor).contiguous().cpu()
    return some.view(torch.uint8).numpy().tobytes() if len(some) else b""


def _checksum(tensor: Tensor) -> int:
    return zlib.crc32(_bytes(tensor))
