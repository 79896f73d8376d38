"""The bare operator: while it is open, units are intervened on whenever the model runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from infoflow._hooks import CallFunction, checked_passes, layer_at
from infoflow._replay.edits import Edit
from infoflow._safety import eagerly, holding
from infoflow.interventions.bind import edit_for
from infoflow.interventions.kinds import Done
from infoflow.recording import Recording
from infoflow.site import Site


@contextmanager
def do(
    model: nn.Module,
    interventions: Mapping[str | Site, Done],
    *,
    recording: Recording | None = None,
) -> Iterator[nn.Module]:
    """Inside, the named units are intervened on whenever the model runs.

    The operator do(H_units = values) of causal inference: whatever the units would have computed
    is replaced, everything downstream follows. Outside, the model is as it was. A compiled model
    runs eagerly inside, so that the intervention is not ignored.

    Args:
        model: The model.
        interventions: `{layer: what is done}`: `(units, values)` with indices within the layer and
            `values` a scalar, `(u,)`, `(batch, u)` or `(batch, u, positions)`; an intervention
            such as `Zero([0, 3])`, `Scale([1], 2.0)` or `Shuffle([0, 3], seed=1)`; or a function
            from the activations `(batch, units[, positions])` to new ones.
        recording: The data set that `Mean`, `Resample` and `Shuffle` take values from. The passes
            inside then run over its samples in order, in batches of any size.

    Raises:
        KeyError: Unknown layer.
        ValueError: Units out of range, values of another shape, or no recording where one is
            needed, at the forward pass.
        RuntimeError: A pass of the model did not call a layer exactly once and the site does not
            say which call; a layer was called by itself where samples of a recording are counted;
            or another thread intervenes on the model.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
        >>> with torch.no_grad(), ifl.do(net, {"1": ([0, 1, 2], 0.0)}):
        ...     bool((net(torch.randn(5, 2)) == net[2].bias).all())
        True
    """
    rows = _Cursor(None if recording is None else len(recording))
    functions = []
    for layer, done in interventions.items():
        site = layer if isinstance(layer, Site) else Site(layer)
        functions.append((site, _Act(model, site, done, rows, recording).act))
    layers = {layer_at(model, site.path) for site, _ in functions}
    with holding(layers), eagerly(), checked_passes(model, functions, rows.enter, rows.advance):
        yield model


@dataclass(eq=False)
class _Cursor:
    """Which rows of the data set the present batch is."""

    n_samples: int | None
    start: int = 0
    stop: int = 0
    inside: bool = False

    def enter(self) -> None:
        """A pass of the model begins."""
        self.inside = True

    def batch(self, size: int, where: str) -> slice:
        """The present batch's rows."""
        if self.n_samples is not None and not self.inside:
            raise RuntimeError(
                f"layer {where!r} was called outside a pass of the model: inside "
                "do(..., recording=...) call the model itself, so that its samples can be counted"
            )
        self.stop = self.start + size
        if self.n_samples is not None and self.stop > self.n_samples:
            raise ValueError(
                f"layer {where!r} is given rows {self.start} to {self.stop - 1} of a recording of "
                f"{self.n_samples}: inside do(..., recording=...) run over its samples in order"
            )
        return slice(self.start, self.stop)

    def advance(self) -> None:
        """The pass is over; after the last sample comes the first."""
        self.start = 0 if self.stop == self.n_samples else self.stop
        self.inside = False


@dataclass(eq=False)
class _Act:
    """An intervention at one site, settled when the site's tensor is first seen."""

    model: nn.Module
    site: Site
    done: Done
    rows: _Cursor
    recording: Recording | None
    _settled: dict[Any, tuple[Site, Edit]] = field(default_factory=dict)

    @property
    def act(self) -> CallFunction:
        layer = layer_at(self.model, self.site.path)

        def intervene(value: Any, call: int) -> Any:
            tensor = self.site.tensor(value)
            key = (tensor.ndim, tensor.device)
            if key not in self._settled:
                self._settled[key] = self._settle(self.site.resolved(layer, value), value)
            site, edit = self._settled[key]
            return edit(site, value, call, self.rows.batch(len(tensor), site.path))

        return intervene

    def _settle(self, site: Site, value: Any) -> tuple[Site, Edit]:
        rec, n, device = self.recording, site.read(value).shape[1], site.tensor(value).device
        needed = rec is not None and getattr(self.done, "needs_data", False)
        if rec is None or not needed:
            return site, edit_for(self.done, site.path, n, torch.device(device))
        recorded = rec.units.site(site.name)
        edit = edit_for(
            self.done,
            site.name,
            n,
            rec.device,
            rec=rec,
            activations=rec.filled(site.name),
            contexts=np.arange(len(rec)),
        )
        return recorded, edit
