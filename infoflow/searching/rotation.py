"""Directions, one rotation a layer, in which two or more groups of them send each other least."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from infoflow.partition import Partition, PartitionLike, as_partition
from infoflow.recording import Recording
from infoflow.unit_similarity.jacobians import unit_jacobians

_RESOLUTION = 10.0  # noise of a direction: its spread over this, as in a code of ten bins


@dataclass(frozen=True, eq=False)
class Rotations:
    """Learned directions.

    Attributes:
        bases: `{layer: (n, n) directions as rows}`, orthonormal: what `record(basis=)` takes.
        partition: Of the directions, in the order of the recording's units.
        cut: Normalised cut of the linear flows before and after.
    """

    bases: Mapping[str, np.ndarray]
    partition: Partition
    cut: tuple[float, float]


def separating_rotations(
    rec: Recording,
    partition: PartitionLike,
    *,
    starts: Mapping[str, np.ndarray] | None = None,
    steps: int = 200,
    samples: int = 32,
    seed: int = 0,
) -> Rotations:
    """Rotate each layer so that the modules of a partition send each other least, direction by
    direction, relative to all that they send and receive (`ncut`).

    Flows are taken from the linear response: direction i with spread s_i sends direction j, whose
    noise is a tenth of its own spread, mean_k ½ log2(1 + (J_k s_i / σ_j)²) bits. They are smooth in
    the rotation, which gradient descent (Adam) turns by a skew-symmetric matrix in each layer. A
    partition says how many directions of each layer belong to which module; which ones is what the
    rotation finds. The answer has to be judged by true exchanges on fresh draws: record again with
    these bases.

    Args:
        rec: A recording of neurons, without a basis.
        partition: Of the directions that each layer begins with; nothing at -1.
        starts: `{layer: (n, n) directions}` to begin with; by default the neurons.
        steps: Of the descent.
        samples: Rows whose Jacobians are averaged.
        seed: Of these rows.

    Raises:
        ValueError: A recording with a basis, fewer than two modules, directions left out, or
            layers of which none moves another.

    Examples:
        >>> import infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh(), torch.nn.Linear(4, 4))
        >>> rec = ifl.record(net, ["0", "2"], torch.randn(60, 4))
        >>> found = separating_rotations(rec, [0, 0, 1, 1] * 2, steps=30)
        >>> found.cut[1] < found.cut[0], found.bases["0"].shape
        (True, (4, 4))
    """
    labels = _checked(rec, partition)
    jacobians = torch.from_numpy(unit_jacobians(rec, samples, seed))
    if not jacobians.any():
        raise ValueError(
            f"none of the layers {list(rec.units.layers)} moves another: nothing flows"
        )
    covariance = torch.from_numpy(np.atleast_2d(np.cov(rec.matrix().T)))
    sizes = list(rec.units.sizes)
    first = [_start(rec, name, starts) for name in rec.units.layers]
    turns = [torch.zeros(n, n, dtype=torch.float64, requires_grad=True) for n in sizes]
    member = torch.nn.functional.one_hot(torch.tensor(labels)).double()
    descent = torch.optim.Adam(turns, lr=0.05)
    best, best_cut, before = first, float("inf"), float("nan")
    for step in range(steps + 1):
        turned = [torch.matrix_exp(t - t.T) @ b for t, b in zip(turns, first, strict=True)]
        cut = _cut(torch.block_diag(*turned), jacobians, covariance, member)
        before = cut.item() if step == 0 else before
        if cut.item() < best_cut:
            best, best_cut = [b.detach() for b in turned], cut.item()
        descent.zero_grad()
        cut.backward()
        descent.step()
    bases = {name: b.numpy() for name, b in zip(rec.units.layers, best, strict=True)}
    return Rotations(bases, Partition(labels), (before, best_cut))


def _checked(rec: Recording, partition: PartitionLike) -> np.ndarray:
    found = as_partition(partition, len(rec.units))
    if found.n_modules < 2 or found.unused.any():
        raise ValueError(f"expected every direction in one of two modules or more, got {found!r}")
    turned = [site.name for site in rec.units.sites if site.basis is not None]
    if turned:
        raise ValueError(f"layers {turned} are recorded in a basis: record neurons, pass starts=")
    return found.labels


def _start(rec: Recording, name: str, starts: Mapping[str, np.ndarray] | None) -> Tensor:
    n = len(rec.units.indices(name))
    given = torch.eye(n).numpy() if starts is None or name not in starts else starts[name]
    found = torch.as_tensor(np.asarray(given), dtype=torch.float64)
    eye = torch.eye(n, dtype=torch.float64)
    if found.shape != (n, n) or not torch.allclose(found @ found.T, eye, atol=1e-5):
        raise ValueError(f"expected ({n}, {n}) orthonormal directions of layer {name!r} in starts=")
    return found


def _cut(turn: Tensor, jacobians: Tensor, covariance: Tensor, member: Tensor) -> Tensor:
    """The normalised cut of the linear flows between directions, the rows of `turn`."""
    spread = torch.diagonal(turn @ covariance @ turn.T).clamp(min=1e-12).sqrt()
    response = turn @ jacobians @ turn.T  # [k, j, i]
    told = _RESOLUTION * response * spread / spread[:, None]
    flows = (0.5 * torch.log2(1 + told**2)).mean(0)
    between = member.T @ flows @ member
    volume = between.sum(0) + between.sum(1)
    crossing = volume - 2 * torch.diagonal(between)
    return (crossing / volume.clamp(min=1e-12)).sum()
