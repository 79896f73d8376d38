"""`check`: what a recording rests on, tried on this very model and printed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from infoflow._hooks import CallFunction, call_hooks
from infoflow._safety import evaluating
from infoflow.interventions import counterfactual
from infoflow.recording import Recording, joined_calls
from infoflow.site import Site

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE = 1e-4
"""Largest difference, in units of what a unit varies over the data, that counts as rounding
(float32 passes of other batch sizes differ by up to some 1e-5 in networks of fifty layers)."""


@dataclass(frozen=True)
class Trial:
    """One thing computed in two ways.

    Attributes:
        what: What was compared.
        layer: At which site.
        difference: The largest difference, in the layer's own units.
        relative: The largest, each unit's difference divided by how far it ranges over the data.
        rows: Samples on which a unit differs by more than `TOLERANCE` of its range.
        n_rows: Samples compared.
        note: Why there is no comparison, or what was warned of.
    """

    what: str
    layer: str
    difference: float
    relative: float
    rows: int
    n_rows: int
    note: str = ""

    @property
    def agrees(self) -> bool:
        """No row differs by more than rounding."""
        return self.rows == 0


@dataclass(frozen=True)
class Check:
    """What `check` found.

    Attributes:
        trials: One per comparison.
    """

    trials: tuple[Trial, ...]

    @property
    def ok(self) -> bool:
        """Everything agrees."""
        return all(trial.agrees for trial in self.trials)

    def to_frame(self) -> pd.DataFrame:
        """One row a trial: its attributes, and `agrees`."""
        import pandas as pd

        return pd.DataFrame([{**vars(t), "agrees": t.agrees} for t in self.trials])

    def __repr__(self) -> str:
        lines = [f"Check: {'all agrees' if self.ok else 'SOMETHING DIFFERS'}"]
        for t in self.trials:
            verdict = "agrees" if t.agrees else f"DIFFERS on {t.rows} of {t.n_rows} rows"
            note = f"; {t.note}" if t.note else ""
            lines.append(f"  {t.what}, {t.layer}: {verdict} (largest {t.relative:.1e}{note})")
        return "\n".join(lines)


def check(rec: Recording, *, rows: int = 256, seed: int = 0) -> Check:
    """Try on this model what a recording's answers rest on.

    1. *bare model*: the model called by itself, one batch of other size, against what was recorded;
       a model that mixes samples of a batch, or draws random numbers, shows here.
    2. *replay*: half of each layer's units shuffled, replayed from the recording against passes
       through the whole model, at every other layer.

    Args:
        rec: A recording.
        rows: Samples used, drawn without replacement.
        seed: Seed of the draws.

    Returns:
        A `Check`: print it, ask `.ok`, or take `.to_frame()`.

    Raises:
        RuntimeError: The model or the data were changed since they were recorded.
        ValueError: `rows` is not positive.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> ifl.check(ifl.record(net, ["1", "2"], torch.randn(10, 4))).ok
        True
    """
    if rows < 1:
        raise ValueError(f"expected rows to be at least 1, got {rows}")
    rec.check_current()
    rng = np.random.default_rng(seed)
    few = np.sort(rng.choice(len(rec), size=min(rows, len(rec)), replace=False))
    return Check((*_bare(rec, few), *_replayed(rec, rng)))


def _bare(rec: Recording, few: np.ndarray) -> Iterator[Trial]:
    """The model by itself, row order reversed, a third of the recording's batch size."""
    order = few[::-1].copy()
    size = max(1, min(rec.batch_size, len(order)) // 3)
    seen: dict[str, list[Tensor]] = {name: [] for name in rec.units.layers}
    calls: dict[str, list[Tensor]] = {}

    def keep(site: Site) -> tuple[Site, CallFunction]:
        def see(value: object, _call: int) -> None:
            calls.setdefault(site.name, []).append(site.read(value).detach().cpu().clone())

        return site, see

    with (
        evaluating(rec.model),
        torch.no_grad(),
        call_hooks(rec.model, [keep(site) for site in rec.units.sites]) as complete,
    ):
        for start in range(0, len(order), size):
            rec.call(rec.rows(order[start : start + size]))
            complete()
            for name in seen:
                seen[name].append(joined_calls(calls.pop(name)))
    for name, parts in seen.items():
        yield _trial("bare model", name, torch.cat(parts), rec[name][order], rec[name])


def _replayed(rec: Recording, rng: np.random.Generator) -> Iterator[Trial]:
    for position, name in enumerate(rec.units.layers):
        n = rec.units.sizes[position]
        half = np.sort(rng.choice(n, size=max(1, n // 2), replace=False))
        for other in rec.units.layers:
            if other == name:
                continue
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                fast = counterfactual(rec, {name: half}, observe=other, replay=True)
            full = counterfactual(rec, {name: half}, observe=other, replay=False)
            note = "; ".join(str(w.message) for w in said)
            yield _trial(f"replay of {name}", other, fast, full, rec[other], note)


def _trial(
    what: str, layer: str, ours: Tensor, truth: Tensor, recorded: Tensor, note: str = ""
) -> Trial:
    """Compare `(rows, units[, positions])`, each unit on the scale of its range over the data."""
    everything = recorded.double().transpose(0, 1).flatten(1)
    scale = everything.amax(1) - everything.amin(1)
    gap = (ours.double() - truth.double()).abs().flatten(1).unflatten(1, (len(scale), -1)).amax(2)
    # a unit that never changes is measured on its own size
    scale = torch.where(scale > 0, scale, everything.abs().amax(1).clamp(min=1e-12))
    relative = gap / scale
    differ = int((relative > TOLERANCE).any(1).sum())
    return Trial(what, layer, float(gap.max()), float(relative.max()), differ, len(gap), note)
