"""do(): set units to chosen values while the model runs, and see what follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from infoflow._hooks import SiteFunction, checked_passes, evaluating, layer_at, site_hooks
from infoflow.record import Recording, show_progress
from infoflow.units import Site, UnitsLike


@contextmanager
def do(
    model: nn.Module, interventions: Mapping[str | Site, tuple[Any, Any]]
) -> Iterator[nn.Module]:
    """Inside, the named units take the given values whenever the model runs.

    The operator do(H_units = values) of causal inference: whatever the units would have computed
    is replaced, everything downstream follows. Outside, the model is as it was.

    Args:
        model: The model.
        interventions: `{layer: (units, values)}`. `units` are indices within the layer; `values`
            a scalar, `(u,)`, `(batch, u)` or `(batch, u, positions)`.

    Raises:
        KeyError: Unknown layer.
        ValueError: Units out of range or values of another shape, at the forward pass.
        RuntimeError: A pass of the model did not call a layer exactly once.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
        >>> with torch.no_grad(), ifl.do(net, {"1": ([0, 1, 2], 0.0)}):
        ...     bool((net(torch.randn(5, 2)) == net[2].bias).all())
        True
    """

    def setter(site: Site, units: Any, values: Any) -> SiteFunction:
        layer = layer_at(model, site.path)
        index = torch.atleast_1d(torch.as_tensor(np.array(units), dtype=torch.long))

        def set_units(value: Any) -> Any:
            resolved = site.resolved(layer, value)
            size = resolved.tensor(value).shape[resolved.unit_dim or 0]
            if len(index) and (index.min() < -size or index.max() >= size):
                raise ValueError(
                    f"layer {site.path!r} has {size} units, asked to set {index.tolist()}"
                )
            return resolved.write(value, index, torch.as_tensor(values))

        return set_units

    functions = {}
    for layer, (units, values) in interventions.items():
        site = layer if isinstance(layer, Site) else Site(layer)
        functions[site] = setter(site, units, values)
    with checked_passes(model, functions):
        yield model


def counterfactual(
    rec: Recording,
    source: UnitsLike,
    *,
    observe: str,
    seed: int = 0,
    progress: bool = False,
) -> Tensor:
    """One pass over the data set with the source's tie to the input broken.

    Every sample runs with the source units set to what they were on another sample, drawn by one
    permutation of the whole data set; all source units, in whatever layers, take their values
    from the same donor.

    Args:
        rec: A recording.
        source: Flat unit indices, or `{layer: indices}`.
        observe: The layer whose activations to return.
        seed: Seed of the permutation.
        progress: Show a progress bar.

    Returns:
        Activations of `observe`, `(K, units[, positions])`, row k being context k.

    Raises:
        KeyError: `observe` was not recorded.
        ValueError: Source units empty, repeated or out of range.

    Source: "yardstick for modularity", section on counterfactual passes.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> rec = ifl.record(net, ["1", "2"], torch.randn(10, 4))
        >>> ifl.counterfactual(rec, {"1": [0]}, observe="2").shape
        torch.Size([10, 2])
    """
    rec.units.site(observe)
    donors = np.random.default_rng(seed).permutation(len(rec))
    runs = resample(rec, source, donors, np.arange(len(rec)), [observe], progress=progress)
    return torch.cat([seen[observe] for _, seen in runs])


def resample(
    rec: Recording,
    source: UnitsLike,
    donors: np.ndarray,
    contexts: np.ndarray,
    observe: Sequence[str],
    *,
    progress: bool = False,
) -> Iterator[tuple[slice, dict[str, Tensor]]]:
    """Run context row `contexts[r]` with the source units at their values on row `donors[r]`.

    Args:
        rec: A recording.
        source: The units to set, in every layer they lie in, from the same donor: units of the
            source downstream of others keep the donor's values, so nothing leaks through them.
        donors: `(R,)` rows of the data set.
        contexts: `(R,)` rows of the data set.
        observe: Names of recorded layers.
        progress: Show a progress bar.

    Yields:
        A range of rows of the R runs and, per observed layer, `(rows, units[, positions])` on the
        CPU. Nothing of size R is ever held.

    Raises:
        KeyError: A layer that was not recorded.
        ValueError: Source units empty, repeated or out of range; donors and contexts that differ
            in number or are no rows of the data set.
    """
    by_layer = rec.units.by_layer(source)
    for name in observe:
        rec.units.site(name)
    donors, contexts = _row_lists(rec, donors, contexts)
    seen: dict[str, Tensor] = {}
    rows = slice(0, 0)

    def function_at(name: str) -> SiteFunction:
        site = rec.units.site(name)
        inside = by_layer.get(name)
        index = None if inside is None else torch.as_tensor(inside, device=rec.device)

        def act(value: Any) -> Any:
            if index is not None:
                picked = rec[name][torch.as_tensor(donors[rows])]
                value = site.write(value, index, picked[:, inside].to(rec.device))
            if name in observe:
                seen[name] = site.read(value).detach().cpu().clone()
            return value if index is not None else None

        return act

    names = [name for name in rec.units.layers if name in by_layer or name in observe]
    functions = {rec.units.site(name): function_at(name) for name in names}
    starts = show_progress(range(0, len(donors), rec.batch_size), progress, "counterfactual")
    with evaluating(rec.model), site_hooks(rec.model, functions) as check:
        for start in starts:
            rows = slice(start, min(start + rec.batch_size, len(donors)))
            with torch.no_grad():
                rec.model(*rec.rows(torch.as_tensor(contexts[rows])))
            check()
            yield rows, dict(seen)


def _row_lists(
    rec: Recording, donors: np.ndarray, contexts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    donors, contexts = np.asarray(donors), np.asarray(contexts)
    if len(donors) != len(contexts):
        raise ValueError(
            f"expected one context per donor: {len(donors)} donors, {len(contexts)} contexts"
        )
    for what, rows in (("donors", donors), ("contexts", contexts)):
        if len(rows) and (rows.min() < 0 or rows.max() >= len(rec)):
            raise ValueError(
                f"expected {what} among the {len(rec)} samples, got rows {rows.min()} to "
                f"{rows.max()}"
            )
    return donors, contexts
