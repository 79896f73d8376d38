"""The same swap by other libraries: `swap(contexts, donors)` returns what layer 2 answers.

Each takes the model, its inputs, the donors' recorded values `(K, ...)` of layer 1 and where to put
them. Libraries that are not installed are left out.
"""

from __future__ import annotations

import importlib.util
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Swap = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Task:
    """Swap `units` along `dim` of `net.<first>` and read `net.<second>`.

    Attributes:
        net: A `Sequential` of named stages.
        inputs: `(K, ...)`.
        values: What `first` does on all samples.
    """

    net: nn.Sequential
    inputs: Tensor
    values: Tensor
    first: str
    second: str
    dim: int
    units: Tensor

    def put(self, h: Tensor, donors: Tensor) -> Tensor:
        """`h` with the donors' units, in fresh memory."""
        new = self.values.index_select(0, donors).index_select(self.dim, self.units)
        return h.clone().index_copy_(self.dim, self.units, new)


def raw_hooks(task: Task) -> Swap:
    """Two forward hooks, full passes."""
    seen: dict[str, Tensor] = {}
    first, second = getattr(task.net, task.first), getattr(task.net, task.second)

    def swap(contexts: Tensor, donors: Tensor) -> Tensor:
        handles = [
            first.register_forward_hook(lambda _m, _x, out: task.put(out, donors)),
            second.register_forward_hook(lambda _m, _x, out: seen.update(out=out)),
        ]
        task.net(task.inputs.index_select(0, contexts))
        for handle in handles:
            handle.remove()
        return seen["out"]

    return swap


def by_hand(task: Task) -> Swap:
    """The limit: layer 1 from memory, units copied in, layer 2 called by itself."""
    second = getattr(task.net, task.second)

    def swap(contexts: Tensor, donors: Tensor) -> Tensor:
        h = task.values.index_select(0, contexts)
        new = task.values.index_select(0, donors).index_select(task.dim, task.units)
        return second(h.index_copy_(task.dim, task.units, new))

    return swap


def pyvene(task: Task) -> Swap:
    """pyvene: functions as interventions on named components."""
    import pyvene as pv  # type: ignore[import-not-found]
    from pyvene.models import intervenable_modelcard as card  # type: ignore[import-not-found]

    card.type_to_module_mapping.setdefault(type(task.net), {})
    card.type_to_dimension_mapping.setdefault(type(task.net), {})
    task.net.config = types.SimpleNamespace(to_dict=dict)  # type: ignore[assignment]
    now: dict[str, Tensor] = {}

    def see(base: Tensor, _source: Any) -> Tensor:
        now["out"] = base
        return base

    model = pv.IntervenableModel(
        [
            {
                "component": f"{task.first}.output",
                "intervention": lambda base, _source: task.put(base, now["donors"]),
            },
            {"component": f"{task.second}.output", "intervention": see},
        ],
        model=task.net,
    )

    def swap(contexts: Tensor, donors: Tensor) -> Tensor:
        now["donors"] = donors
        model(base={"input": task.inputs.index_select(0, contexts)})
        return now["out"]

    return swap


def nnsight(task: Task) -> Swap:
    """nnsight: a traced block that writes and saves."""
    import nnsight as library  # type: ignore[import-not-found]

    model = library.NNsight(task.net)

    def swap(contexts: Tensor, donors: Tensor) -> Tensor:
        saved: dict[str, Tensor] = {}
        with model.trace(task.inputs.index_select(0, contexts)):
            envoy = getattr(model, task.first)
            envoy.output = task.put(envoy.output, donors)
            saved["out"] = getattr(model, task.second).output.save()
        return saved["out"]

    return swap


def transformer_lens(task: Task) -> Swap:
    """TransformerLens: hook points between the stages of a hooked root module."""
    from transformer_lens import HookedRootModule  # type: ignore[import-not-found]
    from transformer_lens.hook_points import HookPoint  # type: ignore[import-not-found]

    class Hooked(HookedRootModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = task.net
            self.points = nn.ModuleDict(
                {name: HookPoint() for name, _ in task.net.named_children()}
            )
            self.setup()

        def forward(self, x: Tensor) -> Tensor:
            for name, stage in self.net.named_children():
                x = self.points[name](stage(x))
            return x

    model, seen = Hooked(), {}

    def see(value: Tensor, hook: Any) -> None:
        seen["out"] = value

    def swap(contexts: Tensor, donors: Tensor) -> Tensor:
        hooks = [
            (f"points.{task.first}", lambda value, hook: task.put(value, donors)),
            (f"points.{task.second}", see),
        ]
        model.run_with_hooks(task.inputs.index_select(0, contexts), fwd_hooks=hooks)
        return seen["out"]

    return swap


def tdhook(task: Task) -> Swap:
    """tdhook: a session that replaces, captures, and stops after layer 2."""
    from tdhook.session import HookSession  # type: ignore[import-not-found]
    from tdhook.targets import Target  # type: ignore[import-not-found]

    units = tuple(task.units.tolist())
    target = Target(task.first, "activation", task.dim, units)

    def swap(contexts: Tensor, donors: Tensor) -> Tensor:
        new = task.values.index_select(0, donors).index_select(task.dim, task.units)
        with HookSession(task.net) as session:
            session.replace(target, new)
            stopped = session.stop(task.second)
            task.net(task.inputs.index_select(0, contexts))
        out = stopped.output
        if not isinstance(out, Tensor):
            raise TypeError("the session did not stop where it was told to")
        return out

    return swap


def captum(task: Task) -> Swap:
    """captum has no swap; the nearest is the ablation of one group of a layer's units to given
    baselines, which reports a change of the output and not what layer 2 does."""
    from captum.attr import LayerFeatureAblation  # type: ignore[import-not-found]

    method = LayerFeatureAblation(
        lambda x: task.net(x).flatten(1).sum(1), getattr(task.net, task.first)
    )
    mask = torch.zeros(task.values.shape[1:], dtype=torch.long)
    mask.index_fill_(task.dim - 1, task.units, 1)

    def swap(contexts: Tensor, donors: Tensor) -> Tensor:
        return method.attribute(
            task.inputs.index_select(0, contexts),
            layer_baselines=task.values.index_select(0, donors),
            layer_mask=mask[None],
        )

    return swap


LIBRARIES: dict[str, Callable[[Task], Swap]] = {
    "pyvene": pyvene,
    "nnsight": nnsight,
    "transformer_lens": transformer_lens,
    "tdhook": tdhook,
    "captum": captum,
}


def installed() -> dict[str, Callable[[Task], Swap]]:
    """The libraries that can be imported here."""
    return {name: make for name, make in LIBRARIES.items() if importlib.util.find_spec(name)}
