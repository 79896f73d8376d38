"""Build a `Replay` for a first intervened site, and try it on a few samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from infoflow._passes import joined_calls, keepers
from infoflow._replay.calls import Call, finished_calls, moments, trace_calls
from infoflow._replay.chunks import alike, free_bytes
from infoflow._replay.replay import Replay
from infoflow._replay.tables import (
    Answer,
    Key,
    Leaf,
    Noted,
    ReplayError,
    Table,
    materialised,
    small_answer,
    watch,
)
from infoflow._safety import evaluating
from infoflow._unchanged import every_layer
from infoflow._warnings import warn
from infoflow.recording import Recording


@dataclass(eq=False)
class Built:
    """A replay, or why there is none.

    Attributes:
        calls: Of a normal pass.
        first: The moment of the first intervention.
        replay: None: only full passes are right.
    """

    calls: Sequence[Call]
    first: int = -1
    replay: Replay | None = None


@dataclass(eq=False)
class Replays:
    """What replay keeps with a recording.

    Attributes:
        built: By the hooks that are on the model and the names of intervened sites; sites that are
            first at the same moment share one.
        affine: By site, the layer after it on the unchanged data set.
        limits: By site, how much rounding may move every unit; None: nothing may.
        reasons: Why full passes are run, if they are.
    """

    built: dict[Any, Built] = field(default_factory=dict)
    affine: dict[str, dict[Any, Any]] = field(default_factory=dict)
    limits: dict[str, Tensor | None] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    def give_up(self, replay: Replay, reason: str) -> None:
        """From now on full passes, wherever this replay was used; said once."""
        for found in self.built.values():
            found.replay = None if found.replay is replay else found.replay
        _warn(replay.rec, reason, _CANNOT_FOLLOW + _BEFORE)


def replay_for(rec: Recording, names: Sequence[str]) -> Replay | None:
    """The replay from the first of these sites on; None if only full passes are right.

    Built once per recording and first site. When its check fails a warning says so, once.
    """
    built = rec.kept(Replays).built
    hooks = tuple(
        (*layer._forward_hooks, -1, *layer._forward_pre_hooks) for layer in every_layer(rec.model)
    )
    key = (hooks, tuple(names))
    if key not in built:
        others = [found for (before, _), found in built.items() if before == hooks]
        with evaluating(rec.model), torch.no_grad():
            try:
                built[key] = _built(rec, names, others)
            except ReplayError as error:
                built[key] = Built(())
                _warn(rec, str(error))
    return built[key].replay


def _built(rec: Recording, names: Sequence[str], others: Sequence[Built]) -> Built:
    """What is built for these sites; shared with those of `others` that begin at one moment."""
    calls = next((found.calls for found in others if found.calls), None)
    if calls is None:
        try:
            calls = trace_calls(rec.model, rec.rows(torch.tensor([0, 1, 0])), rec.call)
        except Exception as error:
            raise ReplayError(f"its calls cannot be traced: {error}") from error
    sites = map(rec.units.site, names)
    first = min(min(moments(rec.model, calls, site).values(), default=-1) for site in sites)
    if first < 0:
        raise ReplayError("a layer is not called for every sample")
    same = next((found for found in others if found.first == first), None)
    return same or Built(calls, first, _checked(rec, calls, first))


def _checked(rec: Recording, calls: Sequence[Call], first: int) -> Replay | None:
    try:
        replay = _build(rec, calls, first)
        wrong = differing_sites(replay)
    except Exception as error:  # whatever the model does that a replay cannot: full passes can
        said = str(error) if isinstance(error, ReplayError) else f"{type(error).__name__}: {error}"
        replay, wrong = None, [said]
    if not wrong:
        return replay
    because = _OWN_FAULT if _answers_otherwise(rec) else _CANNOT_FOLLOW
    _warn(rec, f"{', '.join(wrong)}: without any intervention", because)
    return None


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
    both = (x.reshape(len(rows), -1) for x in (found, rec.outputs[rows]))
    return not alike(*both, step=max(rec.steps.values()))


def _warn(rec: Recording, reason: str, because: str = _CANNOT_FOLLOW) -> None:
    rec.kept(Replays).reasons.append(reason)
    warn(
        f"replaying {type(rec.model).__name__} from its first intervention does not give what full "
        f"passes give ({reason}): {because}; running full passes instead (slower)"
    )


def _build(rec: Recording, calls: Sequence[Call], first: int) -> Replay:
    small = _small_answers(rec, calls, first)
    read: set[Leaf] = set()
    noted = _of_leaves(small, lambda at, leaf: Noted(leaf.values, leaf.dim, leaf.per, at, read))
    trial = Replay(rec, calls, first, noted)
    sites = [(site, _look) for site in rec.units.sites if trial.live_moments(site)]
    trial.run(torch.tensor([0, 1], device=rec.device), sites)
    tables = _recorded_leaves(rec, calls, small)
    missing = {
        (key, n): leaf
        for key, answer in small.items()
        for n, leaf in enumerate(answer.leaves)
        if isinstance(leaf, Tensor) or ((key, n) in read and (key, n) not in tables)
    }
    tables |= _filled(rec, calls, missing)
    answers = _of_leaves(small, lambda at, leaf: tables.get(at, leaf.empty()))
    return Replay(rec, calls, first, answers)


def _of_leaves(
    answers: Mapping[Key, Answer], make: Callable[[Leaf, Table], Table]
) -> dict[Key, Answer]:
    """The answers with other tables."""
    return {
        key: replace(
            answer,
            leaves=tuple(
                make((key, n), leaf) if isinstance(leaf, Table) else leaf
                for n, leaf in enumerate(answer.leaves)
            ),
        )
        for key, answer in answers.items()
    }


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
    """Tables over the whole data set for leaves of which small ones are given, or the tensor that
    it was for a few samples where it has no batch.

    Raises:
        ReplayError: Too large; a layer returns values for some of a batch's samples only, or what
            has no batch differs: a few samples of which one goes through an expert look alike.
    """
    if not missing:
        return {}
    small = {at: leaf for at, leaf in missing.items() if isinstance(leaf, Table)}
    need = sum(table.values[0].nbytes for table in small.values()) * len(rec)
    if need > 0.5 * free_bytes(rec.device):
        raise ReplayError(f"its activations would take {need / 2**30:.1f} GiB of memory")
    keys = {key for key, _ in missing}
    wanted = {call.key: call for call in calls if call.key in keys}
    full = {at: table.empty(len(rec), rec.device) for at, table in small.items()}
    for rows in rec.batches():

        def keep(key: Key, value: Any, rows: slice = rows) -> None:
            for number, found in enumerate(tree_leaves(value)):
                leaf = missing.get((key, number))
                if isinstance(leaf, Table):
                    full[key, number].put(rows, found)
                elif leaf is not None and not torch.equal(found, leaf):
                    raise ReplayError("a layer that has no batch does not always return the same")

        watch(partial(rec.call, rec.rows(rows)), wanted, keep)
    return full


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
    output = rec.output(replay.run(index, keepers(sites, seen))).cpu()
    output, kept = (x.reshape(len(rows), -1) for x in (output, rec.outputs[rows]))
    wrong = [] if alike(output, kept, max(rec.steps.values())) else ["the model's output"]
    for site in sites:
        if len(seen.get(site.name, [])) < len(live[site.name]):
            raise ReplayError(f"layer {site.name!r} was not reached")
        found = with_upstream(seen[site.name], rec[site.name], torch.from_numpy(rows))
        if not alike(found, rec[site.name][rows], rec.steps[site.name]):
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
