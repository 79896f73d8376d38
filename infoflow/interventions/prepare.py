"""Build a `Replay` for a first intervened site, and try it on a few samples."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from infoflow._safety import evaluating
from infoflow.interventions.budget import free_bytes
from infoflow.interventions.calls import Call, finished_calls, moments, trace_calls
from infoflow.interventions.replay import Key, Replay, ReplayError
from infoflow.interventions.rows import materialised
from infoflow.interventions.tables import Answer, Table, fill_tables, small_answer, watch
from infoflow.recording import Recording, joined_calls, output_tensor
from infoflow.site import Site

Leaf = tuple[Key, int]


def replay_for(rec: Recording, names: Sequence[str]) -> Replay | None:
    """The replay from the first of these sites on; None if only full passes are right.

    Built once per recording and first site, kept in the recording's cache. When its check fails
    a warning says so, once.
    """
    sites = [rec.units.site(name) for name in names]
    hooks = tuple(
        (*layer._forward_hooks, -1, *layer._forward_pre_hooks) for layer in rec.model.modules()
    )
    built = rec.cache.setdefault("replays", {})
    key = (hooks, tuple(names))
    if key not in built:
        with evaluating(rec.model):
            built[key] = _first_of(rec, sites, hooks)
    return built[key]


def _first_of(rec: Recording, sites: Sequence[Site], hooks: Any) -> Replay | None:
    """The replay from the first of `sites` on; shared by all that begin there."""
    traced = rec.cache.setdefault("calls", {})
    if hooks not in traced:
        traced[hooks] = trace_calls(rec.model, rec.rows(torch.tensor([0, 1, 0])))
    calls = traced[hooks]
    first = min(min(moments(rec.model, calls, site).values()) for site in sites)
    firsts = rec.cache.setdefault("first", {})
    if (hooks, first) not in firsts:
        firsts[hooks, first] = _checked(rec, calls, first)
    return firsts[hooks, first]


def _checked(rec: Recording, calls: Sequence[Call], first: int) -> Replay | None:
    try:
        replay = _build(rec, calls, first)
        wrong = differing_sites(replay)
    except ReplayError as error:
        replay, wrong = None, [str(error)]
    if replay is None or wrong:
        warnings.warn(
            f"replaying {type(rec.model).__name__} from its first intervention does not reproduce "
            f"the recording ({', '.join(wrong)}): the model is random in evaluation mode, mixes "
            "samples of a batch, or keeps state of its own; running full passes instead (slower)",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return replay


def _build(rec: Recording, calls: Sequence[Call], first: int) -> Replay:
    small = _small_answers(rec, calls, first)
    trial = Replay(rec, calls, first, small)
    wanted: set[Leaf] = set()
    index = torch.tensor([0, 1], device=rec.device)
    sites = [(site, _look) for site in rec.units.sites if trial.live_moments(site)]
    trial.attempt(index, sites, used=lambda key, leaf: wanted.add((key, leaf)))
    known = _recorded_leaves(rec, calls, small)
    missing = {
        (key, leaf): small[key].leaves[leaf] for key, leaf in wanted if (key, leaf) not in known
    }
    tables = known | _filled(rec, calls, missing)
    answers = {
        key: Answer(
            tuple(
                tables.get((key, n), leaf.unread()) if isinstance(leaf, Table) else leaf
                for n, leaf in enumerate(answer.leaves)
            ),
            answer.spec,
        )
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
        two, three = (_returned(rec, torch.tensor(rows), finished) for rows in ([0, 1], [0, 1, 0]))
        found = {key: small_answer(two[key], three[key]) for key in finished}
        bad = {key for key, answer in found.items() if answer is None}
        if not bad:
            return {key: answer for key, answer in found.items() if answer is not None}
        opaque |= bad


def _returned(rec: Recording, rows: Tensor, calls: Mapping[Key, Call]) -> dict[Key, Any]:
    seen: dict[Key, Any] = {}

    def keep(key: Key, value: Any) -> None:
        seen[key] = tree_map_only(Tensor, lambda t: t.detach().clone(), value)

    watch(rec.model, rec.rows(rows), calls, _names(rec), keep)
    if len(seen) < len(calls):
        raise ReplayError("the model calls other layers for other samples")
    return seen


def _names(rec: Recording) -> dict[int, str]:
    return {id(layer): name for name, layer in rec.model.named_modules()}


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
        if site.basis is not None or site.heads is not None or site.unit_dim is None:
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
    rec: Recording, calls: Sequence[Call], missing: Mapping[Leaf, Table]
) -> dict[Leaf, Table]:
    if not missing:
        return {}
    need = sum(table.values[0].nbytes for table in missing.values()) * len(rec)
    if need > 0.5 * free_bytes(rec.device):
        raise ReplayError(f"its activations would take {need / 2**30:.1f} GiB of memory")
    keys = {key for key, _ in missing}
    wanted = {call.key: call for call in calls if call.key in keys}

    def run(rows: slice, keep: Any) -> None:
        watch(rec.model, rec.rows(rows), wanted, _names(rec), keep)

    return fill_tables(missing, run, list(rec.batches()), rec.device)


def differing_sites(replay: Replay, n_samples: int = 32) -> list[str]:
    """Names of what a replay without any change gets different from the recording.

    Samples are taken out of order and at most half of them, so that a layer that kept something
    from its last batch, or that mixes the samples of one, is found out.
    """
    rec = replay.rec
    rows = np.random.default_rng(0).permutation(len(rec))
    rows = rows[: max(2, min(n_samples, len(rec) // 2))]
    seen: dict[str, list[Tensor]] = {}

    def watch_site(site: Site) -> Any:
        def see(value: Any, _call: int) -> None:
            seen.setdefault(site.name, []).append(site.read(value).detach().cpu().clone())

        return site, see

    live = {site.name: replay.live_moments(site) for site in rec.units.sites}
    sites = [site for site in rec.units.sites if live[site.name]]
    index = torch.as_tensor(rows, device=rec.device)
    output = output_tensor(replay.attempt(index, [watch_site(site) for site in sites])).cpu()
    wrong = [] if _same(output, rec.outputs[rows]) else ["the model's output"]
    for site in sites:
        if len(seen.get(site.name, [])) < len(live[site.name]):
            raise ReplayError(f"layer {site.name!r} was not reached")
        found = joined_calls(seen[site.name])
        kept = rec[site.name][rows]
        kept = kept[..., kept.shape[-1] - found.shape[-1] :] if site.call == "all" else kept
        if not _same(found, kept):
            wrong.append(repr(site.name))
    return wrong


def _same(found: Tensor, kept: Tensor) -> bool:
    """Equal but for rounding: batches of another size are summed in another order."""
    if found.shape != kept.shape:
        return False
    if not kept.is_floating_point():
        return bool((found == kept).all())
    eps = torch.finfo(kept.dtype).eps
    scale = float(kept.double().abs().max()) if kept.numel() else 0.0
    return bool(((found.double() - kept.double()).abs() <= 1e3 * eps * max(scale, 1e-30)).all())
