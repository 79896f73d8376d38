"""The shared pass: all measures of all layers, each batch of data run once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from infoflow._hooks import evaluating
from infoflow.record import Recording, show_progress
from infoflow.similarity import hess, i_sens, o_sens
from infoflow.similarity.accumulate import CovarianceSum, MeanOfSamples
from infoflow.similarity.measures import chosen
from infoflow.similarity.perturbed import run_perturbed


def similarity(
    rec: Recording,
    measure: str,
    *,
    layers: str | Sequence[str] | None = None,
    eps: float = 1e-12,
    progress: bool = False,
) -> np.ndarray:
    """Similarity of hidden units by one measure; see `similarities`.

    Args:
        rec: A recording.
        measure: One of `MEASURES`.
        layers: One layer, several together, or (None) all recorded layers together.
        eps: ε of eq. 5.
        progress: Show a progress bar.

    Returns:
        `(n, n)` float64, symmetric, non-negative, finite; rows in the order of
        `rec.units.indices(layers)`. The diagonal is kept.

    Examples:
        >>> import torch, infoflow as ifl
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 1.0]])
        >>> net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(2, 1))
        >>> similarity(ifl.record(net, ["0"], x), "i_sens")  # h = x, so J = 1
        array([[1., 0.],
               [0., 1.]])
    """
    return similarities(rec, measure, layers=layers, eps=eps, progress=progress)[measure]


def similarities(
    rec: Recording,
    measures: str | Sequence[str] | None = None,
    *,
    layers: str | Sequence[str] | None = None,
    eps: float = 1e-12,
    progress: bool = False,
) -> dict[str, np.ndarray]:
    """Similarity of hidden units by several measures, from one shared pass over the data.

    With h the units, x the inputs, y the model's output (logits) and L_k the loss of sample k
    (Lange et al. 2022, eqs. 1-5):

        cov     |1/(K-1) Σ_k (h_k - h̄)(h_k - h̄)ᵀ|
        i_sens  |mean_k (∂h/∂x)(∂h/∂x)ᵀ|
        o_sens  |mean_k (∂y/∂h)ᵀ(∂y/∂h)|
        hess    |mean_k ∂²L_k/∂h∂h|
        *_norm  S_ij / max(√(S_ii S_jj), ε)

    Over several layers together the derivatives are with respect to perturbations added to every
    layer at once (h + δ), which gives the blocks between layers too; the blocks within layers are
    what each layer gives alone. Of a unit with positions (a channel, a feature at every token)
    the activation is the mean over positions and the perturbation is the same at all of them.
    The model runs in evaluation mode: dropout does nothing.

    Args:
        rec: A recording; `hess` needs its `targets` and `loss`.
        measures: Names from `MEASURES`; None: all eight, or the six without the Hessian when the
            recording has neither targets nor loss.
        layers: One layer, several together, or (None) all recorded layers together.
        eps: ε of eq. 5.
        progress: Show a progress bar.

    Returns:
        Per measure `(n, n)` float64, symmetric, non-negative, finite.

    Raises:
        ValueError: Unknown measure; integer inputs (`i_sens`); no targets or loss, or a loss
            without one number per sample (`hess`); derivatives that are not finite.
        KeyError: A layer that was not recorded.
    """
    if measures is None and rec.loss is None and rec.targets is None:
        measures = [m.name for m in chosen(None) if m.base != "hess"]
    wanted = chosen(measures)
    signed = _signed(rec, {m.base for m in wanted}, layers, progress)
    magnitudes = {base: _magnitude(base, matrix) for base, matrix in signed.items()}
    return {
        m.name: normalised(magnitudes[m.base], eps=eps) if m.normalised else magnitudes[m.base]
        for m in wanted
    }


def normalised(matrix: np.ndarray, *, eps: float = 1e-12) -> np.ndarray:
    """S_ij / max(√(S_ii S_jj), ε) (eq. 5).

    Within [0, 1] for `cov`, `i_sens` and `o_sens`; a Hessian that is not positive semi-definite
    can exceed 1.

    Examples:
        >>> normalised(np.array([[4.0, 1.0], [1.0, 1.0]]))
        array([[1. , 0.5],
               [0.5, 1. ]])
    """
    root = np.sqrt(np.diag(matrix))
    return matrix / np.maximum(np.outer(root, root), eps)


def _signed(
    rec: Recording, bases: set[str], layers: str | Sequence[str] | None, progress: bool
) -> dict[str, np.ndarray]:
    """Each base measure's matrix before the absolute value."""
    names = [layers] if isinstance(layers, str) else list(layers or rec.units.layers)
    sites = tuple(rec.units.site(name) for name in names)
    n = len(rec.units.indices(names))
    derivatives = sorted(bases - {"cov"})
    if "i_sens" in bases:
        i_sens.check_inputs(rec)
    loss, targets = hess.check_loss(rec) if "hess" in bases else (None, None)
    sums = {base: MeanOfSamples(n) for base in derivatives}
    covariance = CovarianceSum(n)
    with evaluating(rec.model):
        for index in show_progress(list(rec.batches()), progress, "similarity"):
            covariance.update(torch.from_numpy(_activations(rec, names, index)))
            if not derivatives:
                continue
            batch = run_perturbed(rec, sites, index)
            count = len(batch.delta)
            if "i_sens" in bases:
                sums["i_sens"].update(i_sens.sum_over_batch(batch), count)
            if "o_sens" in bases:
                sums["o_sens"].update(o_sens.sum_over_batch(batch), count)
            if loss is not None and targets is not None:
                total = hess.sum_over_batch(batch, loss, targets[index].to(rec.device))
                sums["hess"].update(total, count)
    found = {base: total.matrix() for base, total in sums.items()}
    return found | ({"cov": covariance.matrix()} if "cov" in bases else {})


def _activations(rec: Recording, names: list[str], index: slice) -> np.ndarray:
    blocks = [rec[name][index].double() for name in names]
    return torch.cat([b if b.ndim == 2 else b.mean(2) for b in blocks], 1).numpy()


def _magnitude(base: str, matrix: np.ndarray) -> np.ndarray:
    if not np.isfinite(matrix).all():
        bad = np.flatnonzero(~np.isfinite(matrix).all(1))[:10].tolist()
        raise ValueError(
            f"{base!r} is not finite for units {bad}: a derivative overflowed or is undefined "
            "there (float16 overflows at 65504; sqrt and log have no derivative at 0)"
        )
    return np.abs((matrix + matrix.T) / 2)
