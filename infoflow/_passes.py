"""Passes of a model over a data set, and what its sites gave in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from infoflow._hooks import CallFunction, call_hooks, layer_at, removed_after
from infoflow._memory import Room
from infoflow._outputs import Output
from infoflow._padding import Padding
from infoflow._safety import evaluating
from infoflow._storage import FEW_OUTPUTS, Kept, Recomputed
from infoflow.basis import BasisLike, make_basis
from infoflow.rounding import constant_units
from infoflow.site import Site
from infoflow.units import UnitSpace, unknown_name

_PART = 2**19  # numbers that are looked at together


def batches_of(count: int, size: int) -> list[slice]:
    """Consecutive row ranges that cover so many samples."""
    return [slice(k, min(k + size, count)) for k in range(0, count, size)]


@dataclass(frozen=True)
class Looked:
    """What a pass over few samples tells.

    Attributes:
        sites: The sites with their unit dimensions, and how many positions there are at each.
        steps: By site, the machine epsilon of the coarsest type that a layer returned before it:
            a number in double precision that was computed from single ones is rounded like these.
        raw: What the model returned.
    """

    sites: Mapping[Site, int]
    steps: Mapping[str, float]
    raw: Any


def dry_run(model: nn.Module, sites: tuple[Site, ...], run: Callable[[], Any]) -> Looked:
    """A pass over few samples."""
    found: dict[Site, Site] = {}
    steps: dict[str, float] = {}
    coarsest = [0.0]

    def returned(_layer: nn.Module, _args: Any, value: Any) -> None:
        coarsest[0] = max([coarsest[0], *map(_step, tree_leaves(value))])

    taken: dict[Site, tuple[int, ...]] = {}
    counts: dict[Site, int] = {}

    def look_at(site: Site) -> tuple[Site, CallFunction]:
        layer = layer_at(model, site.path)

        def look(value: Any, _call: int) -> None:
            found[site] = site.resolved(layer, value)
            tensor = site.tensor(value)
            steps[site.name] = max(coarsest[0], _step(tensor))
            taken[site] = found[site].places(tensor)
            # of a layer that is taken over its calls, each is a position or several
            per_call = len(replace(found[site], positions=None).places(tensor))
            each = max(per_call, 1) if site.call == "all" else per_call
            counts[site] = counts.get(site, 0) + each

        return site, look

    every = (m for m in model.modules() if not isinstance(m, torch.jit.ScriptModule))
    with (
        removed_after(layer.register_forward_hook(returned) for layer in every),
        call_hooks(model, [look_at(site) for site in sites]) as check,
    ):
        raw = run()
        check()
    _check_apart(taken)
    return Looked({found[site]: counts[site] for site in sites}, steps, raw)


def _step(value: Any) -> float:
    floating = isinstance(value, Tensor) and value.is_floating_point()
    return torch.finfo(value.dtype).eps if floating else 0.0


def _check_apart(taken: Mapping[Site, tuple[int, ...]]) -> None:
    for one, two in combinations(taken, 2):
        same = (one.path, one.io, one.output, one.call) == (two.path, two.io, two.output, two.call)
        if same and set(taken[one]) & set(taken[two]):
            raise ValueError(
                f"{one.name!r} and {two.name!r} are the same units at the same positions: record "
                "each once"
            )


def keepers(
    sites: Iterable[Site], seen: dict[str, list[Tensor]]
) -> list[tuple[Site, CallFunction]]:
    """For `call_hooks`: every call's activations go into `seen`, by site, on the CPU."""

    def keep(site: Site) -> tuple[Site, CallFunction]:
        def see(value: Any, _call: int) -> None:
            # cloned at once: a later in-place operation would change the tensor behind our back
            seen.setdefault(site.name, []).append(site.read(value).detach().cpu().clone())

        return site, see

    return [keep(site) for site in sites]


def run_all(
    model: nn.Module,
    sites: Iterable[Site],
    run: Callable[[slice], Any],
    batches: Sequence[slice],
    output: Output,
    progress: bool,
    kept: Kept | None = None,
) -> tuple[dict[str, Tensor], Tensor]:
    """Every site's activations, and the outputs, on the CPU; `run` makes a pass over some rows,
    and `kept` says where activations go."""
    sites, count, there = tuple(sites), batches[-1].stop, 0
    kept = kept or Kept(count)
    seen: dict[str, list[Tensor]] = {}
    first: dict[str, Tensor] = {}
    outputs: list[Tensor] = []
    again: Recomputed | None = None
    room = Room()
    with call_hooks(model, keepers(sites, seen)) as check, closing(kept):

        def look(rows: slice) -> tuple[dict[str, Tensor], Tensor]:
            seen.clear()  # where memory ran out on the way
            check.restart()
            value = run(rows)
            check()
            parts = _parts(sites, seen, rows, first)
            return parts, _with_rows(output(value)).detach().cpu()

        some = (batch for batch in show_progress(batches, progress, "record") if batch.stop > there)
        for rows, (parts, found) in (part for batch in some for part in room.parts(look, batch)):
            if not first:
                first, there = parts, kept.begin(parts, batches[0].stop)
                if there or found[0].numel() * count > FEW_OUTPUTS:
                    again = Recomputed(partial(_outputs, model, run, output), found, count, batches)
            if rows.start >= there:
                kept.put(rows, parts)
            if again is None:
                outputs.append(found.clone())
        # it stands for a tensor of which rows are taken
        return kept.finished(), torch.cat(outputs) if again is None else cast("Tensor", again)


