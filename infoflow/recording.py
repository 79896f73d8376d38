"""One pass over the data: what every unit did on every sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from infoflow._hooks import CallFunction, call_hooks, layer_at
from infoflow._inputs import Inputs, check_batch_size, check_data, collect, device_of
from infoflow._safety import Snapshot, Unchanged, evaluating, fingerprint, state
from infoflow.basis import BasisLike, make_basis
from infoflow.discovery import named_sites, with_known_axes
from infoflow.rounding import constant_units
from infoflow.site import Site
from infoflow.units import UnitSpace, unknown_name

if TYPE_CHECKING:
    import pandas as pd

Loss = Callable[[Tensor, Tensor], Tensor]
Kept = TypeVar("Kept")


@dataclass(frozen=True, eq=False, repr=False)
class Recording:
    """Activations of some layers of a model over a data set, with what is needed to run it again.

    Attributes:
        model: The model itself, as it was given.
        units: The recorded units as one flat list.
        activations: Per site name, `(K, units)` or `(K, units, positions)`, on the CPU.
        inputs: The model's arguments, each `(K, ...)`, on the CPU.
        targets: `(K, ...)` or None.
        loss: `loss(outputs, targets)`, as given to `record`, or None.
        outputs: The model's output `(K, ...)` on the CPU.
        batch_size: Rows per forward pass.
        device: Where forward passes run.
        versions: Fingerprint of the model and the data, to notice a change since; without what the
            model's own passes change in evaluation mode, such as a count of calls.
        cache: What later stages computed from the recording and keep with it.
    """

    model: nn.Module
    units: UnitSpace
    activations: Mapping[str, Tensor]
    inputs: tuple[Tensor, ...]
    targets: Tensor | None
    loss: Loss | None
    outputs: Tensor
    batch_size: int
    device: torch.device
    versions: Mapping[tuple[Any, ...], Any] = field(default_factory=dict)
    cache: dict[Any, Any] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        # a copy has tensors and layers of its own: what is known by identity does not hold there
        return {**vars(self), "versions": {}, "cache": {}}

    def __getitem__(self, layer: str) -> Tensor:
        self.units.site(layer)
        return self.activations[layer]

    def __len__(self) -> int:
        """Number of samples, K."""
        return len(self.inputs[0])

    def matrix(self, layers: str | Sequence[str] | None = None) -> np.ndarray:
        """Activations `(K, n)` float64 of one layer, several, or all; positions averaged."""
        names = self.units.layers if layers is None else layers
        names = [names] if isinstance(names, str) else list(names)
        blocks = []
        for name in names:
            block = self[name].double()
            blocks.append(block if block.ndim == 2 else block.mean(2))
        return torch.cat(blocks, 1).numpy()

    def rows(self, index: Tensor | np.ndarray | slice) -> tuple[Tensor, ...]:
        """The model's arguments for those samples, on the device: copies, since a model may work
        in place on what it is given."""
        view = isinstance(index, slice)
        return tuple(x[index].to(self.device, copy=view) for x in self.inputs)

    def kept(self, kind: type[Kept]) -> Kept:
        """What a later stage keeps with this recording: one object of each kind, made empty."""
        return self.cache.setdefault(kind, kind())

    def check_current(self) -> None:
        """Raises:
        RuntimeError: The model or the data were changed since they were recorded.
        """
        if self.cache.get(Unchanged):
            return
        now = fingerprint(self.model, self.inputs) if self.versions else {}
        if any(key not in now or now[key] != value for key, value in self.versions.items()):
            raise RuntimeError(
                "the model's parameters, buffers (such as the statistics of BatchNorm), layers or "
                "the inputs were changed after this recording was made, so its activations are no "
                "longer the model's: record again"
            )
        self.cache[Unchanged] = Unchanged(self.model, self.inputs)

    def batches(self) -> Iterator[slice]:
        """Consecutive row ranges that cover the data set."""
        for start in range(0, len(self), self.batch_size):
            yield slice(start, min(start + self.batch_size, len(self)))

    def to_frame(self) -> pd.DataFrame:
        """One row a sample, one column a unit (`layer.index`); positions averaged."""
        import pandas as pd

        table = self.units.table
        columns = [f"{a}.{b}" for a, b in zip(table["layer"], table["index"], strict=True)]
        return pd.DataFrame(self.matrix(), columns=columns)

    def __repr__(self) -> str:
        return f"Recording({type(self.model).__name__}, {len(self)} samples, {self.units!r})"


def record(
    model: nn.Module,
    layers: str | Site | Sequence[str | Site],
    inputs: Inputs,
    targets: Tensor | None = None,
    *,
    loss: Loss | None = None,
    batch_size: int = 512,
    device: torch.device | str | None = None,
    basis: BasisLike | Mapping[str, BasisLike] | None = None,
    progress: bool = False,
) -> Recording:
    """Run `model` over `inputs` once, in evaluation mode, and keep what the units of `layers` did.

    The model leaves as it came: mode, gradients, hooks and random state, also after an exception.

    Args:
        model: Any module called as `model(*inputs)`. Layers after dropout are seen as in
            evaluation: dropout does nothing.
        layers: Dotted names, patterns of them (`"transformer.h.*.mlp.act"`) or `Site` objects;
            `infoflow.sites(model, inputs)` lists what there is. The units of a layer are its
            output features or channels; further dimensions (pixels, tokens) are positions.
        inputs: A tensor `(K, ...)`, a tuple of them for several arguments, or a `DataLoader`. A
            loader's batches are tensors, or tuples whose last entry is the targets (unless
            `targets` is given).
        targets: `(K, ...)`, needed for the loss Hessian.
        loss: `loss(outputs, targets)`, for example `torch.nn.functional.cross_entropy`.
        batch_size: Rows per forward pass. Results do not depend on it.
        device: Where to run; by default where the model's parameters are.
        basis: Directions as units: "pca" (principal directions of the activations), "random" (a
            random rotation), a matrix `(directions, units)`, or a function from `(samples, units)`
            activations to such a matrix; for all layers, or `{layer: basis}`. An intervention on
            a direction replaces that coordinate and leaves the rest of the space alone.
        progress: Show a progress bar.

    Returns:
        A `Recording`. `rec["fc1"]` is `(K, units[, positions])`.

    Raises:
        KeyError: Unknown layer (near misses are named).
        RuntimeError: A layer is never reached, or called several times.
        ValueError: Fewer than two samples, lengths that differ, integer inputs to a model without
            an embedding, NaN or infinite activations, a unit dimension that cannot be known.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> rec = ifl.record(net, ["1"], torch.randn(10, 4))
        >>> rec["1"].shape, len(rec.units)
        (torch.Size([10, 3]), 3)
    """
    check_batch_size(batch_size)
    sites = named_sites(model, layers)
    bases = _as_bases(basis, sites)
    where = device_of(model, device)
    with evaluating(model, Snapshot(model, everything=True)):
        tensors, targets = collect(inputs, targets)
        check_data(model, tensors, targets)
        before = state(model)
        with torch.no_grad():
            few = tuple(x[:2].to(where, copy=True) for x in tensors)
            resolved = _dry_run(model, with_known_axes(model, sites, few), few)
            kept, outputs = _run(model, resolved, tensors, batch_size, where, progress)
        after = state(model)
    moving = {key for key, value in after.items() if before.get(key) != value}
    for name, values in kept.items():
        _check_finite(name, values)
    for name, kind in bases.items():
        made = make_basis(kind, kept[name])
        kept[name] = made.coordinates(kept[name])
        resolved = tuple(replace(s, basis=made) if s.name == name else s for s in resolved)
    unused = [constant_units(kept[s.name], rotated=s.basis is not None) for s in resolved]
    sizes = tuple(values.shape[1] for values in kept.values())
    return Recording(
        model=model,
        units=UnitSpace(resolved, sizes, np.concatenate(unused)),
        activations=kept,
        inputs=tensors,
        targets=targets,
        loss=loss,
        outputs=outputs,
        batch_size=batch_size,
        device=where,
        versions={k: v for k, v in fingerprint(model, tensors).items() if k not in moving},
    )


def output_tensor(value: Any) -> Tensor:
    """The tensor in a model's output: itself, its `logits`, or the first of a tuple."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, Mapping):
        if "logits" in value:
            return value["logits"]
        tensors = [v for v in value.values() if isinstance(v, Tensor)]
        if len(tensors) == 1:
            return tensors[0]
    if isinstance(value, (tuple, list)) and value and isinstance(value[0], Tensor):
        return value[0]
    raise TypeError(
        f"the model returned a {type(value).__name__} in which no single output tensor can be "
        "named; wrap it so that it returns a tensor, or a mapping with 'logits'"
    )


