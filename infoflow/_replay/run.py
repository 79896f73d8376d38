"""A run: many rows of (edits, context), chunk by chunk, by replay or by full passes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from infoflow._hooks import CallFunction, call_hooks
from infoflow._memory import Room
from infoflow._passes import joined_calls, show_progress
from infoflow._replay.chunks import GUARDED_ROWS, alike, chunk_rows, limits
from infoflow._replay.edits import Edit
from infoflow._replay.prepare import Replays, replay_for, with_upstream
from infoflow._replay.replay import Replay
from infoflow._replay.tables import ReplayError, Stop, looked_at
from infoflow._safety import evaluating
from infoflow.recording import Recording
from infoflow.site import Site


@dataclass(frozen=True, eq=False)
class Run:
    """What to run.

    Attributes:
        rec: The recording.
        edits: What to do at each site, by name.
        contexts: `(R,)` samples whose inputs are run, on the model's device.
        observe: Names of the sites to look at.
        grid: Rows that belong together (the contexts of one donor), or 0.
    """

    rec: Recording
    edits: Mapping[str, Edit]
    contexts: Tensor
    observe: tuple[str, ...]
    grid: int = 0

    def chunks(self, *, replay: bool = True, progress: bool = False) -> Iterator[Chunk]:
        """The rows in order, with what was observed; nothing of all rows' size is held.

        The model is touched only while a chunk is computed, never between two.
        """
        self.rec.check_current()
        names = [name for name in self.rec.units.layers if name in self.edits]
        plan = replay_for(self.rec, names) if replay and names else None
        step, together = self._steps(plan)
        snapshot = self.rec.snapshot()
        starts = range(0, len(self.contexts), step * together)
        for start in show_progress(starts, progress, "interventions"):
            rows = slice(start, min(start + step * together, len(self.contexts)))
            with evaluating(self.rec.model, snapshot), torch.no_grad():
                found, reason = self._some(plan, rows, step)
            if plan is not None and reason is not None:
                self.rec.kept(Replays).give_up(plan, reason)
                plan = None
            if self.rec.padding is None:
                yield from found
                continue
            for part, seen in found:
                index = self.contexts[part].cpu()
                yield part, {name: self.rec.filled(name, h, index) for name, h in seen.items()}

    def _steps(self, plan: Replay | None) -> tuple[int, int]:
        """Rows of a chunk, and how many chunks are compared before they are handed out together.

        As many as make the comparison, a pass from the start of the model, cost no more than 15 %
        of them; but no more than 64 MB of what is observed wait for it.
        """
        if plan is None:
            return self.rec.batch_size, 1
        size, whole = plan.nbytes(self.observe)
        step = chunk_rows(self.rec.device, size, self.grid, len(self.contexts))
        if step == len(self.contexts):
            return step, 1
        compared = GUARDED_ROWS * whole + _CALL_BYTES * len(plan.calls)
        waiting = sum(self.rec[name][0].nbytes for name in self.observe) * step
        most = max(1, _WAITING_BYTES // max(waiting, 1))
        return step, min(most, math.ceil(compared / (0.15 * size * step)))

    def _some(self, plan: Replay | None, rows: slice, step: int) -> tuple[list[Chunk], str | None]:
        """Chunks that cover `rows`, and why replay is to be given up: then all are run in full."""
        if plan is None:
            return [(rows, self._in_batches(rows))], None
        try:
            starts = range(rows.start, rows.stop, step)
            parts = [slice(at, min(at + step, rows.stop)) for at in starts]
            room, replayed = self.rec.kept(Room), partial(self._replayed, plan)
            found = [found for part in parts for found in room.parts(replayed, part)]
            reason = self._compared(plan, rows, found)
        except Exception as error:  # where the full pass fails as well, that is what is raised
            found, reason = [], f"{type(error).__name__}: {error}"
        return ([(rows, self._in_batches(rows))], reason) if reason else (found, None)

    def _compared(self, plan: Replay, rows: slice, found: Sequence[Chunk]) -> str | None:
        """What a full pass of a few of these rows gives different from what was found."""
        few = plan.guard.sample((tuple(self.edits), self.observe), rows)
        known, steps = self.rec.kept(Replays).limits, self.rec.steps
        for name, right in self._full(few, plan).items():
            if name not in known:
                whole = right.is_floating_point()
                known[name] = limits(self.rec[name], steps[name]) if whole else None
            parts = [part[name][_within(few, own)] for own, part in found]
            seen = parts[0] if len(parts) == 1 else torch.cat(parts)
            if not alike(seen, right, steps[name], known[name]):
                return f"{name!r} under the intervention"
        return None

    def _in_batches(self, rows: slice) -> dict[str, Tensor]:
        """By full passes of the recording's batch size."""
        size = self.rec.batch_size
        starts = range(rows.start, rows.stop, size)
        batches = (slice(at, min(at + size, rows.stop)) for at in starts)
        room = self.rec.kept(Room)
        parts = [found for batch in batches for _, found in room.parts(self._full, batch)]
        return {name: torch.cat([part[name] for part in parts]) for name in self.observe}

    def _full(self, rows: slice, until: Replay | None = None) -> dict[str, Tensor]:
        """By a full pass; for a comparison it ends where the replay does."""
        watched = _Watch(None if until is None else until.n_seen(self.observe))
        args = self.rec.rows(self.contexts[rows])
        with suppress(Stop), call_hooks(self.rec.model, self._functions(rows, watched)) as check:
            self.rec.call(args)
            check()
        return {name: joined_calls(watched.seen[name]) for name in self.observe}

    def _replayed(self, plan: Replay, rows: slice) -> dict[str, Tensor]:
        sites = [self.rec.units.site(name) for name in self.observe]
        watched = _Watch(sum(len(plan.live_moments(site)) for site in sites))
        if watched.waiting:
            plan.run(self.contexts[rows], self._functions(rows, watched))
            if watched.waiting:
                raise ReplayError("a layer that is observed was not reached")
        index = self.contexts[rows]
        return {n: with_upstream(watched.seen.get(n), self.rec[n], index) for n in self.observe}

    def _functions(self, rows: slice, watched: _Watch) -> list[tuple[Site, CallFunction]]:
        names = [n for n in self.rec.units.layers if n in self.edits or n in self.observe]
        sites = map(self.rec.units.site, names)
        return [(site, self._function(site, rows, watched)) for site in sites]

    def _function(self, site: Site, rows: slice, watched: _Watch) -> CallFunction:
        edit = self.edits.get(site.name)

        def act(value: Any, call: int) -> Any:
            if edit is not None:
                value = edit(site, value, call, rows)
            if site.name in self.observe:
                watched.see(site, looked_at(value))
            return None if edit is None else value

        return act


def _within(some: slice, rows: slice) -> slice:
    """Where `some` rows are found in a chunk that holds `rows`; empty if they are not."""
    return slice(max(some.start - rows.start, 0), max(some.stop - rows.start, 0))


Chunk = tuple[slice, dict[str, Tensor]]
_WAITING_BYTES = 64 << 20
_CALL_BYTES = 256 << 10  # a call costs what layers take that return so much, caches cold


@dataclass(eq=False)
class _Watch:
    """Collects what is observed in one pass, and ends the pass after the last of it.

    Attributes:
        waiting: How many activations are still to come; None: do not end the pass.
    """

    waiting: int | None
    seen: dict[str, list[Tensor]] = field(default_factory=dict)

    def see(self, site: Site, value: Any) -> None:
        """Keep the site's activations. A copy unless the pass ends here: a later layer may edit
        them in place."""
        activations = site.read(value).detach().cpu()
        self.waiting = None if self.waiting is None else self.waiting - 1
        self.seen.setdefault(site.name, []).append(
            activations.clone() if self.waiting != 0 else activations
        )
        if self.waiting == 0:
            raise Stop