def _parts(
    sites: Sequence[Site], seen: dict[str, list[Tensor]], rows: slice, first: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    parts = {}
    for site in sites:
        calls = seen.pop(site.name)
        _check_rows(site, {len(call) for call in calls}, rows.stop - rows.start)
        parts[site.name] = joined_calls(calls)
        _check_same_length(site, first.get(site.name, parts[site.name]), parts[site.name])
    return parts


def _outputs(model: nn.Module, run: Callable[[slice], Any], output: Output, rows: slice) -> Tensor:
    with evaluating(model), torch.no_grad():
        return output(run(rows)).detach().cpu()


def _with_rows(output: Tensor) -> Tensor:
    if output.ndim == 0:
        raise ValueError(
            "the model's output is a single number for a whole batch, so that no sample has an "
            "output of its own: let it return one for each sample (a loss belongs into "
            "record(..., loss=...)), or name another with output="
        )
    return output


def units_of(
    sites: tuple[Site, ...],
    kept: dict[str, Tensor],
    padding: Padding | None,
    bases: Mapping[str, BasisLike],
    steps: Mapping[str, float],
) -> UnitSpace:
    """The units at the sites; where they are directions, `kept` gets their coordinates."""
    found, unused = [], []
    for site in sites:
        values = kept[site.name]
        for part in _real(site, values, padding):
            _check_finite(site.name, part)
        real: Iterable[Tensor] = _real(site, values, padding)
        if site.name in bases:
            only = None if padding is None else padding.real(site.name, values[0, 0].numel())
            samples = values if only is None else values.movedim(1, -1)[only]
            made = make_basis(bases[site.name], samples)
            whole = values if padding is None else padding.filled(site.name, values)
            kept[site.name], real = made.coordinates(values), [made.coordinates(whole)]
            site = replace(site, basis=made)
        found.append(site)
        unused.append(constant_units(real, rotated=site.basis is not None, step=steps[site.name]))
    sizes = tuple(kept[site.name].shape[1] for site in found)
    return UnitSpace(tuple(found), sizes, np.concatenate(unused))


def _real(site: Site, values: Tensor, padding: Padding | None) -> Iterator[Tensor]:
    """Some rows after others, padded positions filled: never all of a recording at once."""
    for rows in batches_of(len(values), max(_PART // max(values[0].numel(), 1), 1)):
        yield values[rows] if padding is None else padding.filled(site.name, values[rows], rows)


def joined_calls(calls: Sequence[Tensor]) -> Tensor:
    """Activations of one or several calls of a layer as `(batch, units[, positions])`.

    Several calls are positions: call 0's positions first, then call 1's.
    """
    if len(calls) == 1:
        return calls[0]
    return torch.stack(tuple(calls), 2).flatten(2) if calls[0].ndim == 2 else torch.cat([*calls], 2)


def _check_rows(site: Site, got: set[int], expected: int) -> None:
    if got != {expected}:
        raise ValueError(
            f"layer {site.path!r} returned {max(got - {expected})} rows along dimension 0 for a "
            f"batch of {expected}: dimension 0 of a site must be the batch (set batch_first=True, "
            "or move the batch dimension in front)"
        )


def _check_same_length(site: Site, one: Tensor, other: Tensor) -> None:
    first, last = (tuple(part.shape[1:]) for part in (one, other))
    if first != last:
        raise ValueError(
            f"layer {site.path!r} gave {first} (units, positions) in one batch and {last} in "
            "another: inputs must all have the same length"
        )


def _check_finite(name: str, values: Tensor) -> None:
    if values.is_complex():
        raise ValueError(
            f"layer {name!r} has complex activations, expected real ones: record a layer that "
            "takes their real part or size"
        )
    if values.dtype == torch.bool:
        raise ValueError(
            f"layer {name!r} has boolean activations, expected numbers: record a layer around it"
        )
    bad = ~torch.isfinite(values)
    if bad.any():
        units = bad.transpose(0, 1).flatten(1).any(1).nonzero().ravel().tolist()
        raise ValueError(
            f"layer {name!r} has NaN or infinite activations in units {units[:10]}"
            f"{'...' if len(units) > 10 else ''} on {int(bad.flatten(1).any(1).sum())} samples; "
            "check the inputs' scale and the trained weights"
        )


def show_progress(items: Iterable[Any], progress: bool, label: str) -> Iterable[Any]:
    """`items` behind a progress bar, or as they are."""
    if not progress:
        return items
    from tqdm.auto import tqdm

    return tqdm(items, desc=label, leave=False)


def bases_by_site(
    basis: BasisLike | Mapping[str, BasisLike] | None,
    sites: tuple[Site, ...],
    aliases: Mapping[str, str],
) -> Mapping[str, BasisLike]:
    """The basis asked for at each site, by its name.

    Raises:
        KeyError: A layer that is not recorded.
        ValueError: One layer under two names.
    """
    if basis is None:
        return {}
    if not isinstance(basis, Mapping):
        return {site.name: basis for site in sites}
    names = [site.name for site in sites]
    found: dict[str, BasisLike] = {aliases.get(n, n): given for n, given in basis.items()}
    for name in found:
        if name not in names:
            raise KeyError(unknown_name("layer of the basis", name, [*names, *aliases]))
    if len(found) < len(basis):
        raise ValueError(f"a layer of the basis is named more than once: {list(basis)}")
    return found