def _as_bases(
    basis: BasisLike | Mapping[str, BasisLike] | None, sites: tuple[Site, ...]
) -> Mapping[str, BasisLike]:
    if basis is None:
        return {}
    if not isinstance(basis, Mapping):
        return {site.name: basis for site in sites}
    names = [site.name for site in sites]
    for name in basis:
        if name not in names:
            raise KeyError(unknown_name("layer of the basis", name, names))
    return basis


def _dry_run(
    model: nn.Module, sites: tuple[Site, ...], few: tuple[Tensor, ...]
) -> tuple[Site, ...]:
    """Two samples through the model, to learn each site's shape."""
    found: dict[Site, Site] = {}

    def look_at(site: Site) -> tuple[Site, CallFunction]:
        layer = layer_at(model, site.path)

        def look(value: Any, _call: int) -> None:
            found[site] = site.resolved(layer, value)

        return site, look

    with call_hooks(model, [look_at(site) for site in sites]) as check:
        model(*few)
        check()
    return tuple(found[site] for site in sites)


def _run(
    model: nn.Module,
    sites: tuple[Site, ...],
    tensors: tuple[Tensor, ...],
    batch_size: int,
    device: torch.device,
    progress: bool,
) -> tuple[dict[str, Tensor], Tensor]:
    kept: dict[str, list[Tensor]] = {site.name: [] for site in sites}
    calls: dict[str, list[Tensor]] = {}
    outputs = []

    def keep(site: Site) -> tuple[Site, CallFunction]:
        def see(value: Any, _call: int) -> None:
            # cloned at once: a later in-place operation would change the tensor behind our back
            seen = site.read(value).detach().cpu().clone()
            _check_rows(site, len(seen), min(batch_size, len(tensors[0]) - start))
            calls.setdefault(site.name, []).append(seen)

        return site, see

    start = 0
    starts = show_progress(range(0, len(tensors[0]), batch_size), progress, "record")
    with call_hooks(model, [keep(site) for site in sites]) as check:
        for start in starts:
            value = model(*(x[start : start + batch_size].to(device, copy=True) for x in tensors))
            check()
            outputs.append(output_tensor(value).detach().cpu().clone())
            for site in sites:
                joined = joined_calls(calls.pop(site.name))
                _check_same_calls(site, joined, kept[site.name])
                kept[site.name].append(joined)
    return {name: torch.cat(parts) for name, parts in kept.items()}, torch.cat(outputs)


def joined_calls(calls: Sequence[Tensor]) -> Tensor:
    """Activations of one or several calls of a layer as `(batch, units[, positions])`.

    Several calls are positions: call 0's positions first, then call 1's.
    """
    if len(calls) == 1:
        return calls[0]
    return torch.stack(tuple(calls), 2).flatten(2) if calls[0].ndim == 2 else torch.cat([*calls], 2)


def _check_rows(site: Site, got: int, expected: int) -> None:
    if got != expected:
        raise ValueError(
            f"layer {site.path!r} returned {got} rows along dimension 0 for a batch of {expected}: "
            "dimension 0 of a site must be the batch (set batch_first=True, or move the batch "
            "dimension in front)"
        )


def _check_same_calls(site: Site, seen: Tensor, before: list[Tensor]) -> None:
    if before and seen.shape[1:] != before[0].shape[1:]:
        raise ValueError(
            f"layer {site.path!r} gave {tuple(before[0].shape[1:])} (units, positions) in one "
            f"batch and {tuple(seen.shape[1:])} in another: inputs must all have the same length"
        )


def _check_finite(name: str, values: Tensor) -> None:
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
