"""Square roots C of the loss's curvature at the outputs, A = ∂²L_k/∂y∂y = C Cᵀ, so that C z is a
random factor of A where z is a random direction.

The form of A is a guess that is proven on every batch: A r must be what the form says, for a random
r at all outputs of all samples. A form that is wrong agrees with probability zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from infoflow.unit_similarity.directions import laid_out
from infoflow.unit_similarity.graph import wide

_CLOSE = {torch.float64: 1e-8, torch.float32: 1e-3}


@dataclass(frozen=True, eq=False)
class Root:
    """C of a batch: at each place C = √weight (diag √p − p √pᵀ), or C = √weight alone.

    For softmax and cross-entropy with probabilities p, C Cᵀ = weight (diag p − p pᵀ).

    Attributes:
        weight: `(batch, places, features)`, or `(batch, places, 1)` with p.
        p: `(batch, places, features)`; None: A is diagonal.
    """

    weight: Tensor
    p: Tensor | None

    @property
    def shape(self) -> tuple[int, int]:
        """Number of features, and of places."""
        like = self.weight if self.p is None else self.p
        return like.shape[2], like.shape[1]

    def times(self, z: Tensor, place: Tensor) -> Tensor:
        """C z `(batch, features)` of a direction at one place of each sample."""
        z, rows = z.to(self.weight), torch.arange(len(z), device=self.weight.device)
        root = self.weight[rows, place].sqrt()
        if self.p is None:
            return root * z
        p = self.p[rows, place]
        spread = p.sqrt() * z
        return root * (spread - p * spread.sum(1, keepdim=True))


def find_root(outputs: Tensor, slope: Tensor, dim: int, seed: int) -> Root | None:
    """The square root of A, if A is that of a softmax at each place, or diagonal; else None.

    Args:
        outputs: `(batch, ...)`, a leaf of the slope's graph.
        slope: ∂L_k/∂y of the same shape, with its graph.
        dim: The outputs' dimension that has the features (classes); all others are places.
        seed: Of the random vectors.
    """
    wide_outputs = wide(laid_out(outputs.detach(), dim))
    if not slope.requires_grad:
        return Root(torch.zeros_like(wide_outputs), None)
    generator = torch.Generator().manual_seed(seed)
    one, two = (_turned(outputs, slope, dim, generator) for _ in range(2))
    p = wide_outputs.softmax(-1)
    q = p * one[0] - p * (p * one[0]).sum(-1, keepdim=True)
    size = (q * q).sum(-1, keepdim=True)
    for weight, known in (((one[1] * q).sum(-1, keepdim=True) / size, p), (one[1] / one[0], None)):
        weight = torch.where(weight.isfinite(), weight, 0).clamp_min(0)
        guess = weight * two[0]
        if known is not None:
            guess = weight * (p * two[0] - p * (p * two[0]).sum(-1, keepdim=True))
        scale = two[1].abs().max()
        if bool(((guess - two[1]).abs() <= _CLOSE.get(guess.dtype, 0.05) * scale).all()):
            return Root(weight, known)
    return None


def _turned(
    outputs: Tensor, slope: Tensor, dim: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A random r, and A r, both `(batch, places, features)`."""
    r = torch.rand(outputs.shape, generator=generator, dtype=torch.float64) + 0.5
    r = r.to(outputs.device, outputs.dtype)
    (turned,) = torch.autograd.grad(slope, outputs, r, retain_graph=True)
    return wide(laid_out(r, dim)), wide(laid_out(turned, dim))
