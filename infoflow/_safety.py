"""What a pass of ours may not change, and how it is put back.

Everything is restored on the way out, whatever the way: success, an exception, KeyboardInterrupt.
Nothing is held between passes, so a generator closed half-way has nothing to restore.
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
import torch
from torch import nn

from infoflow._unchanged import Attributes, edits_of, self_writing, set_mode

# One pass at a time in the process: random state, modes and the compiler's stance are shared by
# all threads, and two threads that save and restore them in turn would restore the wrong ones.
_one_pass = threading.RLock()
_held: WeakKeyDictionary[nn.Module, tuple[int, int]] = WeakKeyDictionary()  # (thread, depth)
_drawing: WeakSet[nn.Module] = WeakSet()  # from the generators of Python or NumPy
_eager_depth = 0
_eager_before: tuple[bool, Any] = (True, None)  # the fast path, and what ends the stance


class Snapshot:
    """A model as it is, to be put back.

    Attributes are compared by identity, tensors by content, since a write through `.data` leaves no
    other trace. Parameters, and the random state of Python and NumPy, are put back only of a model
    that was seen to touch them.

    Args:
        model: The model.
        everything: Look whether it touches its parameters and that random state.
        known: Its attributes as they were found a moment ago.
    """

    def __init__(
        self, model: nn.Module, *, everything: bool = False, known: Attributes | None = None
    ) -> None:
        self._model, self.everything = model, everything
        self.attributes = Attributes(model) if known is None else known
        own, kept = self.attributes.parameters, self.attributes.buffers
        self.gpus = sorted({p.device.index or 0 for p in own if p.is_cuda})
        kept = [*kept, *own] if everything or model in self_writing else kept
        self._tensors = [(tensor, tensor.detach().clone(), edits_of(tensor)) for tensor in kept]

    def take(self) -> None:
        """Look at the attributes as they are now."""
        if not self.attributes.same:
            self.attributes = Attributes(self._model)

    def restore(self) -> None:
        """Put back what changed."""
        self.attributes.restore()
        for tensor, values, edits in self._tensors:
            differs = not torch.equal(tensor.detach(), values)
            if isinstance(tensor, nn.Parameter) and (differs or edits_of(tensor) != edits):
                self_writing.add(self._model)
            if differs:
                tensor.data.copy_(values)  # no count of edits goes up: it is as it was


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
        snapshot.take()
        refuse_if_held(snapshot.attributes.modules)
        drawn = _generators() if look else None
        own = [torch.default_generator, *(torch.cuda.default_generators[n] for n in snapshot.gpus)]
        states = [(generator, generator.get_state()) for generator in own]
        try:
            # inside inference_mode nothing can be differentiated, even under enable_grad
            with torch.inference_mode(False), eagerly():
                for module in snapshot.attributes.modules:
                    if module.training:
                        set_mode(module, False)
                yield
        finally:
            snapshot.restore()
            for generator, state in states:
                generator.set_state(state)
            if drawn is not None and _differ(drawn, _generators()):
                _drawing.add(model)
                random.setstate(drawn[0])
                np.random.set_state(drawn[1])  # noqa: NPY002


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
    global _eager_depth, _eager_before
    with _one_pass:
        if _eager_depth == 0:
            _eager_before = torch.backends.mha.get_fastpath_enabled(), _all_eager()
            torch.backends.mha.set_fastpath_enabled(False)
        _eager_depth += 1
    try:
        yield
    finally:
        with _one_pass:
            _eager_depth -= 1
            if _eager_depth == 0:
                torch.backends.mha.set_fastpath_enabled(_eager_before[0])
                _eager_before[1].__exit__(None, None, None)


def _all_eager() -> Any:
    if "torch._dynamo" not in sys.modules:  # nothing can have been compiled; its import is slow
        return nullcontext()
    stance = torch.compiler.set_stance("force_eager")
    stance.__enter__()
    return stance


def refuse_if_held(modules: Iterable[nn.Module]) -> None:
    """Raises:
    RuntimeError: Another thread intervenes on one of `modules`: its values would be ours too.
    """
    own = threading.get_ident()
    for module in modules if _held else ():
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
