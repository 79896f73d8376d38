"""`check`: what a recording rests on, tried on this very model and printed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from infoflow._arguments import door
from infoflow._passes import batches_of, run_all
from infoflow._replay.prepare import Replays, replay_for
from infoflow._safety import evaluating
from infoflow.interventions import counterfactual
from infoflow.recording import Recording
from infoflow.rounding import STEPS
from infoflow.unit_similarity import refused_measures, similarity
from infoflow.unit_similarity.shared import ways

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE = 1e-4
"""Largest difference, in units of what a unit varies over the data, that counts as rounding
(float32 passes of other batch sizes differ by up to some 1e-5 in networks of fifty layers); in
coarser types `rounding.STEPS` steps of these."""

_SIMILARITY_ROWS, _SIMILARITY_UNITS = 32, 1024


@dataclass(frozen=True)
class Trial:
    """One thing computed in two ways.

    Attributes:
        what: What was compared.
        layer: At which site.
        difference: The largest difference, in the layer's own units.
        relative: The largest, each unit's difference divided by how far it ranges over the data;
            of a similarity, by the similarity of the two units with themselves.
        rows: Samples (of a similarity: units) that differ by more than rounding of that.
        n_rows: How many were compared; 0 where there is nothing to compare.
        per: What `rows` counts: "rows" or "units".
        way: Which way is taken when infoflow measures: the fast one, or the exact one and why.
        note: What was warned of.
    """

    what: str
    layer: str
    difference: float = 0.0
    relative: float = 0.0
    rows: int = 0
    n_rows: int = 0
    per: str = "rows"
    way: str = ""
    note: str = ""

    @property
    def agrees(self) -> bool:
        """Nothing differs by more than rounding."""
        return self.rows == 0

    @property
    def verdict(self) -> str:
        """In words."""
        if self.n_rows == 0:
            return "not compared"
        if self.agrees:
            return f"agrees on {self.n_rows} {self.per}, largest difference {self.relative:.0e}"
        against = "what full passes give" if self.what.startswith("replay") else "the exact way's"
        if self.what == "bare model":
            own = self.layer == "its outputs"
            against = f"the {'outputs' if own else 'activations'} that were recorded"
        return f"DOES NOT GIVE {against} on {self.rows} of {self.n_rows} {self.per}, largest " + (
            f"difference {self.relative:.0e}"
        )


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
        said = [(t.what, t.layer, t.verdict) for t in self.trials]
        widths = [max(len(row[i]) for row in said) for i in range(3)]
        lines = [f"Check: {'all agrees' if self.ok else 'SOMETHING DIFFERS'}"]
        for row, trial in zip(said, self.trials, strict=True):
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            rest = "; ".join(text for text in (trial.way, trial.note) if text)
            lines.append("  ".join(["", *cells, rest]).rstrip())
        return "\n".join(lines)


@door()
def check(rec: Recording, *, rows: int = 256, seed: int = 0) -> Check:
    """Try on this model what a recording's answers rest on, and say which fast ways are in use.

    1. *bare model*: the model called by itself, one batch of other size, against what was recorded;
       a model that mixes samples of a batch, or draws random numbers, shows here.
    2. *replay*: half of each layer's units shuffled, replayed from the recording against passes
       through the whole model, at every other layer.
    3. *similarity*: each derivative measure that is defined, the short cuts that hold for the model
       against differentiation one unit at a time, on 32 of the rows.

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
        >>> found = ifl.check(ifl.record(net, ["1", "2"], torch.randn(10, 4)))
        >>> found.ok
        True
        >>> [trial.way for trial in found.trials if trial.what == "similarity i_sens"]
        ['closed form', 'closed form']
    """
    rec.check_current()
    rng = np.random.default_rng(seed)
    few = np.sort(rng.choice(len(rec), size=min(rows, len(rec)), replace=False))
    similar = _similarities(_only(rec, few[:: -(-len(few) // _SIMILARITY_ROWS)]))
    return Check((*_bare(rec, few), *_replayed(rec, rng), *similar))


def _bare(rec: Recording, few: np.ndarray) -> Iterator[Trial]:
    """The model by itself, row order reversed, a third of the recording's batch size."""
    order = few[::-1].copy()
    size = max(1, min(rec.batch_size, len(order)) // 3)

    def run(rows: slice) -> object:
        return rec.call(rec.rows(order[rows]))

    batches = batches_of(len(order), size)
    with evaluating(rec.model), torch.no_grad():
        seen, outputs = run_all(rec.model, rec.units.sites, run, batches, rec.output, False)
    for name, values in seen.items():
        yield _trial(rec, "bare model", name, values, rec[name][order], rec[name])
    if rec.outputs.is_floating_point():
        found, kept = (y[:].reshape(len(y), -1) for y in (outputs, rec.outputs))
        yield _trial(rec, "bare model", "its outputs", found, kept[order], kept)


def _replayed(rec: Recording, rng: np.random.Generator) -> Iterator[Trial]:
    for position, name in enumerate(rec.units.layers):
        n = rec.units.sizes[position]
        half = np.sort(rng.choice(n, size=max(1, n // 2), replace=False))
        for other in rec.units.layers:
            if other == name:
                continue
            with _warnings() as said:
                fast = counterfactual(rec, {name: half}, observe=other, replay=True)
            full = counterfactual(rec, {name: half}, observe=other, replay=False)
            trial = _trial(rec, f"replay of {name}", other, fast, full, rec[other])
            way = "replayed from the recording"
            if replay_for(rec, [name]) is None:
                way = f"full passes: {'; '.join(rec.kept(Replays).reasons)}"
            yield replace(trial, way=way, note=said[0])


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """What is warned of inside, as one text, at the end."""
    said = [""]
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield said
    said[0] = "; ".join(dict.fromkeys(str(w.message) for w in found))


def _only(rec: Recording, few: np.ndarray) -> Recording:
    """The recording of those rows alone."""
    held = {f.name: getattr(rec, f.name) for f in fields(rec) if f.name not in ("model", "units")}
    index = torch.from_numpy(few)
    cut = tree_map_only(Tensor, lambda t: t[index], held)
    cut |= {"outputs": rec.outputs[index], "stored": None}
    return replace(rec, **{**cut, "versions": {}, "cache": {}})


def _similarities(some: Recording) -> Iterator[Trial]:
    for measure, reason in refused_measures(some).items():
        if not measure.endswith("_norm"):
            yield Trial(f"similarity {measure}", "all", per="units", way=f"not defined: {reason}")
    for layer, n in zip(some.units.layers, some.units.sizes, strict=True):
        try:
            for base, way in ways(some, layer).items():
                yield _similarity(some, layer, n, Trial(f"similarity {base}", layer, way=way))
        except (RuntimeError, ValueError) as error:
            yield Trial("similarity", layer, per="units", way=f"refused: {error}")


def _similarity(some: Recording, layer: str, n: int, empty: Trial) -> Trial:
    empty = replace(empty, per="units")
    if empty.way == "exact" or empty.way.startswith("exact: "):
        return empty
    if n > _SIMILARITY_UNITS:
        return replace(empty, note=f"not tried on more than {_SIMILARITY_UNITS} units")
    base = empty.what.split()[1]
    with _warnings() as said:
        fast = similarity(some, base, layers=layer)
    exact = similarity(some, base, layers=layer, fast=False)
    gap, own = np.abs(fast - exact), np.sqrt(np.diag(exact))
    own = np.maximum(own, 1e-3 * own.max(initial=1e-30))
    relative = gap / np.outer(own, own)
    return replace(
        empty,
        difference=float(gap.max()),
        relative=float(relative.max()),
        rows=int((relative > _tolerance(some)).any(1).sum()),
        n_rows=len(gap),
        note=said[0],
    )


def _tolerance(rec: Recording) -> float:
    steps = [*rec.steps.values()]
    if rec.outputs.is_floating_point():
        steps.append(torch.finfo(rec.outputs.dtype).eps)
    return max(TOLERANCE, STEPS * max(steps))


def _trial(
    rec: Recording, what: str, layer: str, ours: Tensor, truth: Tensor, recorded: Tensor
) -> Trial:
    """Compare `(rows, units[, positions])`, each unit on the scale of its range over the data."""
    everything = recorded.double().transpose(0, 1).flatten(1)
    scale = everything.amax(1) - everything.amin(1)
    gap = (ours.double() - truth.double()).abs().flatten(1).unflatten(1, (len(scale), -1)).amax(2)
    # a unit that never changes is measured on its own size
    scale = torch.where(scale > 0, scale, everything.abs().amax(1).clamp(min=1e-12))
    relative = gap / scale
    differ = int((relative > _tolerance(rec)).any(1).sum())
    return Trial(what, layer, float(gap.max()), float(relative.max()), differ, len(gap))
