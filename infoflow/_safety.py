"""What a pass of ours may not change, and how it is put back.

Everything is restored on the way out, whatever the way: success, an exception, KeyboardInterrupt.
Nothing is held between passes, so a generator closed half-way has nothing to restore.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

# One pass at a time in the process: random state, modes and the compiler's stance are shared by
# all threads, and two threads that save and restore them in turn would restore the wrong ones.
_one_pass = threading.RLock()
_held: WeakKeyDictionary[nn.Module, tuple[int, int]] = WeakKeyDictionary()  # (thread, depth)
_eager_depth = 0
_eager_stance: Any = None


class Snapshot:
    """Modes, buffers, registrations and attributes of every submodule, to be put back.

    Attributes are compared by identity: a list that the model appends to stays appended.
    """

    def __init__(self, model: nn.Module) -> None:
        self.modules = list(model.modules())
        self.gpus = sorted({p.device.index or 0 for p in model.parameters() if p.is_cuda})
        self._buffers = [
            (buffer, buffer._version, buffer.detach().clone())
            for buffer in {id(b): b for b in model.buffers()}.values()
        ]

    def take(self) -> None:
        """Look at the attributes as they are now."""
        self._attributes = [
            (m, dict(vars(m)), dict(m._buffers), dict(m._parameters), dict(m._modules))
            for m in self.modules
        ]

    def restore(self) -> None:
        """Put back what changed."""
        for module, attributes, *registered in self._attributes:
            _restore(vars(module), attributes)
            for kept, name in zip(registered, ("_buffers", "_parameters", "_modules"), strict=True):
                _restore(vars(module)[name], kept)
        with torch.no_grad():
            for number, (buffer, version, values) in enumerate(self._buffers):
                if buffer._version != version:
                    buffer.copy_(values)
                    self._buffers[number] = (buffer, buffer._version, values)


def _restore(now: dict[str, Any], before: dict[str, Any]) -> None:
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
        snapshot = Snapshot(model) if snapshot is None else snapshot
        refuse_if_held(snapshot.modules)
        snapshot.take()
        try:
            with torch.random.fork_rng(devices=snapshot.gpus), eagerly():
                for module in snapshot.modules:
                    vars(module)["training"] = False
                yield
        finally:
            snapshot.restore()


@contextmanager
def eagerly() -> Iterator[None]:
    """Compiled code runs as it was written: hooks added after compilation are then seen."""
    global _eager_depth, _eager_stance
    if "torch._dynamo" not in sys.modules:  # nothing can have been compiled; its import is slow
        yield
        return
    with _one_pass:
        if _eager_depth == 0:
            _eager_stance = torch.compiler.set_stance("force_eager")
            _eager_stance.__enter__()
        _eager_depth += 1
    try:
        yield
    finally:
        with _one_pass:
            _eager_depth -= 1
            if _eager_depth == 0:
                _eager_stance.__exit__(None, None, None)


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


def tensor_versions(tensors: Iterable[Tensor]) -> tuple[tuple[int, int], ...]:
    """Identity and edit count of each tensor, to notice changes made since."""
    return tuple((id(t), t._version) for t in tensors)
