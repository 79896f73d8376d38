"""How many dimensions pass between modules: ranks and bits of Jacobian and Hessian blocks.

Effective ranks have no scale: a block counts by its shape, however small it is. The others stand
above a noise floor: what moves a unit, or an output, by less than a tenth of its own spread is not
seen, as in a code of ten bins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from infoflow._safety import evaluating
from infoflow.partition import Partition, PartitionLike, as_partition
from infoflow.recording import Recording
from infoflow.unit_similarity.jacobians import gradients_of_each, some_rows
from infoflow.unit_similarity.per_sample_loss import per_sample_loss
from infoflow.unit_similarity.perturbed import run_perturbed


def effective_rank(matrix: np.ndarray) -> np.ndarray:
    """exp of the entropy of the normalised squared singular values, of each `(..., r, c)` block.

    1 for rank one, r for r equal singular values, 0 for a block of zeros.

    Source: after O. Roy and M. Vetterli, The effective rank, 2007 (there of the singular values).

    Examples:
        >>> blocks = np.stack([np.eye(3), np.ones((3, 3)), np.zeros((3, 3))])
        >>> effective_rank(blocks).round(6).tolist()
        [3.0, 1.0, 0.0]
    """
    squares = np.linalg.svd(matrix, compute_uv=False) ** 2
    total = squares.sum(-1, keepdims=True)
    share = squares / np.where(total > 0, total, 1.0)
    entropy = -(share * np.log(np.where(share > 0, share, 1.0))).sum(-1)
    return np.where(total[..., 0] > 0, np.exp(entropy), 0.0)


def interface(blocks: np.ndarray, partition: PartitionLike) -> float:
    """Σ over ordered pairs of different modules of the mean effective rank of their block.

    Args:
        blocks: `(..., n, n)`; `[..., a, b]` is read with rows a and columns b.
        partition: Of the n units; unused ones are left out.
    """
    total, partition = 0.0, as_partition(partition)
    for a in partition.modules:
        for b in partition.modules:
            if a is not b:
                total += float(effective_rank(blocks[..., a[:, None], b]).mean())
    return total


@dataclass(frozen=True, eq=False)
class Scales:
    """How far things vary over the data.

    Attributes:
        covariance: `(n, n)` of the units, positions averaged.
        floor: `(n,)` noise of each unit, a tenth of its standard deviation; inf for one that never
            changes, which receives nothing.
        output_floor: `(outputs,)` the same of the outputs.
    """

    covariance: np.ndarray
    floor: np.ndarray
    output_floor: np.ndarray

    @classmethod
    def of(cls, rec: Recording, resolution: float = 10.0) -> Scales:
        """Those of a recording; the floor is a standard deviation over `resolution`."""
        values = rec.matrix()
        outputs = rec.outputs.double().flatten(1).numpy()
        covariance = np.atleast_2d(np.cov(values.T))
        spread, apart = values.std(0), outputs.std(0)
        return cls(
            covariance,
            np.where(spread > 0, spread / resolution, np.inf),
            np.where(apart > 0, apart / resolution, np.inf),
        )

    def roots(self, partition: Partition) -> list[np.ndarray]:
        """Symmetric square root of each module's covariance."""
        found = []
        for module in partition.modules:
            values, vectors = np.linalg.eigh(self.covariance[np.ix_(module, module)])
            found.append(vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T)
        return found


def jacobian_bits(jacobians: np.ndarray, scales: Scales, partition: PartitionLike) -> float:
    """Σ over ordered pairs of modules of mean_k ½ log2 det(1 + J Σ Jᵀ / σ²), in bits: what a passes
    to b where b answers linearly, a varies as it does in the data (covariance Σ) and every unit of
    b has noise σ of its own.

    Args:
        jacobians: `(samples, n, n)`, as `unit_jacobians` gives them.
        scales: Σ and σ.
        partition: Of the n units.
    """
    return sum(
        float(0.5 * np.log2(1 + values**2).sum(-1).mean())
        for values in _heard(jacobians, scales, as_partition(partition))
    )


