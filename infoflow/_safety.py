"""What a pass of ours may not change, and how it is put back.

Everything is restored on the way out, whatever the way: success, an exception, KeyboardInterrupt.
Nothing is held between passes, so a generator closed half-way has nothing to restore.
"""

from __future__ import annotations

import random
import sys
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from operator import is_
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
import torch
from torch import Tensor, nn

# One pass at a time in the process: random state, modes and the compiler's stance are shared by
# all threads, and two threads that save and restore them in turn would restore the wrong ones.
_one_pass = threading.RLock()
_held: WeakKeyDictionary[nn.Module, tuple[int, int]] = WeakKeyDictionary()  # (thread, depth)
_self_writing: WeakSet[nn.Module] = WeakSet()
_drawing: WeakSet[nn.Module] = WeakSet()  # from the generators of Python or NumPy
_eager_depth = 0
_eager_stances = ExitStack()


class Snapshot:
    """Modes, buffers, registrations and attributes of every submodule, to be put back.

    Attributes are compared by identity: a list that the model appends to stays appended. Tensors
    are compared by content, since a write through `.data` leaves no other trace. Parameters, and
    the random state of Python and NumPy, are put back only of a model that was seen to touch them.

    Args:
        model: The model.
        everything: Look whether it touches its parameters and that random state.
    """

    def __init__(self, model: nn.Module, *, everything: bool = False) -> None:
        self.modules = every_layer(model)
        own = _tensors(self.modules, "_parameters")
        self.gpus = sorted({p.device.index or 0 for p in own if p.is_cuda})
        self._model = model
        kept = _tensors(self.modules, "_buffers")
        kept += own if everything or writes_itself(model) else []
        self.everything = everything
        self._tensors = [(tensor, tensor.detach().clone(), _edits(tensor)) for tensor in kept]

    def take(self) -> None:
        """Look at the attributes as they are now."""
        self._modes = [(m, m.training) for m in self.modules]
        self._attributes = [
            (m, dict(vars(m)), dict(m._buffers), dict(m._parameters), dict(m._modules))
            for m in self.modules
            if not isinstance(m, torch.jit.ScriptModule)  # has its tensors and mode in C++
        ]

    def restore(self) -> None:
        """Put back what changed."""
        for module, attributes, *registered in self._attributes:
            _restore(vars(module), attributes)
            for kept, name in zip(registered, ("_buffers", "_parameters", "_modules"), strict=True):
                _restore(vars(module)[name], kept)
        for module, mode in self._modes:
            if module.training != mode:
                module.training = mode
        with torch.no_grad():
            for tensor, values, edits in self._tensors:
                differs = not torch.equal(tensor, values)
                if isinstance(tensor, nn.Parameter) and (differs or _edits(tensor) != edits):
                    _self_writing.add(self._model)
                if differs:
                    tensor.data.copy_(values)  # no count of edits goes up: it is as it was


def writes_itself(model: nn.Module) -> bool:
    """The model was seen to change its own parameters in a forward pass."""
    return model in _self_writing


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


def _identical(now: dict[str, Any], before: dict[str, Any]) -> bool:
    """The same names, in order, for the same objects."""
    return list(now) == list(before) and all(map(is_, now.values(), before.values()))


def _restore(now: dict[str, Any], before: dict[str, Any]) -> None:
    if _identical(now, before):
        return
    for name in [name for name in now if name not in before]:
        del now[name]
    for name, value in before.items():
        if name not in now or now[name] is not value:
            now[name] = value


@contextmanager
def evaluating(model: nn.Module, snapshot: Snapshot | None = None) -> Iterator[None]:
    """Evaluation mode inside; the model and the random state come back as they were.

    A compiled model runs eagerly inside, so that hooks are not ignored.

    Args:
        model: The model.
        snapshot: One of this model, to save copying its buffers for every pass.

    Raises:
        RuntimeError: Another thread is inside `do()` on this model.
    """
    with _one_pass:
        look = snapshot is None or snapshot.everything or model in _drawing
        snapshot = Snapshot(model) if snapshot is None else snapshot
        refuse_if_held(snapshot.modules)
        snapshot.take()
        generators = _generators() if look else None
        try:
            forked = torch.random.fork_rng(devices=snapshot.gpus)
            # inside inference_mode nothing can be differentiated, even under enable_grad
            with torch.inference_mode(False), forked, eagerly():
                for module in snapshot.modules:
                    if module.training:
                        module.training = False
                yield
        finally:
            snapshot.restore()
            if generators is not None and _differ(generators, _generators()):
                _drawing.add(model)
                random.setstate(generators[0])
                np.random.set_state(generators[1])  # noqa: NPY002


def _generators() -> tuple[Any, Any]:
    return random.getstate(), np.random.get_state()  # noqa: NPY002


def _differ(before: tuple[Any, Any], after: tuple[Any, Any]) -> bool:
    return before[0] != after[0] or any(map(np.any, map(np.not_equal, before[1], after[1])))


