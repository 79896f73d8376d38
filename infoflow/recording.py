"""One pass over the data: what every unit did on every sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from infoflow._arguments import door, given, instance, texts
from infoflow._inputs import (
    Inputs,
    argument_names,
    check_data,
    collect,
    device_of,
)
from infoflow._notebook import recording_card, recording_text
from infoflow._outputs import Loss, Output, OutputLike, call_model, chosen_output
from infoflow._padding import MaskLike, Padding, find_padding, outputs_for_fewer
from infoflow._passes import Looked, bases_by_site, batches_of, dry_run, run_all, units_of
from infoflow._refusals import (
    explained_types,
    refuse_model,
    refuse_samples_as_steps,
    say_where_fast_path_differs,
)
from infoflow._restored import about_network, restored
from infoflow._safety import Snapshot, evaluating
from infoflow._shapes import Float, shaped
from infoflow._storage import Store, Stored, room_for
from infoflow._unchanged import Unchanged, fingerprint, state
from infoflow.basis import BasisLike
from infoflow.discovery import aliases_of, named_sites, with_known_axes
from infoflow.saving import Absent, Saved
from infoflow.site import Site
from infoflow.units import UnitSpace

if TYPE_CHECKING:
    import pandas as pd

Kept = TypeVar("Kept")


class _Filled(dict[str, Tensor]):
    """Activations by layer, padded positions filled (see `Recording.filled`)."""


@dataclass(frozen=True, eq=False, repr=False)
class Recording(Saved):
    """Activations of some layers of a model over a data set, with what is needed to run it again.

    Attributes:
        model: The model itself, as it was given.
        units: The recorded units as one flat list.
        activations: Per site name, `(K, units)` or `(K, units, positions)`, on the CPU.
        inputs: The model's arguments, each `(K, ...)`, on the CPU.
        keywords: The name under which each of them is passed; None: by its place.
        targets: `(K, ...)` or None.
        loss: `loss(outputs, targets)`, or None.
        outputs: The model's output `(K, ...)` on the CPU; above 2^24 numbers run again.
        output: Which tensor of what the model returns that is: `rec.output(rec.call(args))`.
        batch_size: Rows per forward pass.
        device: Where forward passes run.
        padding: Which positions are no data; None: all are. `rec.padding.mask` is `(K, T)`.
        versions: Fingerprint of the model and the data, to notice a change since; without what the
            model's own passes change in evaluation mode, such as a count of calls.
        steps: By site, the machine epsilon of the coarsest type on the way to it: values there may
            differ by some of these without meaning anything.
        cache: What later stages keep with it: one object of each type (see `kept`).
        stored: The files that the activations are read from; None: they are in memory.
    """

    model: nn.Module
    units: UnitSpace
    activations: Mapping[str, Tensor]
    inputs: tuple[Tensor, ...]
    keywords: tuple[str | None, ...]
    targets: Tensor | None
    loss: Loss | None
    outputs: Tensor
    output: Output
    batch_size: int
    device: torch.device
    padding: Padding | None = None
    versions: Mapping[tuple[Any, ...], Any] = field(default_factory=dict)
    steps: Mapping[str, float] = field(default_factory=dict)
    cache: dict[type, object] = field(default_factory=dict)
    stored: Stored | None = None

    def __getstate__(self) -> dict[str, Any]:
        # a copy has tensors and layers of its own: what is known by identity does not hold there
        return {**vars(self), "versions": {}, "cache": {}}

    def __getitem__(self, layer: str) -> Tensor:
        if self.stored is not None:
            self.stored.check()
        return self.activations[self.units.site(layer).name]

    def __len__(self) -> int:
        """Number of samples, K."""
        return len(self.inputs[0])

    @shaped
    def matrix(
        self, layers: str | Sequence[str] | None = None
    ) -> Float[np.ndarray, "samples units"]:
        """Activations `(K, n)` float64 of one layer, several, or all; real positions averaged."""
        named = self.units.layers if layers is None else texts("layers", layers)
        names = [named] if isinstance(named, str) else named
        blocks = []
        for name in names:
            parts = (self.filled(name, rows=rows).double() for rows in self.batches())
            blocks.append(torch.cat([h if h.ndim == 2 else h.mean(2) for h in parts]))
        return torch.cat(blocks, 1).numpy()

    def filled(self, layer: str, values: Tensor | None = None, rows: Any = slice(None)) -> Tensor:
        """Activations of a layer, as recorded or as found on some rows, with padded positions at
        the mean of the sample's real ones, so that a mean over all is a mean over these."""
        layer = self.units.site(layer).name
        if self.padding is None or layer not in self.padding.of_sites:
            return self[layer][rows] if values is None else values
        if values is not None or self.stored is not None:  # of files no filled copy is kept
            values = self[layer][rows] if values is None else values
            return self.padding.filled(layer, values, rows)
        kept = self.kept(_Filled)
        if layer not in kept:
            kept[layer] = self.padding.filled(layer, self[layer])
        return kept[layer][rows]

    def real(self, layer: str, rows: Any = slice(None)) -> Tensor | None:
        """`(rows, positions)` bool, False where a position is padding; None: none is."""
        if self.padding is None:
            return None
        return self.padding.real(self.units.site(layer).name, self[layer][0, 0].numel(), rows)

    def real_outputs(self, values: Tensor, rows: Any) -> Tensor:
        """Outputs of those rows, zero at padded positions."""
        return values if self.padding is None else self.padding.outputs(values, rows)

    def rows(self, index: Tensor | np.ndarray | slice) -> tuple[Tensor, ...]:
        """The model's arguments for those samples, on the device: copies, since a model may work
        in place on what it is given."""
        if isinstance(index, Tensor):
            return tuple(x.index_select(0, index.to(x.device)).to(self.device) for x in self.inputs)
        view = isinstance(index, slice)
        return tuple(x[index].to(self.device, copy=view) for x in self.inputs)

    def call(self, args: Sequence[Any]) -> Any:
        """What the model returns for arguments in the order of `inputs`, such as `rows` gives."""
        return call_model(self.model, args, self.keywords)

    def kept(self, kind: type[Kept]) -> Kept:
        """What a later stage keeps with this recording: one object of each kind, made empty."""
        found = self.cache.get(kind)
        if not isinstance(found, kind):
            found = self.cache[kind] = kind()
        return found

    def check_current(self, *, running: bool = True) -> None:
        """Before the model is run, or its activations are used.

        Raises:
            RuntimeError: Model or data were changed since, or the model to run was not loaded.
        """
        if running and isinstance(self.model, Absent):
            self.model()
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

    def snapshot(self) -> Snapshot:
        """What passes of the model put back after them."""
        kept = self.cache.get(Unchanged)
        return Snapshot(self.model, known=kept.attributes if isinstance(kept, Unchanged) else None)

    def batches(self) -> Iterator[slice]:
        """Consecutive row ranges that cover the data set."""
        yield from batches_of(len(self), self.batch_size)

    def to_frame(self) -> pd.DataFrame:
        """One row a sample, one column a unit (`layer.index`); positions averaged."""
        import pandas as pd

        table = self.units.table
        columns = [f"{a}.{b}" for a, b in zip(table["layer"], table["index"], strict=True)]
        return pd.DataFrame(self.matrix(), columns=columns)

    def saved_about(self) -> dict[str, Any]:
        """What a saved recording says about its network and loss."""
        return about_network(self.model, self.loss, self.inputs, self.versions)

    restored = classmethod(restored)

    __repr__, _repr_html_ = recording_text, recording_card