def jacobian_dimension(jacobians: np.ndarray, scales: Scales, partition: PartitionLike) -> float:
    """Σ over ordered pairs of modules of the mean number of directions in which a moves b by more
    than b's noise: singular values of J Σ^½ / σ above 1. Args as for `jacobian_bits`."""
    return sum(
        float((values > 1).sum(-1).mean())
        for values in _heard(jacobians, scales, as_partition(partition))
    )


def _heard(jacobians: np.ndarray, scales: Scales, partition: Partition) -> Iterator[np.ndarray]:
    """`(samples, r)` singular values of J Σ^½ / σ, pair by pair."""
    roots = scales.roots(partition)
    for a, root in zip(partition.modules, roots, strict=True):
        for b in partition.modules:
            if a is not b:
                block = jacobians[:, b[:, None], a] @ root / scales.floor[b, None]
                yield np.linalg.svd(block, compute_uv=False)


def output_interface(hessians: np.ndarray, scales: Scales, partition: PartitionLike) -> float:
    """Σ over pairs of modules of the mean number of dimensions in which they act on the outputs
    together: singular values above 1 of Σ_a^½ H_ab Σ_b^½ / σ, H the Hessian of every output, one
    under the other, σ the output's noise. 0 where the outputs are sums of what modules do alone.

    Args:
        hessians: `(samples, outputs, n, n)`, as `output_hessians` gives them, divided by σ.
        scales: Σ.
        partition: Of the n units.

    Source: "yardstick for modularity": "the dimensionality of the interface ... which should be
    findable by looking at the Hessian matrix of the network output".
    """
    partition, total = as_partition(partition), 0.0
    modules = list(zip(partition.modules, scales.roots(partition), strict=True))
    for number, (a, left) in enumerate(modules):
        for b, right in modules[:number]:
            block = left @ hessians[:, :, a[:, None], b] @ right
            block = block.reshape(len(block), -1, len(b))
            total += float((np.linalg.svd(block, compute_uv=False) > 1).sum(-1).mean())
    return total


def output_hessians(
    rec: Recording, scales: Scales, samples: int = 8, outputs: int = 16, seed: int = 0
) -> np.ndarray:
    """∂²y/∂h∂h of single samples over all recorded layers together, each output divided by its
    noise: `(samples, outputs, n, n)` float64, signed.

    Of more outputs than `outputs` so many sums with random signs are taken, divided by the root of
    their number, so that their squares are those of all outputs on average.

    Args:
        rec: A recording.
        scales: The outputs' noise.
        samples: Consecutive rows of the data set.
        outputs: Most outputs to differentiate one by one.
        seed: Of where rows begin, and of the signs.
    """
    floor = torch.from_numpy(scales.output_floor)
    mix = torch.diag(1 / floor)
    if len(floor) > outputs:
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(outputs, len(floor)))
        mix = torch.from_numpy(signs / np.sqrt(outputs)) / floor
    request, index = some_rows(rec, samples, seed, "o_sens")
    with evaluating(rec.model):
        batch = run_perturbed(request, index)
        flat = batch.outputs.flatten(1)
        mixed = flat @ mix.T.to(device=flat.device, dtype=flat.dtype)
        found = [
            gradients_of_each(torch.cat(batch.slopes(column.sum()), 1), batch)
            for column in mixed.unbind(1)
        ]
    each = np.stack(found, 1)
    return (each + each.transpose(0, 1, 3, 2)) / 2


def mean_hessian(rec: Recording, samples: int = 128, seed: int = 0) -> np.ndarray:
    """mean_k ∂²L_k/∂h∂h over all recorded layers together, `(n, n)` float64, signed.

    Args:
        rec: A recording with targets and a loss.
        samples: Consecutive rows of the data set.
        seed: Of where they begin.

    Raises:
        ValueError: Without targets or loss.
    """
    request, index = some_rows(rec, samples, seed, "hess")
    with evaluating(rec.model):
        batch = run_perturbed(request, index)
        loss = per_sample_loss(request.loss, batch.outputs, request.labels(index)).sum()
        found = gradients_of_each(torch.cat(batch.slopes(loss), 1), batch).mean(0)
    return (found + found.T) / 2