@contextmanager
def fast_path(on: bool) -> Iterator[None]:
    """With or without what `nn.TransformerEncoder` does where no gradients are asked for."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(on)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def eagerly() -> Iterator[None]:
    """Compiled code runs as it was written, and `nn.TransformerEncoder` as in training, without its
    fast path: hooks are then seen, and activations are no nested tensors."""
    global _eager_depth, _eager_stances
    with _one_pass:
        if _eager_depth == 0:
            _eager_stances = _stances()
        _eager_depth += 1
    try:
        yield
    finally:
        with _one_pass:
            _eager_depth -= 1
            if _eager_depth == 0:
                _eager_stances.close()


def _stances() -> ExitStack:
    stack = ExitStack()
    stack.enter_context(fast_path(False))
    if "torch._dynamo" in sys.modules:  # else nothing can have been compiled; its import is slow
        stack.enter_context(torch.compiler.set_stance("force_eager"))
    return stack


def refuse_if_held(modules: Iterable[nn.Module]) -> None:
    """Raises:
    RuntimeError: Another thread intervenes on one of `modules`: its values would be ours too.
    """
    own = threading.get_ident()
    for module in modules:
        thread, _ = _held.get(module, (own, 0))
        if thread != own:
            raise RuntimeError(
                f"another thread is inside do() on this model (at a {type(module).__name__}): "
                "wait for it to end, or give each thread a copy.deepcopy of the model"
            )


@contextmanager
def holding(modules: Iterable[nn.Module]) -> Iterator[None]:
    """This thread intervenes on `modules`; other threads are refused meanwhile.

    Raises:
        RuntimeError: Another thread already does.
    """
    modules = list(modules)
    with _one_pass:
        refuse_if_held(modules)
        for module in modules:
            _, depth = _held.get(module, (0, 0))
            _held[module] = (threading.get_ident(), depth + 1)
    try:
        yield
    finally:
        with _one_pass:
            for module in modules:
                thread, depth = _held.pop(module)
                if depth > 1:
                    _held[module] = (thread, depth - 1)


def fingerprint(model: nn.Module, data: Sequence[Tensor]) -> dict[tuple[Any, ...], Any]:
    """What tells a model or data that were changed: layers and their plain attributes, edit counts
    of parameters and data, and the content of parameters and buffers, of every n-th entry where
    they have more than 2^16: writes through `.data` are not counted.
    """
    layers = [m for m in model.modules() if not isinstance(m, torch.jit.ScriptModule)]
    counted = [*data] if writes_itself(model) else [*data, *model.parameters()]
    found: dict[tuple[Any, ...], Any] = {("layers",): [id(m) for m in layers]}
    for number, layer in enumerate(layers):
        for name, value in vars(layer).items():
            if name != "training" and type(value) in (bool, int, float, str):
                found["attribute", number, name] = value
    found |= {("edits", n): (id(t), _edits(t)) for n, t in enumerate(counted)}
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
        self._model = model
        self._layers = every_layer(model)
        self._known = not any(isinstance(m, torch.jit.ScriptModule) for m in self._layers)
        self._registered = [dict(r) for r in self._registries()] if self._known else []
        weights = [*_tensors(self._layers, "_parameters"), *_tensors(self._layers, "_buffers")]
        self._edits = [(t, _edits(t)) for t in (*data, *weights)]
        self._contents = [_Content(t) for t in weights] if self._known else []

    def _registries(self) -> Iterator[dict[str, Any]]:
        for layer in self._layers:
            own = vars(layer)
            yield from (own, own["_parameters"], own["_buffers"])

    def __bool__(self) -> bool:
        layers = every_layer(self._model)
        return (
            self._known
            and len(layers) == len(self._layers)
            and all(map(is_, layers, self._layers))
            and all(map(_identical, self._registries(), self._registered))
            and all(_edits(tensor) == edits for tensor, edits in self._edits)
            and all(content.same for content in self._contents)
        )


_WHOLE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class _Content:
    """What a tensor holds, of every n-th entry as in `fingerprint`, byte by byte."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self._place = self._where()
        self._bytes, view = _bytes(tensor), _some(tensor)
        shares = view.is_cpu and view.data_ptr() == self._place[0] and view.element_size() in _WHOLE
        own = view.view(_WHOLE[view.element_size()]) if shares and not view.is_complex() else None
        self._view = None if own is None else own.numpy()  # the tensor's memory itself

    def _where(self) -> tuple[Any, ...]:
        tensor = self._tensor
        return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()

    @property
    def same(self) -> bool:
        if self._where() != self._place:
            return False
        now = _bytes(self._tensor) if self._view is None else self._view.tobytes()
        return now == self._bytes


def _edits(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version


def _some(tensor: Tensor) -> Tensor:
    flat = tensor.detach().reshape(-1)
    return flat[:: max(1, -(-len(flat) // (1 << 16)))]


def _bytes(tensor: Tensor) -> bytes:
    some = _some(tensor).contiguous().cpu()
    return some.view(torch.uint8).numpy().tobytes() if len(some) else b""


def _checksum(tensor: Tensor) -> int:
    return zlib.crc32(_bytes(tensor))