@door(layers=given, store=instance((Store, str, Path), "a folder or a Store", none=True))
@torch.inference_mode(False)  # what is recorded is differentiated later
def record(
    model: nn.Module,
    layers: str | Site | Sequence[str | Site],
    inputs: Inputs,
    targets: Any = None,
    *,
    loss: Loss | None = None,
    loss_of: Literal["output", "raw"] = "output",
    output: OutputLike = None,
    mask: MaskLike = None,
    batch_size: int = 512,
    device: torch.device | str | None = None,
    basis: BasisLike | Mapping[str, BasisLike] | None = None,
    store: Store | str | Path | None = None,
    progress: bool = False,
) -> Recording:
    """Run `model` over `inputs` once, in evaluation mode, and keep what the units of `layers` did.

    The model leaves as it came: mode, gradients, hooks and random state, also after an exception.

    Args:
        model: Any module. Layers after dropout are seen as in
            evaluation: dropout does nothing.
        layers: Dotted names, patterns of them (`"transformer.h.*.mlp.act"`) or `Site` objects;
            `infoflow.sites(model, inputs)` lists what there is. The units of a layer are its
            output features or channels; further dimensions (pixels, tokens) are positions.
        inputs: A tensor, array or nested list `(K, ...)`; a tuple of these for several arguments;
            a mapping (also a Hugging Face `BatchEncoding`), passed by keyword, its entries that
            are None left out; a tuple that ends in such a mapping; or a `DataLoader` (or another
            iterable) of any of them. Floats that are no tensor yet get the model's type.
        targets: `(K, ...)`, needed for the loss Hessian. Unless they are given, the last entry of
            a loader's tuples is the targets, and so is an entry `labels`, `label`, `targets` or
            `target` of a mapping, which the model then does not get (except where its `forward`
            cannot do without): a Hugging Face model would compute a loss of its own.
        loss: `loss(outputs, targets)`, for example `torch.nn.functional.cross_entropy`.
        loss_of: "raw": the loss takes what the model returns, of which it can use the output
            (`lambda out, y: cross_entropy(out.logits, y)`); all else in it is refused.
        output: What the model's output is, where it returns no tensor: a key or attribute
            (`"pooler_output"`), an index, or a function from what it returns to a tensor
            (`lambda both: torch.cat(both, 1)` for two heads). None: the only tensor, or `logits`,
            else `last_hidden_state` or the first of a tuple, which is said.
        mask: `(K, T)`, True or 1 where a position of the sites with T positions is real. Padded
            ones contribute nothing, whatever stands there, if the model does not let real ones
            see them. None: the model's argument `attention_mask`, if there is one and it fits;
            False: every position counts. Of a donor that lacks a position of the context, the
            mean over its real ones is put there.
        batch_size: Rows per forward pass. Results do not depend on it.
        device: Where to run; by default where the model's parameters are.
        basis: Directions as units: "pca" (principal directions of the activations), "random" (a
            random rotation), a matrix `(directions, units)`, or a function from `(samples, units)`
            activations to such a matrix; for all layers, or `{layer: basis}`. An intervention on
            a direction replaces that coordinate and leaves the rest of the space alone.
        store: A folder for activations of more than 1 GB, or `Store(folder, memory)`.
        progress: Show a progress bar.

    Returns:
        A `Recording`. `rec["fc1"]` is `(K, units[, positions])`.

    Raises:
        KeyError: Unknown layer (near misses are named).
        TypeError: A model that is no module; inputs that cannot be made into tensors, or that the
            model does not take, as of another floating-point type; an output that is not there,
            or none that can be named.
        RuntimeError: A layer is never reached, or called several times.
        ValueError: Fewer than two samples, lengths that differ, integer inputs to a model without
            an embedding, NaN or infinite activations, a unit dimension that cannot be known, layers
            that are quantised, or that take samples for time steps; one output for a whole batch;
            a store that is too small for a batch, with a basis, or of another recording.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> rec = ifl.record(net, ["1"], torch.randn(10, 4))
        >>> rec["1"].shape, len(rec.units)
        (torch.Size([10, 3]), 3)
    """
    refuse_model(model)
    sites = named_sites(model, layers)
    aliases = aliases_of(model, layers, sites)
    bases = bases_by_site(basis, sites, aliases)
    where = device_of(model, device)
    with evaluating(model, Snapshot(model, everything=True)):
        given = collect(model, inputs, targets)
        check_data(model, given)
        batches = batches_of(len(given.tensors[0]), batch_size)
        run = partial(given.call, model, where)
        before = state(model)
        with torch.no_grad():
            with explained_types(model, given):
                looked, chosen = _settled(model, sites, run, output)
            found = looked.sites
            room = room_for(store, model, found, given.tensors, bool(bases))
            kept, outputs = run_all(model, found, run, batches, chosen, progress, room)
            first = batches[0]
            say_where_fast_path_differs(model, lambda: chosen(run(first)), lambda: outputs[first])
            after = state(model)
            names = argument_names(model, given.keywords)
            fewer = partial(outputs_for_fewer, model, given, where, chosen)
            padding = find_padding(given, names, mask, found, outputs, fewer)
    moving = {key for key, value in after.items() if before.get(key) != value}
    return Recording(
        model=model,
        units=replace(units_of(tuple(found), kept, padding, bases, looked.steps), aliases=aliases),
        activations=kept,
        inputs=given.tensors,
        keywords=given.keywords,
        targets=given.targets,
        loss=loss if loss is None or loss_of == "output" else chosen.raw_loss(loss),
        outputs=outputs,
        output=chosen,
        batch_size=batch_size,
        device=where,
        padding=padding,
        stored=room.stored,
        steps=looked.steps,
        versions={k: v for k, v in fingerprint(model, given.tensors).items() if k not in moving},
    )


def _settled(
    model: nn.Module, sites: tuple[Site, ...], run: Callable[[slice], Any], output: OutputLike
) -> tuple[Looked, Output]:
    """By passes over a few samples: what there is at the sites, and which tensor is the output."""
    refuse_samples_as_steps(model, run)
    few = partial(run, slice(0, 2))
    looked = dry_run(model, with_known_axes(model, sites, few), few)
    return looked, chosen_output(looked.raw, output)
