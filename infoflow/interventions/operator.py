"""The bare operator: while it is open, units are intervened on whenever the model runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from infoflow._arguments import door, given, recorded, told
from infoflow._hooks import CallFunction, checked_passes, layer_at
from infoflow._replay.edits import Edit
from infoflow._safety import eagerly, holding
from infoflow.discovery import named_sites
from infoflow.interventions.bind import edit_for
from infoflow.interventions.kinds import Done
from infoflow.recording import Recording
from infoflow.site import Site


@door(recording=recorded(none=True), interventions=given)
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
        interventions: `{layer: what is done}`, layers named as for `record`: `(units, values)`
            with indices within the layer and `values` a scalar, `(u,)`, `(batch, u)` or
            `(batch, u, positions)`; an intervention such as `Zero([0, 3])`, `Scale([1], 2.0)` or
            `Shuffle([0, 3], seed=1)`; or a function from the activations
            `(batch, units[, positions])` to new ones.
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
    if not isinstance(interventions, Mapping):
        raise TypeError(
            f"interventions: expected {{layer: what is done}}, got {told(interventions)}"
        )
    rows = _Cursor(None if recording is None else len(recording))
    acts = []
    named = ((s, done) for layer, done in interventions.items() for s in named_sites(model, layer))
    for site, done in named:
        acts.append((site, _act(layer_at(model, site.path), site, done, rows, recording)))
    layers = {layer_at(model, site.path) for site, _ in acts}
    with holding(layers), eagerly(), checked_passes(model, acts, rows.enter, rows.advance):
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


def _act(
    layer: nn.Module, site: Site, done: Done, rows: _Cursor, rec: Recording | None
) -> CallFunction:
    """An intervention at one site, settled when the site's tensor is first seen."""
    settled: dict[Any, tuple[Site, Edit]] = {}

    def intervene(value: Any, call: int) -> Any:
        tensor = site.tensor(value)
        key = (tensor.ndim, tensor.device)
        if key not in settled:
            settled[key] = _settle(site.resolved(layer, value), done, value, rec)
        found, edit = settled[key]
        return edit(found, value, call, rows.batch(len(tensor), site.path))

    return intervene


def _settle(site: Site, done: Done, value: Any, rec: Recording | None) -> tuple[Site, Edit]:
    n = site.read(value).shape[1]
    if rec is None or not getattr(done, "needs_data", False):
        return site, edit_for(done, site.path, n, site.tensor(value).device)
    values, every = rec.filled(site.name), np.arange(len(rec))
    edit = edit_for(done, site.name, n, rec.device, rec=rec, activations=values, contexts=every)
    return rec.units.site(site.name), edit
