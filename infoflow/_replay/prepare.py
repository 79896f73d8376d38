"""Build a `Replay` for a first intervened site, and try it on a few samples."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from infoflow._passes import joined_calls, keepers
from infoflow._replay.budget import free_bytes
from infoflow._replay.calls import Call, finished_calls, moments, trace_calls
from infoflow._replay.guard import alike
from infoflow._replay.lazy import materialised
from infoflow._replay.replay import Replay
from infoflow._replay.tables import (
    Answer,
    Key,
    Leaf,
    ReplayError,
    Table,
    fill_tables,
    small_answer,
    watch,
)
from infoflow._safety import evaluating
from infoflow._unchanged import every_layer
from infoflow.recording import Recording
from infoflow.site import Site


@dataclass(eq=False)
class Replays:
    """What replay keeps with a recording.

    Attributes:
        calls: Of a normal pass, by the hooks that are on the model.
        firsts: By hooks and moment of the first intervention; None: only full passes are right.
        built: The same, by hooks and names of the intervened sites.
        affine: By site, the layer after it on the unchanged data set.
        limits: By site, how much rounding may move every unit; None: nothing may.
        reasons: Why full passes are run, if they are.
    """

    calls: dict[Any, Sequence[Call]] = field(default_factory=dict)
    firsts: dict[Any, Replay | None] = field(default_factory=dict)
    built: dict[Any, Replay | None] = field(default_factory=dict)
    affine: dict[str, dict[Any, Any]] = field(default_factory=dict)
    limits: dict[str, Tensor | None] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    def give_up(self, replay: Replay, reason: str) -> None:
        """From now on full passes, wherever this replay was used; said once."""
        for kept in (self.firsts, self.built):
            kept.update({key: None for key, found in kept.items() if found is replay})
        _warn(replay.rec, reason, _CANNOT_FOLLOW + _BEFORE)


def replay_for(rec: Recording, names: Sequence[str]) -> Replay | None:
    """The replay from the first of these sites on; None if only full passes are right.

    Built once per recording and first site. When its check fails a warning says so, once.
    """
    kept = rec.kept(Replays)
    hooks = tuple(
        (*layer._forward_hooks, -1, *layer._forward_pre_hooks) for layer in every_layer(rec.model)
    )
    key = (hooks, tuple(names))
    if key not in kept.built:
        sites = [rec.units.site(name) for name in names]
        with evaluating(rec.model), torch.inference_mode(False), torch.no_grad():
            try:
                kept.built[key] = _first_of(rec, kept, sites, hooks)
            except ReplayError as error:
                kept.built[key] = None
                _warn(rec, str(error))
    return kept.built[key]


def _first_of(rec: Recording, kept: Replays, sites: Sequence[Site], hooks: Any) -> Replay | None:
    """The replay from the first of `sites` on; shared by all that begin there."""
    if hooks not in kept.calls:
        try:
            few = rec.rows(torch.tensor([0, 1, 0]))
            kept.calls[hooks] = trace_calls(rec.model, few, rec.call)
        except Exception as error:
            raise ReplayError(f"its calls cannot be traced: {error}") from error
    calls = kept.calls[hooks]
    first = min(min(moments(rec.model, calls, site).values(), default=-1) for site in sites)
    if first < 0:
        raise ReplayError("a layer is not called for every sample")
    if (hooks, first) not in kept.firsts:
        kept.firsts[hooks, first] = _checked(rec, calls, first)
    return kept.firsts[hooks, first]


def _checked(rec: Recording, calls: Sequence[Call], first: int) -> Replay | None:
    try:
        replay = _build(rec, calls, first)
        wrong = differing_sites(replay)
    except Exception as error:  # whatever the model does that a replay cannot: full passes can
        said = str(error) if isinstance(error, ReplayError) else f"{type(error).__name__}: {error}"
        replay, wrong = None, [said]
    if replay is None or wrong:
        because = _OWN_FAULT if _answers_otherwise(rec) else _CANNOT_FOLLOW
        _warn(rec, f"{', '.join(wrong)}: without any intervention", because)
        return None
    return replay


_CANNOT_FOLLOW = "the model routes samples, or keeps state of its own"
_BEFORE = (
    "; what it gave earlier on this recording was compared with full passes on a few rows only: "
    "where that matters, run it again"
)
_OWN_FAULT = (
    "the model itself gives other outputs for the same samples in another batch, as it is random "
    "in evaluation mode or lets samples of a batch act on each other; bits count that as "
    "information, also where nothing flows: make it give one answer per sample"
)


def _answers_otherwise(rec: Recording) -> bool:
    """Whether the model gives other outputs than those recorded in a pass over other rows."""
    rows = torch.arange(max(1, len(rec) // 2)).flip(0)[:32]
    found = rec.output(rec.call(rec.rows(rows))).cpu()
    return not alike(*(x.reshape(len(rows), -1) for x in (found, rec.outputs[rows])))


def _warn(rec: Recording, reason: str, because: str = _CANNOT_FOLLOW) -> None:
    rec.kept(Replays).reasons.append(reason)
    warnings.warn(
        f"replaying {type(rec.model).__name__} from its first intervention does not give what full "
        f"passes give ({reason}): {because}; running full passes instead (slower)",
        RuntimeWarning,
        stacklevel=2,
    )


def _build(rec: Recording, calls: Sequence[Call], first: int) -> Replay:
    small = _small_answers(rec, calls, first)
    trial = Replay(rec, calls, first, small)
    wanted: set[Leaf] = set()
    index = torch.tensor([0, 1], device=rec.device)
    sites = [(site, _look) for site in rec.units.sites if trial.live_moments(site)]
    trial.attempt(index, sites, used=lambda key, leaf: wanted.add((key, leaf)))
    leaves = {(k, n): leaf for k, answer in small.items() for n, leaf in enumerate(answer.leaves)}
    tables = _recorded_leaves(rec, calls, small)
    missing = {
        at: leaf
        for at, leaf in leaves.items()
        if isinstance(leaf, Tensor) or (at in wanted and at not in tables)
    }
    tables |= _filled(rec, calls, missing)
    whole = {
        at: tables.get(at, leaf.empty()) if isinstance(leaf, Table) else leaf
        for at, leaf in leaves.items()
    }
    answers = {
        key: replace(answer, leaves=tuple(whole[key, n] for n in range(len(answer.leaves))))
        for key, answer in small.items()
    }
    return Replay(rec, calls, first, answers)


def _look(value: Any, _call: int) -> None:
    materialised(value)


def _small_answers(rec: Recording, calls: Sequence[Call], first: int) -> dict[Key, Answer]:
    """Answers for samples 0 and 1 of the outermost finished calls that can be replayed."""
    opaque: set[Key] = set()
    while True:
        finished = finished_calls(calls, first, opaque)
        if not finished:
            return {}
        other = [len(rec) - 1, len(rec) // 2, 0]  # what is the same for all is so for these, too
        two, three = (_returned(rec, torch.tensor(rows), finished) for rows in ([0, 1], other))
        found = {
            key: small_answer(two[key], three[key], call.same) for key, call in finished.items()
        }
        bad = {key for key, answer in found.items() if answer is None}
        if not bad:
            return {key: answer for key, answer in found.items() if answer is not None}
        opaque |= bad


def _returned(rec: Recording, rows: Tensor, calls: Mapping[Key, Call]) -> dict[Key, Any]:
    seen: dict[Key, Any] = {}

    def keep(key: Key, value: Any) -> None:
        seen[key] = tree_map_only(Tensor, lambda t: t.detach().clone(), value)

    watch(lambda: rec.call(rec.rows(rows)), calls, keep)
    if len(seen) < len(calls):
        raise ReplayError("the model calls other layers for other samples")
    return seen


def _recorded_leaves(
    rec: Recording, calls: Sequence[Call], small: Mapping[Key, Answer]
) -> dict[Leaf, Table]:
    """Leaves that the recording has already: no second copy is made of those on the CPU."""
    known: dict[Leaf, Table] = {}
    for site in rec.units.sites:
        at = moments(rec.model, calls, site)
        layer = next(iter(at), None)
        if layer is None or site.io != "output" or site.output is not None or site.call == "all":
            continue
        if (site.basis, site.heads, site.positions) != (None,) * 3 or site.unit_dim is None:
            continue
        call = next(c for c in calls if c.end == at[layer])
        answer = small.get(call.key)
        if answer is None or len(answer.leaves) != 1 or not isinstance(answer.leaves[0], Table):
            continue
        shape = answer.leaves[0].values.shape
        if answer.leaves[0].dim or answer.leaves[0].per > 1:
            continue
        values = rec[site.name]
        axes = [size for d, size in enumerate(shape) if d not in (0, site.unit_dim)]
        values = values.reshape(*values.shape[:2], *axes).movedim(1, site.unit_dim)
        known[call.key, 0] = Table(values.to(rec.device), 0, 1)
    return known


def _filled(
    rec: Recording, calls: Sequence[Call], missing: Mapping[Leaf, Table | Tensor]
) -> dict[Leaf, Table]:
    if not missing:
        return {}
    small = [leaf for leaf in missing.values() if isinstance(leaf, Table)]
    need = sum(table.values[0].nbytes for table in small) * len(rec)
    if need > 0.5 * free_bytes(rec.device):
        raise ReplayError(f"its activations would take {need / 2**30:.1f} GiB of memory")
    keys = {key for key, _ in missing}
    wanted = {call.key: call for call in calls if call.key in keys}

    def run(rows: slice, keep: Any) -> None:
        watch(lambda: rec.call(rec.rows(rows)), wanted, keep)

    return fill_tables(missing, run, list(rec.batches()), rec.device)


def differing_sites(replay: Replay) -> list[str]:
    """Names of what a replay without any change gets different from the recording.

    Samples are taken out of order and at most half of them, so that a layer that kept something
    from its last batch, or that mixes the samples of one, is found out.
    """
    rec = replay.rec
    rows = np.random.default_rng(0).permutation(len(rec))
    rows = rows[: max(2, min(32, len(rec) // 2))]
    seen: dict[str, list[Tensor]] = {}
    live = {site.name: replay.live_moments(site) for site in rec.units.sites}
    sites = [site for site in rec.units.sites if live[site.name]]
    index = torch.as_tensor(rows, device=rec.device)
    output = rec.output(replay.attempt(index, keepers(sites, seen))).cpu()
    output, kept = (x.reshape(len(rows), -1) for x in (output, rec.outputs[rows]))
    wrong = [] if alike(output, kept) else ["the model's output"]
    for site in sites:
        if len(seen.get(site.name, [])) < len(live[site.name]):
            raise ReplayError(f"layer {site.name!r} was not reached")
        found = with_upstream(seen[site.name], rec[site.name], torch.from_numpy(rows))
        if not alike(found, rec[site.name][rows]):
            wrong.append(repr(site.name))
    return wrong


def with_upstream(calls: Sequence[Tensor] | None, recorded: Tensor, index: Tensor) -> Tensor:
    """What was seen in a layer's live calls (None: there are none) for some samples, and before it
    what was `recorded` at the positions that lie upstream of every edit."""
    live = joined_calls(calls) if calls else None
    if live is not None and live.shape[1:] == recorded.shape[1:]:
        return live
    normal = recorded.index_select(0, index.cpu())
    if live is None:
        return normal
    live = live[:, :, None] if live.ndim == 2 else live
    return torch.cat([normal[:, :, : normal.shape[2] - live.shape[2]], live], 2)
