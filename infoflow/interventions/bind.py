"""From an intervention as data to the edit that carries it out at a site."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infoflow._arguments import numbers
from infoflow._replay.edits import (
    AddNoise,
    AlongBasis,
    Edit,
    PutValues,
    Transform,
    donor_edit,
)
from infoflow._replay.swap import make_pairs
from infoflow.basis import Basis
from infoflow.interventions.kinds import (
    Done,
    Intervention,
    Mean,
    Noise,
    Project,
    Resample,
    Scale,
    Set,
    Shuffle,
    Zero,
)
from infoflow.recording import Recording
from infoflow.units import index_array


def donors_for(kind: Resample, rec: Recording, contexts: np.ndarray) -> np.ndarray:
    """`(R,)` donor of every row.

    `Shuffle`: row r's donor is π(context r), π one permutation of the data set (within labels, if
    given). `Resample`: drawn anew for every row, with replacement.

    Raises:
        ValueError: Labels that are not one per sample.
    """
    rng = np.random.default_rng(kind.seed)
    if kind.within is None:
        if isinstance(kind, Shuffle):
            return rng.permutation(len(rec))[contexts]
        return rng.integers(len(rec), size=len(contexts))
    labels = labels_of(kind.within, rec)
    donors = np.empty(len(contexts), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rows = np.flatnonzero(labels[contexts] == label)
        if isinstance(kind, Shuffle):
            place = np.zeros(len(rec), np.int64)
            place[members] = rng.permutation(members)
            donors[rows] = place[contexts[rows]]
        else:
            donors[rows] = rng.choice(members, size=len(rows))
    return donors


def labels_of(within: Any, rec: Recording) -> np.ndarray:
    """`(K,)` the label of every sample: those given, or the recording's targets for "targets".

    Raises:
        ValueError: Labels that are not one per sample, or a recording without targets.
    """
    if isinstance(within, str):
        if within != "targets" or rec.targets is None:
            raise ValueError(
                f"within={within!r}: expected one label per sample, or 'targets' with a recording "
                "that has targets"
            )
        within = rec.targets.numpy()
    labels = np.asarray(within)
    if labels.shape != (len(rec),):
        raise ValueError(f"expected {len(rec)} labels, one per sample, got shape {labels.shape}")
    return labels


def edit_for(
    done: Done,
    where: str,
    n: int,
    device: torch.device,
    *,
    rec: Recording | None = None,
    activations: Tensor | None = None,
    contexts: np.ndarray | None = None,
) -> Edit:
    """The edit that carries out `done` at a site with `n` units.

    Args:
        done: The intervention, `(units, values)`, or a function of the activations.
        where: Name of the site.
        n: Units at the site.
        device: Where the model runs.
        rec, activations, contexts: For interventions that need the data set: the recording, the
            site's activations in it and the samples that are run.

    Raises:
        TypeError: No intervention.
        ValueError: Units out of range or repeated, or no data set where one is needed.
    """
    if isinstance(done, tuple) and len(done) == 2:
        index = _index(done[0], n, where, device)
        return PutValues(index, _values(done[1]), per_sample=True)
    if not isinstance(done, Intervention):
        if not callable(done):
            raise TypeError(
                f"expected an intervention, (units, values) or a function for layer {where!r}, "
                f"got {done!r}"
            )
        return Transform(torch.arange(n, device=device), done)
    if isinstance(done, Project):
        basis = _basis(done, n, where)
        coordinates = None if activations is None else basis.coordinates(activations)
        inner = edit_for(
            replace(done.then, units=done.units), where, len(basis), device,
            rec=rec, activations=coordinates, contexts=contexts,
        )  # fmt: skip
        return AlongBasis(basis, inner)
    index = _index(done.units, n, where, device)
    if not done.needs_data:
        return _from_nothing(done, index)
    if rec is None or activations is None or contexts is None:
        raise ValueError(
            f"{type(done).__name__} of layer {where!r} takes its values from a recorded data "
            "set: use counterfactual(recording, ...), or do(..., recording=recording)"
        )
    if isinstance(done, Mean):
        mean = _mean(activations, rec.real(where)).index_select(0, index.cpu())
        return PutValues(index, mean.to(device=index.device, dtype=activations.dtype))
    if isinstance(done, Resample):
        pairs = make_pairs(rec, donors_for(done, rec, contexts), contexts)
        return donor_edit(rec, where, index, pairs, activations)
    raise _no_rule(done)


def _from_nothing(done: Intervention, index: Tensor) -> Edit:
    if isinstance(done, Zero):
        return PutValues(index, torch.tensor(0.0))
    if isinstance(done, Set):
        return PutValues(index, _values(done.values))
    if isinstance(done, Scale):
        return Transform(index, lambda h: h * done.factor)
    if isinstance(done, Noise):
        return AddNoise(index, done.std, done.seed)
    raise _no_rule(done)


def _no_rule(done: Intervention) -> TypeError:
    return TypeError(f"no rule for {type(done).__name__}: pass a function of the activations")


def _basis(done: Project, n: int, where: str) -> Basis:
    basis = Basis(torch.tensor(done.basis, dtype=torch.float64))
    if basis.directions.shape[1] != n:
        raise ValueError(
            f"layer {where!r} has {n} units, got a basis of {basis.directions.shape[1]}"
        )
    return basis


def _mean(activations: Tensor, real: Tensor | None) -> Tensor:
    """`(units[, positions])` float64, over the samples where a position is real."""
    wide = activations.double()
    if real is None:
        return wide.mean(0)
    return (wide * real[:, None]).sum(0) / real.sum(0).clamp(min=1)


def _index(units: Any, n: int, where: str, device: torch.device) -> Tensor:
    if units is None:
        return torch.arange(n, device=device)
    return torch.as_tensor(index_array(units, n, f"layer {where!r}"), device=device)


def _values(values: Any) -> Tensor:
    if isinstance(values, Tensor) and bool(values.isfinite().all()):
        return values
    numbers("values", values)
    return torch.as_tensor(np.asarray(values))
